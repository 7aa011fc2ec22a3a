/**
 * PostgreSQL behind an address that leads to another server after a failover: two real servers with streaming
 * replication.
 *
 * @module
 */
import assert from "node:assert/strict";
import { setTimeout as sleep } from "node:timers/promises";
import pg from "pg";
import { openPostgres, type PostgresStorage } from "../../../../storage/sql/postgres/postgres_storage.ts";
import { SQLStorage } from "../../../../storage/sql/sql_storage.ts";
import { Link } from "../../../cluster/link.ts";
import { test } from "../../../harness.ts";
import { type ReplicatedPair, setReadOnly, startReplicatedPair } from "../../../run/replication.ts";

/** The `storageTimeout` that the limits here are set for, in milliseconds. */
const STORAGE_TIMEOUT = 2500;

/** What is under test, behind an address that leads to the primary at first. */
interface Scene {
  readonly pair: ReplicatedPair;
  /** Has written and read through connections that stay. */
  readonly storage: PostgresStorage;
  /** The same table, straight on the promoted server. */
  readonly promoted: PostgresStorage;
  /** Lets new connections go to the promoted server, and leaves those that are there. */
  moveAddress(): void;
}

async function withScene(maxLifetime: number, use: (scene: Scene) => Promise<void>): Promise<void> {
  const pair = await startReplicatedPair();
  const link = await Link.open(portOf(pair.primary.address));
  const address = new URL(pair.primary.address);
  address.port = String(link.port);
  const storage = openPostgres(address.href, { statementTimeout: 1000, maxLifetime });
  const promoted = openPostgres(pair.standby.address);
  try {
    await Promise.all(Array.from({ length: 6 }, (_, i) => write(storage, `before:${i}`)));
    await Promise.all(Array.from({ length: 6 }, () => storage.readNodes(["before:1"])));
    await pair.catchUp();
    await use({ pair, storage, promoted, moveAddress: () => link.target = portOf(pair.standby.address) });
  } finally {
    await Promise.all([storage.close(), promoted.close()]);
    await link.close();
    await pair.stop();
  }
}

test("openPostgres writes to the promoted server, on connections that were to one that became read-only", async () => {
  await withScene(60_000, async ({ pair, storage, promoted, moveAddress }) => {
    await setReadOnly(pair.primary.address, true);
    await pair.promote();
    moveAddress();
    const beginning = performance.now();
    const version = await inTime(beginning, () => write(storage, "after"));
    assert.equal((await promoted.getNode("after"))?.version, version);
    assert.ok(performance.now() - beginning < STORAGE_TIMEOUT);
  });
});

test("openPostgres never says that nothing changed from a server that became read-only", async () => {
  await withScene(60_000, async ({ pair, storage, promoted, moveAddress }) => {
    await setReadOnly(pair.primary.address, true);
    const { maxVersion } = await pair.promote().then(() => promoted.readNodes([]));
    moveAddress();
    const version = await write(promoted, "after");
    const beginning = performance.now();
    for (let answers = 0; answers < 30;) {
      const answer = await Promise.all([
        storage.readChanges(maxVersion, 10),
        storage.readNodes(["after"]),
        storage.getMaxVersion(),
      ]).catch((error) => assert.match(error.message, /the database only reads/));
      assert.ok(performance.now() - beginning < STORAGE_TIMEOUT, "there is no answer");
      if (!answer) continue;
      answers++;
      const [changes, reading, counter] = answer;
      assert.deepEqual(changes.nodes.map(({ key }) => key), ["after"]);
      assert.equal(reading.nodes.get("after")?.version, version);
      assert.equal(counter, version);
    }
  });
});

test("openPostgres leaves an earlier primary that still takes writes within maxLifetime, and listens to the new one", async () => {
  await withScene(2000, async ({ pair, storage, promoted, moveAddress }) => {
    const heard: (readonly string[] | null)[] = [];
    const leave = await storage.subscribe!((keys) => heard.push(keys));
    await pair.promote();
    moveAddress();
    const version = await write(promoted, "after");
    const beginning = performance.now();
    await sleep(2000);
    for (let i = 0; i < 4; i++) {
      const readings = await Promise.all(Array.from({ length: 4 }, () => storage.readNodes(["after"])));
      for (const { nodes } of readings) assert.equal(nodes.get("after")?.version, version);
    }
    // The connection that listens is looked at every 5 seconds.
    while (!heard.includes(null)) {
      assert.ok(performance.now() - beginning < 12_000, "it listens to the earlier primary");
      await sleep(10);
    }
    await write(promoted, "told");
    while (!heard.some((keys) => keys?.includes("told"))) await sleep(10);
    await leave();
  });
});

test("a standby answers nothing, and of several hosts the primary is found", async () => {
  await withScene(60_000, async ({ pair, storage, promoted }) => {
    const isStandby = { code: "ERR_REALITY_STORAGE", message: /is a standby/ };
    await assert.rejects(promoted.getNode("before:1"), isStandby);
    await assert.rejects(promoted.listChangedSince(0), isStandby);
    await assert.rejects(promoted.subscribe!(() => {}), isStandby);
    const many = new URL(pair.standby.address);
    const both = `${many.host},127.0.0.1:${portOf(pair.primary.address)}`;
    const found = openPostgres(many.href.replace(many.host, both));
    const version = await write(found, "found");
    assert.equal((await storage.getNode("found"))?.version, version);
    await found.close();

    const pool = new pg.Pool({ connectionString: pair.standby.address, max: 2 });
    const query = (sql: string, params: unknown[]) => pool.query(sql, params).then((r) => r.rows);
    const shared = new SQLStorage({ query, dialect: "postgres" });
    const onlyReads = { code: "ERR_REALITY_STORAGE", message: /the database only reads/ };
    const reads = async () => {
      await assert.rejects(shared.readNodes(["before:1"]), onlyReads);
      await assert.rejects(shared.readChanges(0, 10), onlyReads);
      await assert.rejects(shared.getMaxVersion(), onlyReads);
    };
    await pair.catchUp();
    await reads();
    await pair.promote();
    assert.ok((await shared.readNodes(["before:1"])).nodes.get("before:1"));
    await setReadOnly(pair.standby.address, true);
    // A connection notices it with its next statement, or the one after.
    while (await shared.readNodes([]).then(() => true, () => false));
    await reads();
    await pool.end();
  });
});

/** Tries until it succeeds, for as long as one call of the storage may take. */
async function inTime<T>(beginning: number, call: () => Promise<T>): Promise<T> {
  while (true) {
    try {
      return await call();
    } catch (error) {
      if (performance.now() - beginning > STORAGE_TIMEOUT) throw error;
    }
  }
}

async function write(storage: PostgresStorage, key: string): Promise<number | undefined> {
  const [meta] = await storage.applyChanges([{ key, hash: "h", updatedAt: 1 }]);
  return meta?.version;
}

function portOf(address: string): number {
  return Number(new URL(address).port);
}
