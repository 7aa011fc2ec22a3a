/**
 * Nodes that are published below the counter, as those of another storage usually are. They concern only servers that
 * cache them and clients that wait for them.
 *
 * @module
 */
import { deepEqual, equal, ok } from "node:assert/strict";
import { DatabaseSync } from "node:sqlite";
import fc from "fast-check";
import { isConfirmed, lateEntry, lateMarksSince, markOf, marksOf } from "../../../src/store/history.ts";
import { RealityServer } from "../../../src/server.ts";
import type { ChangeListener, RealityStorage, StorageMoment } from "../../../src/store/contract.ts";
import { SQLStorage } from "../../../storage/sql/sql_storage.ts";
import { FakeClock, settle } from "../../clock.ts";
import { test } from "../../harness.ts";

const KEYS = Array.from({ length: 20 }, (_, i) => `key:${i}`);
const MOMENT: StorageMoment = { epoch: "e", replicaId: "o", maxVersion: 9, collectedVersion: 0, late: 0 };

/** A database with a server that has cached twenty keys, and another process that merges nodes. */
async function withServer(
  run: (
    scene: {
      server: RealityServer;
      clock: FakeClock;
      statements: string[];
      take: (...keys: string[]) => Promise<void>;
    },
  ) => Promise<void>,
  extend: (storage: SQLStorage) => RealityStorage = (storage) => storage,
): Promise<void> {
  const database = new DatabaseSync(":memory:");
  const clock = new FakeClock();
  const statements: string[] = [];
  const open = (asked: string[]) =>
    new SQLStorage({
      dialect: "sqlite",
      query: (sql, params) => {
        asked.push(sql);
        return database.prepare(sql).all(...params);
      },
    });
  const other = open([]);
  let number = 0;
  const take = async (...keys: string[]) => {
    const nodes = keys.map((key) => {
      const dotVersion = ++number;
      return {
        key,
        version: dotVersion,
        hash: `taken:${dotVersion}`,
        updatedAt: 1,
        replicaId: "elsewhere",
        dotVersion,
      };
    });
    await other.mergeNodes(nodes.map((node) => ({ node, replaces: null })));
  };
  await other.applyChanges(KEYS.map((key) => ({ key, hash: "own", updatedAt: 1 })));
  const server = new RealityServer({ storage: extend(open(statements)), clock });
  try {
    // The first reading sets the position of the cache, and the second one fills it.
    for (let i = 0; i < 2; i++) await knowAll(server);
    statements.length = 0;
    await run({ server, clock, statements, take });
  } finally {
    await server.close();
    database.close();
  }
}

async function knowAll(server: RealityServer, more: readonly string[] = []): Promise<Record<string, number>> {
  const known = Object.fromEntries([...KEYS, ...more].map((key) => [key, 0]));
  const { changed } = await server.handleSync({ known });
  return Object.fromEntries([...KEYS, ...more].map((key) => [key, changed[key]?.version ?? 0]));
}

test("a server that knows some nodes makes one storage call after others were published below the counter", async () => {
  await withServer(async ({ server, statements, take }) => {
    await knowAll(server, ["foreign:1"]);
    const before = await knowAll(server, ["foreign:1"]);
    statements.length = 0;
    await take("foreign:2");
    deepEqual(await knowAll(server), Object.fromEntries(KEYS.map((key) => [key, before[key]])));
    equal(statements.length, 1, "the question what came after");
    // A key that was cached as missing is read again.
    await take("foreign:1");
    equal((await knowAll(server, ["foreign:1"]))["foreign:1"], 2);
    equal(statements.length, 3);
  });
});

test("only waiters of keys that were published below the counter are woken", async () => {
  await withServer(async ({ server, clock, take }) => {
    const known = await knowAll(server);
    const { epoch } = await server.getStats();
    const waits = KEYS.map((key) =>
      server.handleSync({ known: { [key]: known[key]! }, epoch, wait: 25_000 })
    );
    const wait = server.handleSync({ known: { foreign: 0 }, epoch, wait: 25_000 });
    await settle();
    await take("foreign");
    await clock.advance(100);
    equal((await wait).changed.foreign?.hash, "taken:1");
    // One key in 1,296 has the same mark.
    const alike = KEYS.filter((key) => markOf(key) === markOf("foreign")).length;
    equal((await server.getStats()).wakes, 1 + alike);
    await clock.advance(25_000);
    for (const { changed } of await Promise.all(waits)) deepEqual(Object.keys(changed), []);
  });
});

