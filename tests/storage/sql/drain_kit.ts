/**
 * Many rows in an outbox: two servers apply them in bounded pieces, and each question meanwhile is told of what was committed
 * before it.
 *
 * @module
 */
import assert from "node:assert/strict";
import { RealityServer } from "../../../src/server.ts";
import type { RealityStorage, StorageOutbox } from "../../../src/store/contract.ts";
import type { SQLQuery } from "../../../storage/sql/sql_storage.ts";
import { SeededRandom } from "../../random.ts";

/** A storage with an outbox, and what runs a statement of the application. */
export interface OpenedOutbox {
  readonly storage: RealityStorage;
  readonly query: SQLQuery;
  close(): Promise<unknown>;
}

const ROWS = 20_000;
/** Different keys among them. */
const KEYS = 4000;
/** A key with many rows, and of how many rows one is of it. */
const [BUSY, BUSY_SHARE] = ["busy", 4];
const GROUP = "all*";
const TIMEOUT = 10_000;
/** The time limit of the server that is asked for more than it can apply in time. */
const SHORT_TIMEOUT = 200;
/** A machine may be busy. */
const SLACK = 5000;

/** What was seen of a server's calls. */
interface Pieces {
  /** The most rows that were asked for at once: without keys, with keys. */
  readonly asked: [number, number];
  /** The most rows and changes of one call. */
  rows: number;
  changes: number;
}

/**
 * Fills an outbox and lets three servers apply it, one of them with a time limit that is too short. Clients ask them
 * meanwhile, and transactions go on writing.
 *
 * @param open Opens a storage on the same tables; called several times.
 */
export async function testDrain(open: () => OpenedOutbox): Promise<void> {
  const seed = Math.floor(Math.random() * 1e9);
  console.log(`drain: seed ${seed}`);
  const random = new SeededRandom(seed);
  const opened = [open(), open(), open()];
  const [{ storage, query }] = opened as [OpenedOutbox, ...OpenedOutbox[]];
  const pieces: Pieces = { asked: [0, 0], rows: 0, changes: 0 };
  for (const { storage } of opened) watch(storage.outbox!, pieces);
  const insert = async (...keys: string[]) => {
    const { text, params } = storage.outbox!.insertion(keys.map((key) => ({ key, hash: "" })));
    await query(text, params);
  };
  const groups = () => [GROUP];
  const servers = opened.map(({ storage }, i) =>
    new RealityServer({ storage, groups, storageTimeout: i === 2 ? SHORT_TIMEOUT : TIMEOUT })
  );
  try {
    await storage.getMaxVersion();
    for (let next = 0, first = 0; first < ROWS; first += 1000) {
      // One row in a few is of the busy key; the keys of the others follow each other.
      const keys = Array.from({ length: 1000 }, (_, i) => i % BUSY_SHARE === 0 ? BUSY : keyOf(next++));
      await insert(...keys);
    }
    let [isOver, told, failed] = [false, 0, 0];
    /** Asks for a key of which a row was committed after this version. */
    const ask = async (number: number, key: string, held: number): Promise<number> => {
      const startedAt = performance.now();
      const limit = number === 2 ? SHORT_TIMEOUT : TIMEOUT;
      let version = held;
      try {
        const { changed } = await servers[number]!.handleSync({ known: { [key]: held } });
        assert.ok(changed[key] !== undefined, `server ${number}: ${key} is not told above ${held}`);
        assert.ok(changed[key].version > held);
        version = changed[key].version;
        told++;
      } catch (error) {
        if ((error as { code?: string }).code !== "ERR_REALITY_STORAGE") throw error;
        failed++;
      }
      const took = performance.now() - startedAt;
      assert.ok(took < limit * 1.1 + SLACK, `server ${number}: ${key} took ${took} ms`);
      return version;
    };
    const client = async (number: number, random: SeededRandom) => {
      const own = `own:${number}:${random.next()}`;
      for (let held = 0, turn = 0; !isOver; turn++) {
        await insert(own);
        held = await ask(number, own, held);
        await ask(number, keyOf(random.between(0, KEYS - 1)), 0);
        if (turn % 4 === 0) await ask(number, random.pick([BUSY, GROUP]), 0);
        await new Promise((resolve) => setTimeout(resolve, random.between(0, 10)));
      }
    };
    const startedAt = performance.now();
    const clients = servers.flatMap((
      _,
      i,
    ) => [client(i, random.fork(`${i}a`)), client(i, random.fork(`${i}b`))]);
    const isEmpty = async () => {
      while ((await storage.outbox!.summarize(100)).pending > 50) {
        await new Promise((resolve) => setTimeout(resolve, 20));
      }
    };
    await Promise.race([isEmpty(), ...clients]);
    isOver = true;
    await Promise.all(clients);
    const seconds = ((performance.now() - startedAt) / 1000).toFixed(1);
    console.log(`drain: ${ROWS} rows in ${seconds} s, ${told} questions told, ${failed} failed in time`);

    await servers[0]!.handleSync({ known: { [BUSY]: 0 } });
    const nodes = new Map((await storage.listChangedSince(0)).map((meta) => [meta.key, meta]));
    const missing = Array.from({ length: KEYS }, (_, i) => keyOf(i)).filter((key) => !nodes.has(key));
    assert.deepEqual(missing, []);
    assert.ok(nodes.has(BUSY) && nodes.has(GROUP));
    assert.deepEqual((await storage.outbox!.summarize(1)).setAside, 0);
    assert.ok(pieces.asked[0] <= 500 && pieces.asked[1] <= 5000, `${pieces.asked}`);
    assert.ok(pieces.rows <= 5000, `${pieces.rows} rows at once`);
    assert.ok(pieces.changes <= (storage.features?.maxChanges ?? 1000), `${pieces.changes} changes at once`);
  } finally {
    for (const server of servers) await server.close();
    for (const { close } of opened) await close();
  }
}

function keyOf(number: number): string {
  return `key:${number % KEYS}`;
}

function watch(outbox: StorageOutbox, pieces: Pieces): void {
  const { readRows, applyRows } = outbox;
  Object.assign(outbox, {
    readRows(upTo: number, limit: number, keys?: readonly string[]) {
      const kind = keys ? 1 : 0;
      pieces.asked[kind] = Math.max(pieces.asked[kind], limit);
      return readRows.call(outbox, upTo, limit, keys);
    },
    applyRows(changes: Parameters<StorageOutbox["applyRows"]>[0]) {
      const rows = new Set(changes.flatMap((change) => change.rows));
      pieces.rows = Math.max(pieces.rows, rows.size);
      pieces.changes = Math.max(pieces.changes, changes.length);
      return applyRows.call(outbox, changes);
    },
  });
}
