/**
 * Looks for inputs that break something: changes those that it has, keeps what reaches new blocks of code, and goes on
 * from there.
 *
 * @module
 */
import { SeededRandom } from "../random.ts";
import type { Coverage } from "./coverage.ts";
import { mutate } from "./mutate.ts";

type Bytes = Uint8Array<ArrayBuffer>;

/** What inputs are given to. */
export interface Target {
  readonly name: string;
  /** Inputs to begin with. */
  readonly seeds: readonly string[];
  /** Takes an input. What it throws is a failure: it has caught whatever is right to throw. */
  run(input: Bytes): Promise<void>;
}

/** An input that broke something, made as small as it could be. */
export interface Failure {
  readonly target: string;
  readonly input: Bytes;
  readonly error: unknown;
}

/** What came of a search. */
export interface Findings {
  readonly executions: number;
  /** How many inputs were kept because they reached something new, seeds among them. */
  readonly kept: number;
  readonly failures: readonly Failure[];
}

/** How inputs are looked for. */
export interface FuzzOptions {
  readonly seed: number;
  /** Says whether to go on, after so many executions. */
  readonly goesOn: (executions: number) => boolean;
  /** What tells of new blocks; without it nothing is kept but the seeds. */
  readonly coverage: Coverage | null;
}

/** So many inputs are tried before it is looked at what they have reached, which takes longer than they do. */
const AT_ONCE = 24;

/** So many failures end a search. */
const MAX_FAILURES = 10;

/** Looks for inputs that break one of the targets. */
export async function fuzz(targets: readonly Target[], options: FuzzOptions): Promise<Findings> {
  const { goesOn, coverage } = options;
  const random = new SeededRandom(options.seed);
  const kept = new Map<Target, Bytes[]>();
  const failures = new Map<string, Failure>();
  let executions = 0;
  const execute = async (target: Target, input: Bytes) => {
    executions++;
    const error = await failureOf(target, input);
    if (error === undefined) return;
    const name = `${target.name}: ${describe(error)}`;
    if (!failures.has(name)) {
      failures.set(name, { target: target.name, input: await minimise(target, input), error });
    }
  };
  for (const target of targets) {
    const seeds = target.seeds.map((text) => new TextEncoder().encode(text));
    kept.set(target, seeds);
    for (const seed of seeds) await execute(target, seed);
    await coverage?.isNew(true);
  }
  while (goesOn(executions) && failures.size < MAX_FAILURES) {
    for (const [target, inputs] of kept) {
      const tried = Array.from({ length: AT_ONCE }, () => mutate(random.pick(inputs), inputs, random));
      for (const input of tried) await execute(target, input);
      if (coverage === null || !await coverage.isNew(false)) continue;
      for (const input of tried) {
        await execute(target, input);
        if (await coverage.isNew(true)) inputs.push(input);
      }
    }
  }
  const sum = [...kept.values()].reduce((sum, { length }) => sum + length, 0);
  return { executions, kept: sum, failures: [...failures.values()] };
}

/** Takes away from an input whatever it can do without and still fail in the same way. */
async function minimise(target: Target, input: Bytes): Promise<Bytes> {
  const error = describe(await failureOf(target, input));
  let least = input;
  for (let size = Math.ceil(input.length / 2); size >= 1;) {
    let isLess = false;
    for (let start = 0; start < least.length; start += size) {
      const less = Uint8Array.from([...least.subarray(0, start), ...least.subarray(start + size)]);
      if (describe(await failureOf(target, less)) !== error) continue;
      least = less;
      isLess = true;
      start -= size;
    }
    if (!isLess) size = size === 1 ? 0 : Math.ceil(size / 2);
  }
  return least;
}

async function failureOf(target: Target, input: Bytes): Promise<unknown> {
  try {
    await target.run(input);
    return undefined;
  } catch (error) {
    return error;
  }
}

/** What tells one failure from another: without the values in it, which differ from input to input. */
function describe(error: unknown): string {
  if (error === undefined) return "";
  return String(error).split("\n", 1)[0]!.replaceAll(/["'`][^"'`]*["'`]|\d+/g, "…").slice(0, 200);
}
