/**
 * Streams that reconnect to another server than the one they left: on one storage, where nodes can be published below
 * the counter, and on replicated storages.
 *
 * @module
 */
import { deepEqual, equal, notEqual } from "node:assert/strict";
import { join } from "node:path";
import { RealityServer } from "../../../src/server.ts";
import type { MeshStorage } from "../../../src/store/contract.ts";
import { MemoryStorage } from "../../../storage/memory/memory_storage.ts";
import { openSQLite } from "../../../storage/sql/sqlite/sqlite_storage.ts";
import { test } from "../../harness.ts";
import { inFolder } from "../../storage/sql/sqlite/sqlite_kit.ts";
import { HistoryStorage } from "../../storages.ts";
import { Servers } from "../mesh/servers.ts";

/** The result of the first read of a stream. */
interface Opening {
  /** Key → version of its updates. */
  readonly received: Record<string, number>;
  readonly isResync: boolean;
  /** The id to reconnect with. */
  readonly id: string;
}

/** Opens a stream like an `EventSource` with this id, and disconnects after the first read. */
async function openOnce(server: RealityServer, keys: readonly string[], id?: string): Promise<Opening> {
  const headers = id === undefined ? {} : { "last-event-id": id };
  const response = await server.handleSSECompat(new Request("http://localhost/events", { headers }), {
    keys,
  });
  const reader = response.body!.getReader();
  const { value } = await reader.read();
  await reader.cancel();
  const text = new TextDecoder().decode(value);
  const metas = [...text.matchAll(/^event: update\ndata: (.*)$/gm)].map(([, data]) => JSON.parse(data!));
  return {
    received: Object.fromEntries(metas.map(({ key, version }) => [key, version])),
    isResync: text.includes("event: resync"),
    id: [...text.matchAll(/^id: (.*)$/gm)].at(-1)?.[1] ?? "",
  };
}

/** Runs with the same storage twice, like two processes. */
type Share = (use: (one: MeshStorage, other: MeshStorage) => Promise<void>) => Promise<void>;

const shares: Record<string, Share> = {
  "one MemoryStorage": async (use) => {
    const storage = new MemoryStorage();
    await use(storage, storage);
  },
  "one storage in memory behind a cached reader": async (use) => {
    const storage = new HistoryStorage();
    await use(storage, storage);
  },
  "one SQLite file": (use) =>
    inFolder(async (folder) => {
      const [one, other] = [
        openSQLite(join(folder, "r.db"), { counter: "sequential" }),
        openSQLite(join(folder, "r.db"), { counter: "sequential" }),
      ];
      try {
        await use(one, other);
      } finally {
        await Promise.all([one.close(), other.close()]);
      }
    }),
};

for (const [name, share] of Object.entries(shares)) {
  test(`a resumed stream receives nodes that a server with peers merged below its cursor, on ${name}`, () =>
    share(async (shared, same) => {
      const servers = new Servers(["far", "near"], { meshSecret: "nobody else knows this one" });
      const alone = new RealityServer({ storage: same });
      try {
        servers.start("near", { storage: shared });
        await servers.meet();
        servers.cut = () => true;
        await servers.get("far").updateNode("k", "of far");
        const node = await servers.get("far").getNode("k");
        // Ahead of the clock of `far`, so that the versions of `far` are below it.
        const { maxVersion } = await alone.getStats();
        const ahead = Math.max(maxVersion, node!.version) + 1_000_000;
        await shared.setNode("other", { key: "other", version: ahead, hash: "1", updatedAt: 1 });
        const { id } = await openOnce(alone, ["k", "other"]);
        servers.cut = () => false;
        await servers.reach("k", (found) => found !== null, ["near"]);
        const back = await openOnce(alone, ["k", "other"], id);
        equal(back.received.k, node?.version);
        equal(back.isResync, true);
        deepEqual((await openOnce(alone, ["k", "other"], back.id)).received, {});
      } finally {
        await alone.close();
        await servers.close();
      }
    }));

  test(`a resumed stream receives a version that was published below the counter, on ${name}`, () =>
    share(async (shared, same) => {
      const [writer, server] = [new RealityServer({ storage: shared }), new RealityServer({ storage: same })];
      const reserved = await shared.incrementVersion("late");
      await writer.updateNode("other", "1");
      const { id } = await openOnce(server, ["late", "other"]);
      await shared.setNode("late", { key: "late", version: reserved, hash: "1", updatedAt: 1 });
      const back = await openOnce(server, ["late", "other"], id);
      equal(back.received.late, reserved);
      const { received, isResync } = await openOnce(server, ["late", "other"], back.id);
      deepEqual([received, isResync], [{}, false]);
      await Promise.all([writer.close(), server.close()]);
    }));

  test(`a stream resumes on another server of ${name} if nothing was published below its cursor`, () =>
    share(async (shared, same) => {
      const [one, other] = [new RealityServer({ storage: shared }), new RealityServer({ storage: same })];
      await one.updateMany(["a", "b"].map((key) => ({ key, hash: "1" })));
      const { id } = await openOnce(one, ["a", "b"]);
      await one.updateNode("b", "2");
      const { received, isResync } = await openOnce(other, ["a", "b"], id);
      deepEqual([received, isResync], [{ b: (await one.getNode("b"))?.version }, false]);
      await Promise.all([one.close(), other.close()]);
    }));
}

