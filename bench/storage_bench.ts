/**
 * Measures storages beside the least code that could do the same work: `node bench/storage_bench.ts`, on Deno, Node or Bun.
 *
 * @module
 */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import type { DatabaseSync } from "node:sqlite";
import { RealityServer } from "../mod.ts";
import { MemoryStorage } from "../storage/memory/memory_storage.ts";
import { openSQLite } from "../storage/sql/sqlite/sqlite_storage.ts";
import { createPublished } from "./contenders/published.ts";
import { createReality, createSequentialStorage } from "./contenders/reality.ts";
import { type Effort, inTurn, measure } from "./measure.ts";
import { finish, isQuick, progress, type Row, runtime } from "./report.ts";
import { HASH, keyOf } from "./workload.ts";

const effort: Effort = isQuick ? { rounds: 3, roundMs: 60 } : { rounds: 7, roundMs: 300 };
/** SQLite waits for the disk, which shows on the clock alone. */
const diskEffort: Effort = { ...effort, meter: "clock" };
/** So many clients at once. */
const CLIENTS = 64;
/** A prime, so that changes fall all over the nodes. */
const STRIDE = 104_729;

/** What is being measured, where no engine can take it for garbage. */
let kept: unknown;

const rows: Row[] = [];
for (const nodes of isQuick ? [100_000] : [10_000, 1_000_000]) await measureMemory(nodes);
await measureSQLite();
finish("storage", rows);

async function measureMemory(nodes: number): Promise<void> {
  progress(`${runtime}, memory: ${nodes} nodes`);
  // The keys are created before the measurement: their text belongs to the application.
  const keys = Array.from({ length: nodes }, (_, i) => keyOf(i));
  const fills: [string, () => Promise<unknown>][] = [
    ["objects in a Map", () => Promise.resolve(fillMap(keys))],
    ["reality", () => fillStorage(keys)],
  ];
  const sizes: Record<string, number[]> = Object.fromEntries(fills.map(([name]) => [name, []]));
  for (let round = 0; round <= (isQuick ? 1 : 3); round++) {
    for (const [name, fill] of inTurn(fills, round)) {
      const size = await sizeOf(fill);
      if (round > 0) sizes[name]!.push(size / nodes);
    }
  }
  kept = undefined;
  rows.push({
    group: "memory of a node without its key's text",
    name: `${nodes} nodes`,
    unit: "bytes",
    base: "objects in a Map",
    figures: sizes,
  });

  const map = fillMap(keys);
  let version = nodes;
  const { server } = await createReality(nodes, new MemoryStorage());
  const published = await createPublished(nodes);
  const storage = await fillStorage(keys, createSequentialStorage());
  let turn = 0;
  const next = () => keys[++turn * STRIDE % nodes]!;
  rows.push({
    group: "a change in memory",
    name: `updateNode, ${nodes} nodes`,
    unit: "µs",
    base: "Map.set",
    figures: await measure([
      {
        name: "Map.set",
        run() {
          const key = next();
          map.set(key, { key, version: ++version, hash: HASH, updatedAt: Date.now() });
        },
      },
      // The cost of a promise without any work.
      { name: "awaited Map.set", run: async () => void map.set(await next(), { version: ++version }) },
      { name: "reality", run: () => server.updateNode(next(), HASH) },
      { name: "1.2.2", run: () => published.update(next()) },
    ], effort),
  });
  rows.push({
    group: "history in memory",
    name: `listChangedSince, 10 changes in ${nodes} nodes`,
    unit: "µs",
    base: "reality",
    figures: await measure([{ name: "reality", run: () => storage.listChangedSince(nodes - 10) }], effort),
  });
  await server.close();
}

async function measureSQLite(): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), "reality-bench-"));
  try {
    for (const synchronous of ["full", "normal"] as const) await measureFile(folder, synchronous);
  } finally {
    rmSync(folder, { recursive: true });
  }
}

