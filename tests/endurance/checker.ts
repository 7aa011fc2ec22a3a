/**
 * Runs the judge of `tests/cluster/` beside the run, in a thread of its own: piece by piece, since an hour of answers
 * is too much to keep.
 *
 * @module
 */
import { parentPort } from "node:worker_threads";
import type { Change, Final, Read } from "../cluster/journal.ts";
import { judge, judgePiece } from "../cluster/judge.ts";

/** What the checker is told: more of the run, or what was the same on all servers when it was over. */
export type Told =
  | {
    readonly changes: readonly Change[];
    readonly reads: readonly Read[];
    /** All changes that were asked for before this moment have been told. */
    readonly settledUntil: number;
  }
  | { readonly finals: ReadonlyMap<string, Final> };

/** What it says: what is wrong, and whether that was its last word. */
export interface Verdict {
  readonly faults: readonly string[];
  readonly isLast: boolean;
  readonly judged: number;
}

/** How much of the run is judged at once, in milliseconds. */
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
let lastJudged = performance.now();
let judged = 0;

parentPort?.on("message", (told: Told) => {
  if ("finals" in told) {
    reads = waiting;
    say(judge({ storages, changes, reads, isolations: [], finals: told.finals }), true);
    parentPort?.close();
    return;
  }
  changes.push(...told.changes);
  waiting.push(...told.reads);
  if (performance.now() - lastJudged < PIECE) return;
  lastJudged = performance.now();
  // A key may be told as gone while its deletion is still under way: so later answers wait until that is known.
  reads = waiting.filter(({ answered }) => answered < told.settledUntil);
  waiting = waiting.filter(({ answered }) => answered >= told.settledUntil);
  say(judgePiece({ storages, changes, reads }), false);
  forget();
});

function say(faults: readonly string[], isLast: boolean): void {
  judged += reads.length;
  parentPort?.postMessage({ faults, isLast, judged } satisfies Verdict);
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
