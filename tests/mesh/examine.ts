/**
 * Runs histories one after the other, and makes the first that fails as small as it gets.
 *
 * @module
 */
import { createHistory, describeHistory, type History, shrink } from "./history.ts";
import type { Fault, FaultKind } from "./record.ts";
import { type Outcome, run } from "./simulation.ts";

/** Which histories to run. */
export interface Examination {
  readonly first: number;
  readonly count: number;
  /** How many smaller histories are tried once one has failed. @default {400} */
  readonly shrinks?: number;
  readonly onProgress?: (line: string) => void;
}

/** What became of them. */
export interface Examined {
  /** The first seed that failed. */
  readonly failed: number | undefined;
  /** How many histories ran. */
  readonly ran: number;
  readonly totals: Totals;
  /** The figures; or the seed, the faults and the shrunk history. */
  readonly report: string;
}

/** Figures of all runs together. */
export interface Totals {
  changes: number;
  pairs: number;
  drawnTwice: number;
  requests: number;
  bytes: number;
  pages: number;
  nodes: number;
  /** Nodes that came by way of Redis. */
  published: number;
  /** The most rounds that any took to become one. */
  rounds: number;
  /** The most nodes for each server and each change, and characters beside them for each request. */
  load: number;
  overhead: number;
}

/** Runs histories until one fails. */
export async function examine({ first, count, shrinks = 400, onProgress }: Examination): Promise<Examined> {
  const totals: Totals = {
    changes: 0,
    pairs: 0,
    drawnTwice: 0,
    requests: 0,
    bytes: 0,
    pages: 0,
    nodes: 0,
    published: 0,
    rounds: 0,
    load: 0,
    overhead: 0,
  };
  for (let seed = first; seed < first + count; seed++) {
    const history = createHistory(seed);
    const outcome = await run(history);
    const ran = seed - first + 1;
    if (outcome.faults.length > 0) {
      return { failed: seed, ran, totals, report: await explain(seed, shrinks) };
    }
    add(totals, outcome);
    if (ran % 5000 === 0) onProgress?.(`${ran} histories: ${JSON.stringify(totals)}`);
  }
  return { failed: undefined, ran: count, totals, report: `${count} histories: ${JSON.stringify(totals)}` };
}

/** A failed history, as small as it gets with a fault of the same kind. */
async function explain(seed: number, shrinks: number): Promise<string> {
  const history = createHistory(seed);
  const { faults } = await run(history);
  // The worst one: what the others follow from, or matters more.
  const kinds: readonly (FaultKind | undefined)[] = ["promise", "forged", "leak", "lost", "number", "unity"];
  const kind = kinds.find((kind) => faults.some((fault) => fault.kind === kind)) ?? faults[0]?.kind;
  const isSame = async (tried: History) => (await run(tried)).faults.some((fault) => fault.kind === kind);
  const smaller = await shrink(history, isSame, shrinks);
  const left = await run(smaller);
  return [
    `Seed ${seed} fails:`,
    ...faults.slice(0, 6).map(inWords),
    `as small as it gets with a fault of this kind (${history.steps.length} steps, now ${smaller.steps.length}):`,
    ...left.faults.slice(0, 6).map(inWords),
    describeHistory(smaller),
  ].join("\n");
}

function inWords({ kind, text }: Fault): string {
  return `  ${kind}: ${text}`;
}

function add(totals: Totals, outcome: Outcome): void {
  totals.changes += outcome.changes;
  totals.pairs += outcome.pairs;
  totals.drawnTwice += outcome.drawnTwice;
  totals.requests += outcome.requests;
  totals.bytes += outcome.bytes;
  totals.pages += outcome.pages;
  totals.nodes += outcome.nodesBefore + outcome.nodesAfter;
  totals.published += outcome.published;
  totals.rounds = Math.max(totals.rounds, outcome.rounds);
  totals.load = Math.max(totals.load, outcome.load);
  totals.overhead = Math.max(totals.overhead, outcome.overhead);
}