/** Our storage and the driver's own loop, each on a file of its own. */
async function measureFile(folder: string, synchronous: "full" | "normal"): Promise<void> {
  progress(`${runtime}, SQLite, synchronous = ${synchronous}`);
  const nodes = 10_000;
  const keys = Array.from({ length: nodes }, (_, i) => keyOf(i));
  const storage = openSQLite(join(folder, `${synchronous}.db`), { synchronous });
  for (let start = 0; start < nodes; start += 1000) {
    await storage.applyChanges(
      keys.slice(start, start + 1000).map((key) => ({ key, hash: HASH, updatedAt: Date.now() })),
    );
  }
  const server = new RealityServer({ storage });
  const driver = openDriver(join(folder, `${synchronous}_driver.db`), synchronous, keys);
  let turn = 0;
  const next = () => keys[++turn * STRIDE % nodes]!;
  const nextTen = () => Array.from({ length: 10 }, next);
  const toKnown = (keys: string[]) => Object.fromEntries(keys.map((key) => [key, 1]));
  const many = (run: () => unknown) => () => Promise.all(Array.from({ length: CLIENTS }, run));
  const work: [string, () => void, () => Promise<unknown>][] = [
    ["a change", () => driver.change(next()), () => server.updateNode(next(), HASH)],
    [
      "a sync of 10 keys",
      () => driver.read(nextTen()),
      () => server.handleSync({ known: toKnown(nextTen()) }),
    ],
  ];
  for (const [name, loop, reality] of work) {
    const single = { name: "driver's loop", run: loop };
    rows.push({
      group: `SQLite, synchronous = ${synchronous}`,
      name: `${name}, lone`,
      unit: "µs on the clock",
      base: single.name,
      figures: await measure([single, { name: "reality", run: reality }], diskEffort),
    });
    const together = await measure([
      { name: "driver's loop", run: () => repeat(CLIENTS, loop) },
      { name: "reality", run: many(reality) },
    ], diskEffort);
    for (const times of Object.values(together)) times.forEach((time, i) => times[i] = time / CLIENTS);
    rows.push({
      group: `SQLite, synchronous = ${synchronous}`,
      name: `${name}, ${CLIENTS} clients at once`,
      unit: "µs on the clock",
      base: "driver's loop",
      figures: together,
    });
  }
  await server.close();
  await storage.close();
  driver.close();
}

/** What a person would write who needs one table and nothing else. */
function openDriver(path: string, synchronous: string, keys: readonly string[]) {
  const { DatabaseSync } = process.getBuiltinModule("node:sqlite") as {
    DatabaseSync: new (path: string) => DatabaseSync;
  };
  const database = new DatabaseSync(path);
  database.exec(`PRAGMA journal_mode = WAL; PRAGMA synchronous = ${synchronous};
    CREATE TABLE nodes (key TEXT PRIMARY KEY, version INTEGER NOT NULL, hash TEXT NOT NULL, updated INTEGER NOT NULL);
    CREATE TABLE counter (version INTEGER NOT NULL);
    INSERT INTO counter VALUES (0);`);
  const count = database.prepare("UPDATE counter SET version = version + 1 RETURNING version");
  const put = database.prepare(
    `INSERT INTO nodes VALUES (?, ?, ?, ?)
      ON CONFLICT (key) DO UPDATE SET version = excluded.version, hash = excluded.hash, updated = excluded.updated`,
  );
  const get = database.prepare(
    "SELECT key, version, hash, updated FROM nodes WHERE key IN (?,?,?,?,?,?,?,?,?,?)",
  );
  const write = (key: string) => {
    const [row] = count.all();
    put.run(key, row!.version!, HASH, Date.now());
  };
  database.exec("BEGIN");
  keys.forEach(write);
  database.exec("COMMIT");
  return {
    change(key: string): void {
      database.exec("BEGIN IMMEDIATE");
      write(key);
      database.exec("COMMIT");
    },
    read: (keys: readonly string[]) => void get.all(...keys),
    close: () => database.close(),
  };
}

function repeat(times: number, run: () => void): void {
  for (let i = 0; i < times; i++) run();
}

async function fillStorage(keys: readonly string[], storage = new MemoryStorage()): Promise<MemoryStorage> {
  for (let start = 0; start < keys.length; start += 10_000) {
    const part = keys.slice(start, start + 10_000);
    await storage.applyChanges(part.map((key) => ({ key, hash: HASH, updatedAt: Date.now() })));
  }
  return storage;
}

function fillMap(keys: readonly string[]): Map<string, object> {
  return new Map(keys.map((key, i) => [key, { key, version: i + 1, hash: HASH, updatedAt: Date.now() }]));
}

async function sizeOf(fill: () => Promise<unknown>): Promise<number> {
  kept = undefined;
  const before = await usedMemory();
  kept = await fill();
  const size = await usedMemory() - before;
  if (kept === undefined) throw new Error("Cannot measure: there is nothing");
  return size;
}

/** The heap and the typed arrays beside it, after collecting garbage. Bun counts those as part of the heap. */
async function usedMemory(): Promise<number> {
  const { gc } = globalThis as { gc?: () => void };
  if (gc === undefined) throw new Error("Cannot measure memory: start the runtime with --expose-gc");
  for (let i = 0; i < 3; i++) {
    gc();
    // Values on the stack are collected only in another turn of the event loop.
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  const { heapUsed, external } = process.memoryUsage();
  return runtime.startsWith("bun") ? heapUsed : heapUsed + external;
}
