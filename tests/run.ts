/**
 * Runs the tests on every runtime and ends with the true count: `deno task test`. With `--unit` it runs the unit tests
 * on Deno alone: `deno task test:unit`.
 *
 * @module
 */

import { chooseLegs, findTestFiles, type Job, type Leg } from "./run/legs.ts";
import { installPackages, prepareMachine } from "./run/machine.ts";
import { add, type Count, readReport } from "./run/report.ts";
import { needsService, startServices } from "./run/services.ts";
import { chooseUnitTests } from "./run/unit.ts";

/** How long one test file may take before its processes are killed, in milliseconds. */
const jobTimeout = 600_000;

const running = new Set<number>();
const skips: string[] = [];
const failures: string[] = [];

for (const signal of ["SIGINT", "SIGTERM"] as const) {
  Deno.addSignalListener(signal, () => {
    running.forEach(kill);
    Deno.exit(130);
  });
}

const beginning = performance.now();
const words = Deno.args.filter((word) => word !== "--unit");
const prepare = words.length < Deno.args.length ? prepareUnitTests : prepareAll;
const { legs, environment, leftOut } = await prepare(words);
const services = await startServices(legs.flatMap((leg) => leg.jobs.map(({ file }) => file)));
Object.assign(environment, services.environment);
console.log(`ready after ${secondsSince(beginning)}`);

const { lines, counts } = await runAll(legs);
await services.stop();

const total = add(counts);
console.log(`\n${lines.join("\n")}\nall of it took ${secondsSince(beginning)}`);
for (const skip of skips) console.log(`skipped: ${skip}`);
for (const failure of failures) console.log(`failed: ${failure}`);
if (legs.length === 0) console.log(`No leg is named and no test file contains ${words.join(", ")}`);
if (leftOut !== undefined) console.log(`left out: ${leftOut}. All of them: deno task test`);
console.log(`\n${inWords(total)}`);
const strict = Deno.env.get("CI") === "true";
Deno.exit(total.failed > 0 || total.passed === 0 || (strict && total.skipped > 0) ? 1 : 0);

interface Prepared {
  readonly legs: readonly Leg[];
  /** Variables for the tests. */
  readonly environment: Record<string, string>;
  /** Which tests are not among those that can be chosen. */
  readonly leftOut?: string;
}

async function prepareAll(words: readonly string[]): Promise<Prepared> {
  const machine = await prepareMachine();
  const environment: Record<string, string> = {
    NO_COLOR: "1",
    REALITY_DENO: machine.deno,
    REALITY_NODE: machine.node24,
    REALITY_NODE22: machine.node22,
    REALITY_NODE20: machine.node20,
    REALITY_BUN: machine.bun,
    // Without a cache, every process of Node strips the types of all files again, which is half the time of a short test.
    NODE_COMPILE_CACHE: `${Deno.cwd()}/.cache/node-compile`,
  };
  if (typeof machine.chromium === "string") environment.REALITY_CHROMIUM = machine.chromium;
  return { legs: await chooseLegs(machine, words), environment };
}

async function prepareUnitTests(words: readonly string[]): Promise<Prepared> {
  await installPackages();
  const deno = Deno.execPath();
  const { leg, leftOut } = await chooseUnitTests(deno, await findTestFiles(), words, needsService);
  const legs = leg.jobs.length === 0 ? [] : [leg];
  return { legs, environment: { NO_COLOR: "1", REALITY_DENO: deno }, leftOut };
}

/**
 * Runs the jobs of all legs, as many at once as there are cores, and one more. That one runs first the jobs that mostly
 * wait, so that the others have almost a core each. When none is left it runs any job, since most jobs wait now and then
 * for a database. Legs run one after the other, and while the last job of one runs, the next one begins. A file never runs
 * on two runtimes at once, which would share a database.
 */
