/**
 * Which versions a DynamoDB storage gives to its changes.
 *
 * @module
 */
import {
  alignNumber,
  counterFloor,
  type CounterKind,
  counterStep,
  drawResidue,
  joinVectors,
  RESIDUES,
  spreadFloor,
  type VersionVector,
} from "../../src/store/contract.ts";
import { checkCounter } from "../validate.ts";
import type { Draft } from "./next_state.ts";
import type { State } from "./state.ts";

/** Gives numbers above the counter, from the clock or one by one. */
export class Numbering {
  #kind: CounterKind;
  #isMesh = false;
  readonly #now: () => number;

  /**
   * @param kind How changes are numbered.
   * @param now The clock, in milliseconds since 1970.
   */
  constructor(kind: CounterKind, now: () => number) {
    this.#kind = kind;
    this.#now = now;
  }

  /** How changes are numbered. */
  get kind(): CounterKind {
    return this.#kind;
  }

  /** The difference between two numbers that follow each other. */
  get step(): number {
    return counterStep(this.#kind);
  }

  /** Numbers by the clock from now on. */
  useClock(): void {
    this.#kind = "clock";
  }

  /** Numbers by the clock from now on, as a storage of a mesh. */
  joinMesh(): void {
    this.useClock();
    this.#isMesh = true;
  }

  /** The number of the next change. */
  next(state: State): number {
    const base = Math.max(state.counter, this.#floor(state));
    return alignNumber(base, state.drawn, this.step) + this.step;
  }

  /** The number that draws the residue of a new table; 0 if its changes are counted one by one. */
  firstDrawn(counter: number): number {
    return this.#kind === "sequential" ? 0 : this.#drawAbove(counter, new Map());
  }

  /** A commit without nodes that draws a residue which no storage of `others` has. */
  draftResidue(state: State, others: VersionVector): Draft {
    const drawn = this.#drawAbove(state.counter, others, state);
    checkCounter(drawn);
    return { nodes: [], counter: drawn, drawn };
  }

  #drawAbove(counter: number, others: VersionVector, state?: State): number {
    const base = Math.max(counter, this.#floor(state));
    return alignNumber(base, drawResidue(others), RESIDUES) + RESIDUES;
  }

  #floor(state: State | undefined): number {
    const now = this.#now();
    const hasMetNone = this.#isMesh && (state === undefined || otherReplicas(state, new Map()).size === 0);
    return hasMetNone ? spreadFloor(now) : counterFloor(this.#kind, now);
  }
}

/** The highest dots of other storages: those merged here, and those of `vector`. */
export function otherReplicas(state: State, vector: VersionVector): Map<string, number> {
  const others = joinVectors(state.vector, vector);
  others.delete(state.replicaId);
  return others;
}
