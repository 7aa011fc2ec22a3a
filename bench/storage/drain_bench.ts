/**
 * A million rows in the outbox: how soon two servers have applied them, and how long syncs take meanwhile, beside the same
 * syncs with an empty outbox: `deno task bench:databases drain`.
 *
 * `REALITY_BENCH_ROWS` sets another number of rows, and words choose engines: `MariaDB`. `--snapshot` holds a transaction open
 * that can see every row, as a backup does, so that the database keeps removed rows.
 *
 * @module
 */
import process from "node:process";
import { RealityServer } from "../../mod.ts";
import type { RealityStorage } from "../../src/store/contract.ts";
import { isQuick, progress } from "../report.ts";
import { type Engine, findEngines, type Run } from "./engines.ts";

const ROWS = Number(process.env.REALITY_BENCH_ROWS ?? (isQuick ? 50_000 : 1_000_000));
/** Different keys among the rows. */
const KEYS = 100_000;
/** Rows of one statement that fills the outbox. */
const FILL = 1000;
/** Clients that sync without a pause longer than this, in milliseconds. */
const [CLIENTS, PAUSE] = [16, 10];
const SYNC_KEYS = 10;
/** How long syncs are measured with an empty outbox, in milliseconds. */
const QUIET_MS = isQuick ? 2000 : 10_000;
/** How often a transaction of the application writes one more row, in milliseconds. */
const WRITE_EVERY = 20;

/** Words that choose engines. */
const words = process.argv.slice(2).filter((word) => !word.startsWith("--"));

for (const engine of findEngines()) {
  if (words.length === 0 || words.some((word) => engine.name.includes(word))) await measureEngine(engine);
  engine.remove?.();
}

async function measureEngine(engine: Engine): Promise<void> {
  const tableName = `bench_drain_${Date.now()}`;
  const opened = [engine.openOutbox(tableName), engine.openOutbox(tableName)];
  const servers = opened.map(({ storage }) => new RealityServer({ storage }));
  const { storage } = opened[0]!;
  const { run, end } = engine.connect();
  await storage.getMaxVersion();

  const quiet = await syncUntil(servers, storage, run, () => sleep(QUIET_MS));
  progress(`${engine.name}: writing ${ROWS} rows`);
  for (let first = 0; first < ROWS; first += FILL) {
    const count = Math.min(FILL, ROWS - first);
    const changes = Array.from({ length: count }, (_, i) => ({ key: keyOf(first + i), hash: "" }));
    await insert(storage, run, changes);
  }
  const release = process.argv.includes("--snapshot") ? await engine.holdSnapshot() : undefined;
  progress(`${engine.name}: ${ROWS} rows are pending`);
  const startedAt = performance.now();
  const busy = await syncUntil(servers, storage, run, async () => {
    // A row of the writer may always be pending.
    while ((await storage.outbox!.summarize(1000)).pending > 100) await sleep(100);
  });
  const seconds = (performance.now() - startedAt) / 1000;
  console.log(
    `${engine.name}: ${ROWS} rows in ${seconds.toFixed(1)} s, ${Math.round(ROWS / seconds)} a second`,
  );
  print("syncs with an empty outbox", quiet);
  print("syncs meanwhile", busy);
  print("syncs after it", await syncUntil(servers, storage, run, () => sleep(QUIET_MS)));
  await release?.();
  for (const server of servers) await server.close();
  for (const { close } of opened) await close();
  await end();
}

/** What syncs took, in milliseconds, and how many failed. */
interface Measured {
  readonly times: number[];
  failures: number;
  told: number;
}

/**
 * Syncs at both servers until the work is done. A transaction of the application writes a row every few milliseconds, and
 * the next sync must be told of it.
 */
async function syncUntil(
  servers: readonly RealityServer[],
  storage: RealityStorage,
  run: Run,
  work: () => Promise<void>,
): Promise<Measured> {
  const measured: Measured = { times: [], failures: 0, told: 0 };
  let isOver = false;
  const sync = async (server: RealityServer, known: Record<string, number>) => {
    const startedAt = performance.now();
    try {
      return (await server.handleSync({ known })).changed;
    } catch {
      measured.failures++;
    } finally {
      measured.times.push(performance.now() - startedAt);
    }
  };
  const client = async (number: number) => {
    for (let turn = 0; !isOver; turn++) {
      const known: Record<string, number> = {};
      for (let i = 0; i < SYNC_KEYS; i++) known[keyOf((turn * CLIENTS + number) * SYNC_KEYS + i)] = 1;
      await sync(servers[number % servers.length]!, known);
      await sleep(PAUSE * Math.random() * 2);
    }
  };
  const writer = async () => {
    for (let turn = 0, held = 0; !isOver; turn++) {
      await insert(storage, run, [{ key: "written", hash: "" }]);
      const changed = await sync(servers[turn % servers.length]!, { written: held });
      if (changed !== undefined) {
        if (!("written" in changed)) throw new Error("A sync was not told of a committed row");
        held = changed.written!.version;
        measured.told++;
      }
      await sleep(WRITE_EVERY);
    }
  };
  const clients = [writer(), ...Array.from({ length: CLIENTS }, (_, i) => client(i))];
  await Promise.race([work(), ...clients]);
  isOver = true;
  await Promise.all(clients);
  return measured;
}

function print(name: string, { times, failures, told }: Measured): void {
  times.sort((a, b) => a - b);
  const at = (share: number) =>
    `${times[Math.min(Math.floor(times.length * share), times.length - 1)]?.toFixed(1)}`;
  console.log(
    `  ${name.padEnd(28)} ${times.length} syncs: half within ${at(0.5)} ms, 99 of 100 ${at(0.99)} ms, ` +
      `all ${at(1)} ms; ${failures} failed; told of ${told} rows`,
  );
}

async function insert(
  storage: RealityStorage,
  run: Run,
  changes: { key: string; hash: string }[],
): Promise<void> {
  const { text, params } = storage.outbox!.insertion(changes);
  await run(text, params);
}

function keyOf(number: number): string {
  return `key:${number % KEYS}`;
}

function sleep(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
