/**
 * The outcome of many histories: figures, and a count of the failures by kind with their seeds.
 *
 * @module
 */
import type { Fault, FaultKind } from "./record.ts";
import type { Outcome } from "./simulation.ts";

/** The figures of all runs. */
export interface Totals {
  changes: number;
  pairs: number;
  requests: number;
  bytes: number;
  pages: number;
  nodes: number;
  /** The number of nodes that arrived through Redis. */
  published: number;
  /** The highest number of rounds until convergence. */
  rounds: number;
  /** The highest number of nodes for each server and change, and of other characters for each request. */
  load: number;
  overhead: number;
}

/** A history that failed. */
export interface Failure {
  readonly seed: number;
  /** The kind of its worst fault, under which it is counted. */
  readonly kind: FaultKind;
  readonly faults: readonly Fault[];
}

/** How many seeds of one kind of fault are listed at most. */
const LISTED = 40;

/** The worst kinds first: those that cause the others, or that matter more. */
const WORST: readonly FaultKind[] = ["promise", "forged", "leak", "lost", "number", "unity"];

/** Counts outcomes. */
export class Tally {
  #ran = 0;
  readonly failures: Failure[] = [];
  readonly totals: Totals = {
    changes: 0,
    pairs: 0,
    requests: 0,
    bytes: 0,
    pages: 0,
    nodes: 0,
    published: 0,
    rounds: 0,
    load: 0,
    overhead: 0,
  };

  /** How many histories were run. */
  get ran(): number {
    return this.#ran;
  }

  /** Counts a history that has ended. Returns the failure, if it is one. */
  add(seed: number, outcome: Outcome): Failure | undefined {
    const { totals } = this;
    totals.changes += outcome.changes;
    totals.pairs += outcome.pairs;
    totals.requests += outcome.requests;
    totals.bytes += outcome.bytes;
    totals.pages += outcome.pages;
    totals.nodes += outcome.nodesBefore + outcome.nodesAfter;
    totals.published += outcome.published;
    totals.rounds = Math.max(totals.rounds, outcome.rounds);
    totals.load = Math.max(totals.load, outcome.load);
    totals.overhead = Math.max(totals.overhead, outcome.overhead);
    return this.fail(seed, outcome.faults);
  }

  /** Counts a history by its faults alone. */
  fail(seed: number, faults: readonly Fault[]): Failure | undefined {
    this.#ran++;
    const kind = worstOf(faults);
    if (kind === undefined) return undefined;
    const failure = { seed, kind, faults };
    this.failures.push(failure);
    return failure;
  }

  /** The figures, then a line for each kind of fault: how many histories have it as their worst, and their seeds. */
  report(): string {
    const { failures, totals } = this;
    const lines = [`${this.#ran} histories, ${failures.length} failed: ${JSON.stringify(totals)}`];
    const kinds = new Map<FaultKind, number[]>();
    for (const { kind, seed } of failures) kinds.set(kind, [...kinds.get(kind) ?? [], seed]);
    for (const [kind, seeds] of [...kinds].sort(([, a], [, b]) => b.length - a.length)) {
      const listed = seeds.sort((a, b) => a - b).slice(0, LISTED).join(", ");
      lines.push(`  ${kind}: ${seeds.length}: ${listed}${seeds.length > LISTED ? ", …" : ""}`);
    }
    return lines.join("\n");
  }
}

/** The kind of the worst of some faults. */
export function worstOf(faults: readonly Fault[]): FaultKind | undefined {
  return WORST.find((kind) => faults.some((fault) => fault.kind === kind)) ?? faults[0]?.kind;
}

/** Faults, a line each; no more than six. */
export function inWords(faults: readonly Fault[]): string {
  return faults.slice(0, 6).map(({ kind, text }) => `  ${kind}: ${text}`).join("\n");
}

/** A random first seed, such that several hundred thousand from it on are safe integers and short. */
export function drawSeed(): number {
  return 1_000_000 + Math.floor(Math.random() * 999_000_000);
}
