/**
 * Streams that come back to another server than the one they left: on one storage, where nodes can take a place in
 * its past, and on storages that stand beside each other.
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

/** What the first read of a stream tells. */
interface Opening {
  /** Key → version of its updates. */
  readonly told: Record<string, number>;
  readonly isResync: boolean;
  /** The id to come back with. */
  readonly id: string;
}

/** Opens a stream, as an `EventSource` does that was told this id, and leaves after the first read. */
async function visit(server: RealityServer, keys: readonly string[], id?: string): Promise<Opening> {
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
    told: Object.fromEntries(metas.map(({ key, version }) => [key, version])),
    isResync: text.includes("event: resync"),
    id: /^id: (.*)$/m.exec(text)?.[1] ?? "",
  };
}

/** Runs with the same storage twice, as two processes have it. */
type Share = (use: (one: MeshStorage, other: MeshStorage) => Promise<void>) => Promise<void>;

const shares: Record<string, Share> = {
  "one MemoryStorage": async (use) => {
    const storage = new MemoryStorage();
    await use(storage, storage);
  },
  "one memory with a fence before it": async (use) => {
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
  test(`a stream hears what a server with peers took in below its place, from one without, on ${name}`, () =>
    share(async (shared, same) => {
      const servers = new Servers(["far", "near"], { meshSecret: "nobody else knows this one" });
      const alone = new RealityServer({ storage: same });
      try {
        servers.start("near", { storage: shared });
        await servers.meet();
        servers.cut = () => true;
        await servers.get("far").updateNode("k", "of far");
        const node = await servers.get("far").getNode("k");
        // Ahead of far's clock, so that what far has is below it.
        const { maxVersion } = await alone.getStats();
        const ahead = Math.max(maxVersion, node!.version) + 1_000_000;
        await shared.setNode("other", { key: "other", version: ahead, hash: "1", updatedAt: 1 });
        const { id } = await visit(alone, ["k", "other"]);
        servers.cut = () => false;
        await servers.reach("k", (found) => found !== null, ["near"]);
        const back = await visit(alone, ["k", "other"], id);
        equal(back.told.k, node?.version);
        equal(back.isResync, true);
        deepEqual((await visit(alone, ["k", "other"], back.id)).told, {});
      } finally {
        await alone.close();
        await servers.close();
      }
    }));

  test(`a stream hears of a number that was published late, on ${name}`, () =>
    share(async (shared, same) => {
      const [writer, server] = [new RealityServer({ storage: shared }), new RealityServer({ storage: same })];
      const reserved = await shared.incrementVersion("late");
      await writer.updateNode("other", "1");
      const { id } = await visit(server, ["late", "other"]);
      await shared.setNode("late", { key: "late", version: reserved, hash: "1", updatedAt: 1 });
      const back = await visit(server, ["late", "other"], id);
      equal(back.told.late, reserved);
      const { told, isResync } = await visit(server, ["late", "other"], back.id);
      deepEqual([told, isResync], [{}, false]);
      await Promise.all([writer.close(), server.close()]);
    }));

  test(`a stream resumes on another server of ${name} where nothing came into its past`, () =>
    share(async (shared, same) => {
      const [one, other] = [new RealityServer({ storage: shared }), new RealityServer({ storage: same })];
      await one.updateMany(["a", "b"].map((key) => ({ key, hash: "1" })));
      const { id } = await visit(one, ["a", "b"]);
      await one.updateNode("b", "2");
      const { told, isResync } = await visit(other, ["a", "b"], id);
      deepEqual([told, isResync], [{ b: (await one.getNode("b"))?.version }, false]);
      await Promise.all([one.close(), other.close()]);
    }));
}

for (const [name, share] of Object.entries(shares)) {
  test(`a stream that resumes is told a deletion once, and of a key that was never there nothing, on ${name}`, () =>
    share(async (shared, same) => {
      const [one, other] = [new RealityServer({ storage: shared }), new RealityServer({ storage: same })];
      await one.updateMany(["a", "b", "c"].map((key) => ({ key, hash: "1" })));
      const keys = ["a", "b", "c", "never"];
      await one.deleteNode("c");
      const first = await visit(one, keys);
      await one.deleteNode("a");
      const second = await visit(other, keys, first.id);
      deepEqual([Object.keys(second.told), second.isResync], [["a"], false]);
      deepEqual((await visit(one, keys, second.id)).told, {});
      await one.updateNode("a", "again");
      await one.deleteNode("a");
      await one.updateNode("never", "1");
      const third = await visit(other, keys, second.id);
      deepEqual(Object.keys(third.told).sort(), ["a", "never"]);
      deepEqual((await visit(one, keys, third.id)).told, {});
      await Promise.all([one.close(), other.close()]);
    }));
}

test("a stream that resumes is told of a deletion whose tombstone was swept since", async () => {
  let now = Date.UTC(2026, 0, 1);
  const storage = new MemoryStorage({ tombstoneTimeout: 1_000, now: () => now });
  const server = new RealityServer({ storage });
  await server.updateMany(["a", "b"].map((key) => ({ key, hash: "1" })));
  await server.deleteNode("b");
  const { id } = await visit(server, ["a", "b"]);
  await server.deleteNode("a");
  now += 600_000;
  await server.updateNode("c", "1");
  const swept = (await storage.readNodes([])).collectedVersion;
  const back = await visit(server, ["a", "b"], id);
  equal(swept > 3, true);
  equal("a" in back.told, true);
  deepEqual((await visit(server, ["a", "b"], back.id)).told, {});
  await server.close();
});

test("a stream that comes from another storage of the same epoch begins anew", async () => {
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
    // Nobody who left this one was told of that, however far its history has come.
    await servers.get("a").updateNode("other", "1");
    const [one, other] = await Promise.all([atHere!.getStats(), atThere!.getStats()]);
    equal(one!.epoch, other!.epoch);
    const { id } = await visit(atHere!, ["k", "other"]);
    // Now the other's history has come further.
    await servers.get("b").updateNode("next", "1");
    const { told, isResync } = await visit(atThere!, ["k"], id);
    equal(isResync, true);
    notEqual(told.k, undefined);
  } finally {
    await Promise.all([atHere!.close(), atThere!.close()]);
    await servers.close();
  }
});

test("a cursor of the form without a run of history is answered by resync", async () => {
  const storage = new MemoryStorage();
  const server = new RealityServer({ storage });
  await server.updateNode("k", "1");
  const { epoch } = await storage.getIdentity();
  const { version } = (await storage.getNode("k"))!;
  const { told, isResync } = await visit(server, ["k"], `${epoch}:${version}`);
  deepEqual([told, isResync], [{ k: version }, true]);
  await server.close();
});
