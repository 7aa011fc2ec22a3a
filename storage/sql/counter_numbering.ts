/**
 * How an SQL storage numbers changes: by the clock or one by one, and from which number on.
 *
 * @module
 */
import { counterFloor, type CounterKind, counterStep, spreadFloor } from "../../src/store/contract.ts";
import type { Numbering } from "./placement.ts";

/** Numbers the changes of one storage. */
export class CounterNumbering {
  /** Whether the counter's row is known to have a residue. */
  hasResidue = false;
  /** Whether the storage has merged nodes of another one. */
  hasMetOthers = false;
  readonly #now: () => number;
  #kind: CounterKind;
  #isMesh = false;

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

  /** Numbers by the clock from now on. */
  useClock(): void {
    this.#kind = "clock";
  }

  /** Numbers by the clock from now on, as a storage of a mesh must. */
  joinMesh(): void {
    this.useClock();
    this.#isMesh = true;
  }

  /** How the next change is numbered. */
  next(): Numbering {
    return { floor: this.floor(), step: counterStep(this.#kind) };
  }

  /** The lowest base of the next number. */
  floor(): number {
    const now = this.#now();
    return this.#isMesh && !this.hasMetOthers ? spreadFloor(now) : counterFloor(this.#kind, now);
  }
}
