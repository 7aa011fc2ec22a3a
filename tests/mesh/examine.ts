/**
 * Runs many histories, continues after a failure, and reduces the first failure of each kind.
 *
 * @module
 */
import { createHistory, describeHistory, type History, shrink } from "./history.ts";
import { run } from "./simulation.ts";
import { type Failure, inWords, Tally, worstOf } from "./tally.ts";
import { runInWorkers } from "./workers.ts";

/** Which histories to run. */
export interface Examination {
  readonly first: number;
  readonly count: number;
  /** The number of smaller histories that are tried for the first failure of each kind. @default {200} */
  readonly shrinks?: number;
  /** Called with each failure and with the progress. */
  readonly onProgress?: (line: string) => void;
}

/** The number of histories between two lines of progress. */
const PROGRESS = 5000;

/** Runs histories on all cores. */
export async function examine({ first, count, shrinks = 200, onProgress }: Examination): Promise<Tally> {
  const tally = new Tally();
  await runInWorkers(first, count, (seed, outcome) => {
    const failure = typeof outcome === "string"
      ? tally.fail(seed, [{ kind: "crash", text: outcome }])
      : tally.add(seed, outcome);
    if (failure) onProgress?.(`Seed ${seed} fails:\n${inWords(failure.faults)}`);
    if (tally.ran % PROGRESS === 0) onProgress?.(tally.report());
  });
  // A history that ended its process would end this one as well.
  const explained = new Set<string>(["crash"]);
  for (const failure of tally.failures.toSorted((a, b) => a.seed - b.seed)) {
    if (explained.has(failure.kind) || shrinks === 0) continue;
    explained.add(failure.kind);
    onProgress?.(await explain(failure, shrinks));
  }
  return tally;
}

/** Runs histories one after the other in this process until one fails; answers its seed. */
export async function findFailure(first: number, count: number): Promise<number | undefined> {
  for (let seed = first; seed < first + count; seed++) {
    if ((await run(createHistory(seed))).faults.length > 0) return seed;
  }
  return undefined;
}

/** Describes a failed history, reduced while its worst fault has the same kind. */
async function explain({ seed, kind }: Failure, shrinks: number): Promise<string> {
  const history = createHistory(seed);
  const isSame = async (tried: History) => worstOf((await run(tried)).faults) === kind;
  const smaller = await shrink(history, isSame, shrinks);
  const left = await run(smaller);
  return [
    `Seed ${seed} as small as it gets with the fault "${kind}" ` +
    `(${history.steps.length} steps, now ${smaller.steps.length}):`,
    inWords(left.faults),
    describeHistory(smaller),
  ].join("\n");
}