async function runAll(legs: readonly Leg[]): Promise<{ lines: string[]; counts: Count[] }> {
  const counts = new Map(legs.map((leg) => [leg, [] as Count[]]));
  /** The sum of the times that a leg's jobs took, in milliseconds. */
  const times = new Map(legs.map((leg) => [leg, 0]));
  const waiting = legs.flatMap((leg) => {
    if (leg.missing !== undefined) {
      for (const { file } of leg.jobs) skips.push(`${leg.name} ${file}: ${leg.missing}`);
      counts.get(leg)!.push({ passed: 0, failed: 0, skipped: leg.jobs.length });
      return [];
    }
    if (leg.jobs.length === 0) {
      failures.push(`${leg.name}: there is no test file`);
      counts.get(leg)!.push({ passed: 0, failed: 1, skipped: 0 });
    }
    return leg.jobs.map((job) => ({ leg, job }));
  });
  const busy = new Set<string>();
  const work = async (waits: boolean) => {
    for (;;) {
      const free = waiting.filter(({ job }) => !busy.has(job.file));
      const next = free.find(({ job }) => (job.waits ?? false) === waits) ?? free[0];
      if (next === undefined) break;
      waiting.splice(waiting.indexOf(next), 1);
      const { leg, job } = next;
      const start = performance.now();
      busy.add(job.file);
      counts.get(leg)!.push(await runJob(leg.name, job));
      busy.delete(job.file);
      times.set(leg, times.get(leg)! + performance.now() - start);
    }
  };
  await Promise.all(
    [work(true), ...Array.from({ length: navigator.hardwareConcurrency }, () => work(false))],
  );
  const lines = legs.map((leg) => {
    const seconds = (times.get(leg)! / 1_000).toFixed(1);
    return `${leg.name.padEnd(8)} ${inWords(add(counts.get(leg)!))}, ${seconds} s in all its files`;
  });
  return { lines, counts: legs.map((leg) => add(counts.get(leg)!)) };
}

async function runJob(leg: string, { file, command, report }: Job): Promise<Count> {
  const missing = services.missing(file);
  if (missing !== undefined) {
    skips.push(`${leg} ${file}: ${missing}`);
    return { passed: 0, failed: 0, skipped: 1 };
  }
  const start = performance.now();
  await Deno.mkdir(report.replace(/[^/]+$/, ""), { recursive: true });
  await Deno.remove(report).catch(() => {});
  const [program = "", ...args] = command;
  const child = new Deno.Command(program, {
    args,
    env: environment,
    stdin: "null",
    stdout: "piped",
    stderr: "piped",
    detached: true,
  }).spawn();
  running.add(child.pid);
  let late = false;
  const timer = setTimeout(() => {
    late = true;
    kill(child.pid);
  }, jobTimeout);
  // A process that the file left running would keep the pipes open.
  const ended = child.status.then(() => kill(child.pid));
  const { code, stdout, stderr } = await child.output();
  await ended;
  clearTimeout(timer);
  running.delete(child.pid);

  const result = readReport(await Deno.readTextFile(report).catch(() => undefined), code);
  const faults = late ? [...result.faults, `it was killed after ${jobTimeout / 1000} s`] : result.faults;
  const outcome = result.failed > 0 ? "FAILED" : "ok";
  console.log(`${outcome} ${leg} ${file}: ${inWords(result)}, ${secondsSince(start)}`);
  if (result.skipped > 0) skips.push(`${leg} ${file}: ${result.skippedNames.join(", ")}`);
  if (result.failed > 0) {
    const decoder = new TextDecoder();
    // Failures are printed first, because a log may be cut.
    for (const what of [...result.failedNames, ...faults]) console.log(`    failed: ${what}`);
    console.log(`${decoder.decode(stdout)}\n${decoder.decode(stderr)}`.trim().replaceAll(/^/gm, "    "));
    failures.push([`${leg} ${file}`, ...result.failedNames, ...faults].join("\n  "));
  }
  return result;
}

/** Kills a process together with all that it started, which is in its process group. */
function kill(pid: number): void {
  try {
    Deno.kill(-pid, "SIGKILL");
  } catch {
    // All of them have ended.
  }
}

function inWords({ passed, failed, skipped }: Count): string {
  return `${passed} passed, ${failed} failed, ${skipped} skipped`;
}

function secondsSince(start: number): string {
  return `${((performance.now() - start) / 1000).toFixed(1)} s`;
}