for (const [name, share] of Object.entries(shares)) {
  test(`a resumed stream receives a deletion once, and nothing about a key that never existed, on ${name}`, () =>
    share(async (shared, same) => {
      const [one, other] = [new RealityServer({ storage: shared }), new RealityServer({ storage: same })];
      await one.updateMany(["a", "b", "c"].map((key) => ({ key, hash: "1" })));
      const keys = ["a", "b", "c", "never"];
      await one.deleteNode("c");
      const first = await openOnce(one, keys);
      await one.deleteNode("a");
      const second = await openOnce(other, keys, first.id);
      deepEqual([Object.keys(second.received), second.isResync], [["a"], false]);
      deepEqual((await openOnce(one, keys, second.id)).received, {});
      await one.updateNode("a", "again");
      await one.deleteNode("a");
      await one.updateNode("never", "1");
      const third = await openOnce(other, keys, second.id);
      deepEqual(Object.keys(third.received).sort(), ["a", "never"]);
      deepEqual((await openOnce(one, keys, third.id)).received, {});
      await Promise.all([one.close(), other.close()]);
    }));
}

test("a resumed stream receives a deletion whose tombstone was collected since", async () => {
  let now = Date.UTC(2026, 0, 1);
  const storage = new MemoryStorage({ tombstoneTimeout: 1_000, now: () => now });
  const server = new RealityServer({ storage });
  await server.updateMany(["a", "b"].map((key) => ({ key, hash: "1" })));
  await server.deleteNode("b");
  const { id } = await openOnce(server, ["a", "b"]);
  await server.deleteNode("a");
  now += 600_000;
  await server.updateNode("c", "1");
  const collected = (await storage.readNodes([])).collectedVersion;
  const back = await openOnce(server, ["a", "b"], id);
  equal(collected > 3, true);
  equal("a" in back.received, true);
  deepEqual((await openOnce(server, ["a", "b"], back.id)).received, {});
  await server.close();
});

test("a cursor of other keys starts a new stream, and the order of the keys does not matter", async () => {
  const server = new RealityServer({ storage: new MemoryStorage() });
  await server.updateMany(["a", "b"].map((key) => ({ key, hash: "1" })));
  const { id } = await openOnce(server, ["a"]);
  const more = await openOnce(server, ["a", "b"], id);
  deepEqual([Object.keys(more.received), more.isResync], [["a", "b"], true]);
  deepEqual(await openOnce(server, ["b", "a"], more.id), { received: {}, isResync: false, id: more.id });
  await server.close();
});

test("a cursor from another storage of the same epoch starts a new stream", async () => {
  const servers = new Servers(["a", "b"], { meshSecret: "nobody else knows this one" });
  const [here, there] = [new MemoryStorage(), new MemoryStorage()];
  servers.start("a", { storage: here });
  servers.start("b", { storage: there });
  const [atHere, atThere] = [here, there].map((storage) => new RealityServer({ storage }));
  try {
    await servers.meet();
    await servers.get("b").updateNode("k", "of b");
    await servers.reach("k", (found) => found !== null);
    servers.cut = () => true;
    await servers.get("b").updateNode("k", "of b, later");
    // No client that left this server has received that change, however far its history has advanced.
    await servers.get("a").updateNode("other", "1");
    const [one, other] = await Promise.all([atHere!.getStats(), atThere!.getStats()]);
    equal(one!.epoch, other!.epoch);
    const { id } = await openOnce(atHere!, ["k", "other"]);
    // Now the history of the other server has advanced further.
    await servers.get("b").updateNode("next", "1");
    const { received, isResync } = await openOnce(atThere!, ["k"], id);
    equal(isResync, true);
    notEqual(received.k, undefined);
  } finally {
    await Promise.all([atHere!.close(), atThere!.close()]);
    await servers.close();
  }
});

test("a cursor of the former format, without a run of history, is answered with resync", async () => {
  const storage = new MemoryStorage();
  const server = new RealityServer({ storage });
  await server.updateNode("k", "1");
  const { epoch } = await storage.getIdentity();
  const { version } = (await storage.getNode("k"))!;
  const { received, isResync } = await openOnce(server, ["k"], `${epoch}:${version}`);
  deepEqual([received, isResync], [{ k: version }, true]);
  await server.close();
});
