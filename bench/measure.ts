/**
 * Measures contenders in turn, so that other load on the machine affects all of them equally.
 *
 * @module
 */
import process from "node:process";

/** One of those that are compared. */
export interface Contender {
  readonly name: string;
  /** Does one unit of the work. */
  run(): unknown;
}

/** The middle of several rounds and the range that they lay in. */
export interface Figure {
  readonly median: number;
  readonly low: number;
  readonly high: number;
}

/**
 * What is counted: the processor time of this process, which leaves out what other processes took of the machine
 * meanwhile, or the time on the clock, for work that waits for a disk.
 */
export type Meter = "processor" | "clock";

/** How long to measure. */
export interface Effort {
  /** How many rounds count; one more goes before them to warm up. */
  readonly rounds: number;
  /** How long a contender is measured in one round, in milliseconds. */
  readonly roundMs: number;
  /** @default {"processor"} */
  readonly meter?: Meter;
}

/**
 * Measures how long one unit of work takes.
 *
 * @returns Contender's name → microseconds a unit.
 */
export async function measure(
  contenders: readonly Contender[],
  effort: Effort,
): Promise<Record<string, number[]>> {
  const times: Record<string, number[]> = {};
  for (const { name } of contenders) times[name] = [];
  for (let round = 0; round <= effort.rounds; round++) {
    for (const contender of inTurn(contenders, round)) {
      const time = await timeOf(contender, effort);
      if (round > 0) times[contender.name]!.push(time);
    }
  }
  return times;
}

/** The contenders in the order of a round: every other round runs backwards. */
export function inTurn<T>(contenders: readonly T[], round: number): T[] {
  return round % 2 === 0 ? [...contenders] : [...contenders].reverse();
}

/** The middle of some numbers and their range. */
export function summarize(numbers: readonly number[]): Figure {
  const sorted = [...numbers].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  const median = sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2;
  return { median, low: sorted[0]!, high: sorted.at(-1)! };
}

/** The ratio of two contenders: taken round by round, since neighbours in time met the same machine. */
export function ratio(numbers: readonly number[], base: readonly number[]): Figure {
  return summarize(numbers.map((number, i) => number / base[i]!));
}

/** The value that a share of the numbers does not exceed; sorts them in place. */
export function percentile(numbers: number[], share: number): number {
  numbers.sort((a, b) => a - b);
  return numbers[Math.min(numbers.length - 1, Math.floor(numbers.length * share))] ?? NaN;
}

async function timeOf({ run }: Contender, { roundMs, meter = "processor" }: Effort): Promise<number> {
  const read = meter === "clock" ? () => performance.now() * 1000 : processorTime;
  const end = performance.now() + roundMs;
  const start = read();
  let units = 0;
  do {
    // Awaits only promises: a turn of the event loop would count as part of synchronous work.
    const result = run();
    if (result instanceof Promise) await result;
    units++;
  } while (performance.now() < end);
  return (read() - start) / units;
}

/** Microseconds that this process has run so far, on all its threads. */
function processorTime(): number {
  const { user, system } = process.cpuUsage();
  return user + system;
}
