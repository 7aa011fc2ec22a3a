/**
 * How soon a change in one process answers a waiting client at another, without Redis and without mesh, and what waiting
 * asks of the database: `deno task bench:databases`.
 *
 * @module
 */
import { type ChildProcess, spawn } from "node:child_process";
import { fileURLToPath } from "node:url";
import { RealityServer } from "../../mod.ts";
import { percentile } from "../measure.ts";
import { finish, isQuick, progress, type Row, runtimeName } from "../report.ts";
import { findRuntime, type RuntimeName } from "../runtimes.ts";
import { type Engine, findEngines } from "./engines.ts";

/** Changes that follow one another, and changes after a while in which nothing happened: pauses in milliseconds. */
const PACES = [
  { name: "changes every 0.1 s", count: isQuick ? 10 : 200, pauseMs: [90, 110] },
  { name: "changes after 2 to 3 s of quiet", count: isQuick ? 2 : 20, pauseMs: [2000, 3000] },
] as const;
/** How long statements are counted. */
const COUNT_MS = isQuick ? 1000 : 10_000;
/** How long a server takes to notice that no request waits. */
const REST_MS = 5500;

const rows: Row[] = [];
for (const engine of findEngines()) {
  await measureLatency(engine);
  await countStatements(engine);
  engine.remove?.();
}
finish("wakes", rows);

async function measureLatency(engine: Engine): Promise<void> {
  const tableName = `bench_wakes_${Date.now()}`;
  const { storage, close } = engine.open(tableName);
  const server = new RealityServer({ storage });
  await server.updateNode("followed", "before");
  const script = fileURLToPath(new URL("./waiter.ts", import.meta.url));
  const [program = "", ...flags] = findRuntime(runtimeName as RuntimeName) ?? [];
  const args = [...flags, script, engine.name, engine.folder ?? "", tableName];
  const waiter = spawn(program, args, { stdio: ["ignore", "pipe", "inherit"] });
  const ended = new Promise((resolve) => waiter.once("exit", resolve));
  const lines = readLines(waiter);
  await lines.next();
  let count = 0;
  for (const { name, count: changes, pauseMs: [least, most] } of PACES) {
    progress(`${engine.name}, ${name}`);
    const times: number[] = [];
    for (let i = 0; i < changes; i++) {
      await pause(least + Math.random() * (most - least));
      const before = performance.timeOrigin + performance.now();
      const hash = `change ${count++}`;
      await server.updateNode("followed", hash);
      const [told, answered] = JSON.parse((await lines.next()).value ?? "") as [string, number];
      if (told !== hash) throw new Error(`Cannot measure: expected ${hash}, got ${told}`);
      times.push(answered - before);
    }
    add(engine, `${name}, median (fastest–slowest)`, "ms", times);
    if (changes >= 100) add(engine, `${name}, 99 of 100 within`, "ms", [percentile(times, 0.99)]);
  }
  await server.updateNode("followed", "end");
  await ended;
  await server.close();
  await close();
}

async function countStatements(engine: Engine): Promise<void> {
  let asked = 0;
  const { storage, close } = engine.open(`bench_counts_${Date.now()}`, () => asked++);
  const server = new RealityServer({ storage });
  const count = async () => {
    const before = asked;
    await pause(COUNT_MS);
    return (asked - before) / COUNT_MS * 1000;
  };
  progress(`${engine.name}, statements`);
  const leaving = new AbortController();
  const waits = Array.from(
    { length: 100 },
    (_, i) => server.handleSync({ known: { [`key:${i}`]: 0 }, wait: 60_000 }, { signal: leaving.signal }),
  );
  await pause(REST_MS);
  add(engine, "100 wait, nothing changes", "statements a second", [await count()]);
  leaving.abort();
  await Promise.allSettled(waits);
  await pause(REST_MS);
  add(engine, "no client waits", "statements a second", [await count()]);
  await server.close();
  await close();
}

function add(engine: Engine, name: string, unit: string, figures: number[]): void {
  rows.push({
    group: unit,
    name: `${engine.name}: ${name}`,
    unit,
    base: "reality",
    figures: { reality: figures },
  });
}

async function* readLines({ stdout }: ChildProcess): AsyncGenerator<string, undefined> {
  let rest = "";
  for await (const part of stdout?.setEncoding("utf8") ?? []) {
    const lines = (rest + part).split("\n");
    rest = lines.pop() ?? "";
    yield* lines;
  }
  return undefined;
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