test("an announcement that any key may have changed makes the server poll at once", async () => {
  let announce: ChangeListener = () => {};
  const extend = (storage: SQLStorage) =>
    Object.assign(storage, {
      subscribe: (listener: ChangeListener) => {
        announce = listener;
        return Promise.resolve(() => Promise.resolve());
      },
    });
  await withServer(async ({ server, clock, statements, take }) => {
    const known = await knowAll(server);
    const { epoch } = await server.getStats();
    const rest = server.handleSync({ known, epoch, wait: 25_000 });
    const wait = server.handleSync({ known: { foreign: 0 }, epoch, wait: 25_000 });
    // After that, the poller polls only every five seconds.
    await clock.advance(15_000);
    const { wakes } = await server.getStats();
    statements.length = 0;
    await take("foreign");
    announce(null);
    announce(null);
    await settle();
    equal((await wait).changed.foreign?.hash, "taken:1");
    equal((await server.getStats()).wakes - wakes, 1);
    // Two polls, and the statements of the answer and the statistics.
    ok(statements.length <= 6, `${statements.length} statements`);
    await clock.advance(25_000);
    deepEqual(Object.keys((await rest).changed), []);
  }, extend);
});

test("lateMarksSince() returns the marks of exactly the published entries, or null", () => {
  const since = (recent: string | undefined, now: number, late: number) =>
    lateMarksSince({ ...MOMENT, late: now, ...(recent === undefined ? {} : { recent }) }, late);
  deepEqual(since(",5;6:a03f,120;7:bb", 7, 6), new Set(["bb"]));
  deepEqual(since(",5;6:a03f,120;7:bb,9", 7, 5), new Set(["bb", "a0", "3f"]));
  equal(since(",5;6:a03f,120;7:bb", 7, 4), null);
  deepEqual(since(",5", 7, 7), new Set());
  deepEqual(since(undefined, 7, 7), new Set());
  equal(since(undefined, 8, 7), null);
  equal(since(",5;6:bb", 6, 7), null, "what was counted is lost");
  equal(since(",5;8:", 8, 7), null, "any key");
  equal(since("8:a0;8:", 8, 7), null, "any key");
  equal(since("8:3f,5", 8, 7), null, "cut off");
  equal(since(",5;7:bb", 8, 7), null, "the last one has no mark");
  equal(since(",5;7:bb;9:a0", 9, 7), null, "one between them has no mark");
  deepEqual(since(";999:aa;0:bb", 3000, 2998), new Set(["aa", "bb"]));
  equal(lateEntry(2017, marksOf(["a", "b"])), `;17:${markOf("a")}${markOf("b")}`);
  equal(marksOf(Array.from({ length: 17 }, (_, i) => `${i}`)), "");
  for (const key of ["", "a", "chat:general", "\u{1F600}", "x".repeat(512)]) {
    ok(/^[0-9a-z]{2}$/.test(markOf(key)));
  }
});

test("isConfirmed() accepts exactly the counters that a history had", () => {
  const steps = fc.array(fc.integer({ min: 1, max: 10_000 }), { maxLength: 80 });
  fc.assert(fc.property(steps, fc.nat(1_000_000), fc.nat(20), (grown, first, cut) => {
    const counters = [first];
    for (const step of grown) counters.push(counters.at(-1)! + step);
    const maxVersion = counters.at(-1)!;
    const recent = grown.map((step) => `,${step}`).join("").slice(cut);
    const confirmed = counters.filter((position) => isConfirmed({ maxVersion, recent }, position));
    deepEqual(confirmed, counters.slice(-confirmed.length));
    ok(confirmed.length >= Math.min(counters.length, counters.length - Math.ceil(cut / 2)));
    for (const position of [maxVersion + 1, maxVersion - 1, first + 1, first - 1]) {
      if (!counters.includes(position)) equal(isConfirmed({ maxVersion, recent }, position), false);
    }
  }));
  equal(isConfirmed({ maxVersion: 7 }, 3), true);
  equal(isConfirmed({ maxVersion: 7 }, 8), false);
  equal(isConfirmed({ maxVersion: 7, recent: "" }, 7), true);
  equal(isConfirmed({ maxVersion: 7, recent: "" }, 6), false);
});
