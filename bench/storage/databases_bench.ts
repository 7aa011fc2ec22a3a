/**
 * Changes and syncs on real databases, beside the same statements sent through the driver alone:
 * `deno task bench:databases`.
 *
 * @module
 */
import { RealityServer } from "../../mod.ts";
import type { RealityStorage } from "../../src/store/contract.ts";
import { inTurn } from "../measure.ts";
import { finish, isQuick, progress, type Row } from "../report.ts";
import { HASH, keyOf } from "../workload.ts";
import { type Engine, findEngines } from "./engines.ts";
import { createMergedLoop, createSingleLoop, type Loop } from "./loops.ts";

const ROUNDS = isQuick ? 2 : 5;
const ROUND_MS = isQuick ? 300 : 800;
const NODES = 10_000;
const CLIENTS = 64;
const SYNC_KEYS = 10;
/** A prime, so that keys fall all over the nodes. */
const STRIDE = 104_729;
/** How often something else changes while syncs are measured, in milliseconds. */
const CHANGE_EVERY = 20;

/** One of those that are compared. */
interface Contender extends Loop {
  readonly name: string;
}

const rows: Row[] = [];
for (const engine of findEngines()) {
  await measureEngine(engine);
  engine.remove?.();
}
finish("databases", rows);

async function measureEngine(engine: Engine): Promise<void> {
  const closers: (() => Promise<unknown>)[] = [];
  const connect = () => {
    const { run, end } = engine.connect();
    closers.push(end);
    return run;
  };
  const serve = (tableName: string, adapt = (storage: RealityStorage) => storage): Loop => {
    const { storage, close } = engine.open(tableName);
    const server = new RealityServer({ storage: adapt(storage) });
    closers.push(() => server.close().then(close));
    return toLoop(server);
  };
  const tables = ["single", "merged", "reality", "shared"].map((name) => `bench_${name}_${Date.now()}`);
  for (const table of tables) await fill(engine, table);
  const [single = "", merged = "", own = "", shared = ""] = tables;
  const contenders: Contender[] = [
    { name: "a statement each", ...createSingleLoop(connect(), engine.dialect(single)) },
    { name: "merged by hand", ...createMergedLoop(connect(), engine.dialect(merged)) },
    { name: "reality", ...serve(own) },
  ];
  const unfenced = { name: "reality", ...serve(shared, withoutHistory) };

  await compare(engine, "a change", CLIENTS, contenders, ({ change }, turn) => change(pick(turn), HASH));
  await compare(engine, "a lone change", 1, contenders, ({ change }, turn) => change(pick(turn), HASH));

  const changer = engine.connect();
  const loops = tables.map((table) => createSingleLoop(changer.run, engine.dialect(table)));
  let turn = 0;
  const timer = setInterval(() => {
    const key = pick(turn++);
    for (const { change } of loops) change(key, HASH).catch(() => {});
  }, CHANGE_EVERY);
  const name = `a sync of ${SYNC_KEYS} keys, ${1000 / CHANGE_EVERY} changes a second meanwhile`;
  const work = async ({ read }: Loop, turn: number) => {
    const keys = Array.from({ length: SYNC_KEYS }, (_, i) => pick(turn * SYNC_KEYS + i));
    const versions = await read(keys);
    if (versions.size === 0) throw new Error("Cannot compare: a sync found nothing");
  };
  await compare(engine, name, CLIENTS, contenders, work);
  await compare(
    engine,
    `${name}, without the cached reader`,
    CLIENTS,
    [...contenders.slice(0, 2), unfenced],
    work,
  );
  clearInterval(timer);
  for (const close of closers) await close();
  await changer.end();
}

async function compare(
  engine: Engine,
  name: string,
  clients: number,
  contenders: readonly Contender[],
  work: (contender: Contender, turn: number) => Promise<unknown>,
): Promise<void> {
  const figures: Record<string, number[]> = Object.fromEntries(contenders.map(({ name }) => [name, []]));
  for (let round = 0; round <= ROUNDS; round++) {
    progress(`${engine.name}, ${name}, round ${round}`);
    for (const contender of inTurn(contenders, round)) {
      const start = performance.now();
      let done = 0;
      let turn = 0;
      const client = async () => {
        while (performance.now() - start < ROUND_MS) {
          await work(contender, turn++);
          done++;
        }
      };
      await Promise.all(Array.from({ length: clients }, client));
      if (round > 0) figures[contender.name]!.push(done / (performance.now() - start) * 1000);
    }
  }
  rows.push({
    group: engine.name,
    name: `${name}, ${clients} ${clients === 1 ? "client" : "clients"}`,
    unit: "a second",
    base: "merged by hand",
    figures,
  });
}

/** A server as one of those that are compared. */
function toLoop(server: RealityServer): Loop {
  return {
    change: (key, hash) => server.updateNode(key, hash),
    async read(keys) {
      const known: Record<string, number> = {};
      for (const key of keys) known[key] = 1;
      const { changed } = await server.handleSync({ known });
      return new Map(Object.values(changed).map(({ key, version }) => [key, version]));
    },
  };
}

/** The same storage for a server that cannot ask what came after a version. */
function withoutHistory(storage: RealityStorage): RealityStorage {
  return new Proxy(storage, {
    get(target, name) {
      if (name === "readChanges") return undefined;
      const value: unknown = Reflect.get(target, name, target);
      return typeof value === "function" ? value.bind(target) : value;
    },
  });
}

async function fill(engine: Engine, table: string): Promise<void> {
  const { storage, close } = engine.open(table);
  for (let start = 0; start < NODES; start += 1000) {
    const keys = Array.from({ length: 1000 }, (_, i) => keyOf(start + i));
    await storage.applyChanges?.(keys.map((key) => ({ key, hash: HASH, updatedAt: Date.now() })));
  }
  await close();
}

function pick(turn: number): string {
  return keyOf(turn * STRIDE % NODES);
}
