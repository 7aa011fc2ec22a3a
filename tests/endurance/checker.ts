/**
 * Runs the checker of `tests/cluster/` during the run in a worker thread, interval by interval, since an hour of answers
 * does not fit into memory.
 *
 * @module
 */
import { parentPort } from "node:worker_threads";
import type { Change, Final, Read } from "../cluster/journal.ts";
import { checkCluster, checkPiece } from "../cluster/cluster_checker.ts";

/** Messages to the checker: more of the history, or the final state that all servers agree on. */
export type CheckerInput =
  | {
    readonly changes: readonly Change[];
    readonly reads: readonly Read[];
    /** All changes requested before this moment have been sent. */
    readonly settledUntil: number;
  }
  | { readonly finals: ReadonlyMap<string, Final> };

/** Messages from the checker: faults, and whether this is the last message. */
export interface CheckerOutput {
  readonly faults: readonly string[];
  readonly isLast: boolean;
  readonly checked: number;
}

/** The length of a checked interval, in milliseconds. */
const PIECE = 10_000;

/**
 * How long changes are remembered, in milliseconds. Of each key the last ones are remembered for good; that no client
 * stays on a version older than that is seen by its number, at each answer (`record.ts`).
 */
const MEMORY = 120_000;

const storages = [0, 0, 0];
let changes: Change[] = [];
let reads: Read[] = [];
let waiting: Read[] = [];
let lastCheck = performance.now();
let checked = 0;

parentPort?.on("message", (told: CheckerInput) => {
  if ("finals" in told) {
    reads = waiting;
    say(checkCluster({ storages, changes, reads, isolations: [], finals: told.finals }), true);
    parentPort?.close();
    return;
  }
  changes.push(...told.changes);
  waiting.push(...told.reads);
  if (performance.now() - lastCheck < PIECE) return;
  lastCheck = performance.now();
  // A key may be reported as gone while its deletion is in flight: check later answers once the outcome is known.
  reads = waiting.filter(({ answered }) => answered < told.settledUntil);
  waiting = waiting.filter(({ answered }) => answered >= told.settledUntil);
  say(checkPiece({ storages, changes, reads }), false);
  forget();
});

function say(faults: readonly string[], isLast: boolean): void {
  checked += reads.length;
  parentPort?.postMessage({ faults, isLast, checked } satisfies CheckerOutput);
}

/** Forgets the answers, and the changes that are neither new nor can be what their key ends with. */
function forget(): void {
  const latest = reads.reduce((most, { answered }) => Math.max(most, answered), 0);
  const lastAsked = new Map<string, number>();
  for (const { key, asked, answered } of changes) {
    if (answered !== Infinity) lastAsked.set(key, Math.max(lastAsked.get(key) ?? 0, asked));
  }
  changes = changes.filter(({ key, asked, answered }) =>
    asked > latest - MEMORY || answered >= (lastAsked.get(key) ?? 0)
  );
  reads = [];
}
