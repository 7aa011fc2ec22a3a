/**
 * Which versions a storage in memory gives to its changes.
 *
 * @module
 */
import {
  alignNumber,
  counterFloor,
  type CounterKind,
  counterStep,
  drawResidue,
  isResidueTaken,
  RESIDUES,
  spreadFloor,
  type VersionVector,
} from "../../src/store/contract.ts";
import { checkCounter } from "../validate.ts";

/** The counter of a storage. */
export class Numbering {
  /** The last number given, or a higher one that was seen in a merged node. */
  counter = 0;
  /** The highest own dot version in the version vector. No own dot at or below it is ever published. */
  maxDotVersion = 0;
  /** The number with which the residue of all numbers was drawn; 0 as long as none was. */
  #drawn = 0;
  #kind: CounterKind;
  #isMesh = false;
  readonly #vector: VersionVector;
  readonly #now: () => number;

  /**
   * @param kind How changes are numbered.
   * @param vector The highest dots of other storages that were merged. The storage adds to it.
   * @param now The clock, in milliseconds since 1970.
   */
  constructor(kind: CounterKind, vector: VersionVector, now: () => number) {
    this.#kind = kind;
    this.#vector = vector;
    this.#now = now;
  }

  /** The difference between two numbers that follow each other. */
  get step(): number {
    return counterStep(this.#kind);
  }

  /** Numbers by the clock from now on, as a storage of a mesh. */
  joinMesh(): void {
    this.#kind = "clock";
    this.#isMesh = true;
  }

  /** Raises the counter to at least this number. */
  raise(number: number): void {
    if (number > this.counter) this.counter = number;
  }

  /** The number of the next change. */
  next(): number {
    this.ensureResidue();
    const base = Math.max(this.counter, this.#floor());
    const { step } = this;
    return alignNumber(base, this.#drawn, step) + step;
  }

  /** Draws a residue if changes are numbered by the clock and there is none. */
  ensureResidue(): void {
    if (this.#kind === "clock" && this.#drawn === 0) this.#drawResidue(this.#vector);
  }

  /** Draws another residue if one of these storages has the same. */
  avoidResidues(others: VersionVector): void {
    if (isResidueTaken(others, this.#drawn)) this.#drawResidue(others);
  }

  #floor(): number {
    const now = this.#now();
    return this.#isMesh && this.#vector.size === 0 ? spreadFloor(now) : counterFloor(this.#kind, now);
  }

  /** Draws a residue that no other storage has, with a number that no node will have. */
  #drawResidue(others: VersionVector): void {
    const base = Math.max(this.counter, this.#floor());
    const number = alignNumber(base, drawResidue(others), RESIDUES) + RESIDUES;
    checkCounter(number);
    this.counter = this.maxDotVersion = this.#drawn = number;
  }
}
