/**
 * Servers that keep running while their storage is set back to an earlier state, by restoring a backup or by
 * promoting a replica that lacks the last changes.
 *
 * @module
 */
import { deepEqual, equal, ok } from "node:assert/strict";
import { DatabaseSync } from "node:sqlite";
import fc from "fast-check";
import { RealityServer } from "../../../src/server.ts";
import type { SyncResponse } from "../../../src/types.ts";
import { SQLStorage } from "../../../storage/sql/sql_storage.ts";
import { FakeClock, settle } from "../../clock.ts";
import { SeededRandom } from "../../random.ts";
import { test } from "../../harness.ts";

const KEYS = ["a", "b", "c", "d", "e", "f"];

/** A database, and servers on it that do not know each other. */
class Scene {
  readonly clock = new FakeClock();
  readonly #database = new DatabaseSync(":memory:");
  readonly #servers: RealityServer[] = [];
  #now = Date.UTC(2026, 0, 1);
  /** Called before each statement. */
  before: (() => unknown) | undefined;

  openStorage(): SQLStorage {
    return new SQLStorage({
      query: async (sql, params) => {
        await this.before?.();
        return this.#database.prepare(sql).all(...params);
      },
      dialect: "sqlite",
      counter: "clock",
      now: () => this.#now++,
    });
  }

  openServer(): RealityServer {
    const server = new RealityServer({ storage: this.openStorage(), clock: this.clock });
    this.#servers.push(server);
    return server;
  }

  /** Copies the table like a backup. */
  save(): void {
    this.#database.exec("DROP TABLE IF EXISTS saved; CREATE TABLE saved AS SELECT * FROM reality_nodes");
  }

  /** Restores the last copy. */
  setBack(): void {
    this.#database.exec("DELETE FROM reality_nodes; INSERT INTO reality_nodes SELECT * FROM saved");
  }

  async close(): Promise<void> {
    for (const server of this.#servers) await server.close();
    this.#database.close();
  }
}

async function withScene(run: (scene: Scene) => Promise<void>): Promise<void> {
  const scene = new Scene();
  try {
    await run(scene);
  } finally {
    await scene.close();
  }
}

/** Everything that a client with these versions receives: key → hash, empty for a deleted node. */
function changesOf({ changed }: SyncResponse): Record<string, string> {
  return Object.fromEntries(Object.entries(changed).map(([key, { hash }]) => [key, hash]));
}

async function versionsOf(server: RealityServer, keys: readonly string[]): Promise<Record<string, number>> {
  const known = Object.fromEntries(keys.map((key) => [key, 0]));
  const { changed } = await server.handleSync({ known });
  return Object.fromEntries(keys.map((key) => [key, changed[key]?.version ?? 0]));
}

/** A server that knows changes which are then lost, and others that have made this many commits since. */
async function loseChanges(scene: Scene, commits: number): Promise<{
  server: RealityServer;
  known: Record<string, number>;
  epoch: string;
  lose: () => Promise<void>;
}> {
  const [server, other] = [scene.openServer(), scene.openServer()];
  await other.updateMany([{ key: "a", hash: "old" }, { key: "b", hash: "old" }, { key: "c", hash: "old" }]);
  scene.save();
  await other.updateNode("b", "lost");
  await other.deleteNode("c");
  await other.updateNode("d", "lost");
  const known = await versionsOf(server, ["a", "b", "c", "d"]);
  const { epoch } = await server.getStats();
  const lose = async () => {
    scene.setBack();
    for (let i = 0; i < commits; i++) await scene.openServer().updateNode(`other:${i}`, "new");
  };
  return { server, known, epoch, lose };
}

for (const commits of [0, 1, 5, 100]) {
  test(`a server whose storage was restored forgets what was lost, after ${commits} commits of others`, async () => {
    await withScene(async (scene) => {
      const { server, known, epoch, lose } = await loseChanges(scene, commits);
      await lose();
      const received = changesOf(await server.handleSync({ known, epoch }));
      deepEqual(received, { b: "old", c: "old", d: "" });
      deepEqual(changesOf(await server.handleSync({ known: { a: 0, b: 0, c: 0, d: 0 } })), {
        a: "old",
        b: "old",
        c: "old",
      });
    });
  });

  test(`a waiting client is told what was lost, after ${commits} commits of others`, async () => {
    await withScene(async (scene) => {
      const { server, known, epoch, lose } = await loseChanges(scene, commits);
      const waiting = server.handleSync({ known: { b: known.b! }, epoch, wait: 25_000 });
      await settle();
      await lose();
      await scene.clock.advance(500);
      deepEqual(changesOf(await waiting), { b: "old" });
    });
  });

  test(`a client that waits on the older state is told what another one lost, after ${commits} commits of others`, async () => {
    await withScene(async (scene) => {
      const { server, known, epoch, lose } = await loseChanges(scene, commits);
      const waiting = server.handleSync({ known: { d: known.d! }, epoch, wait: 25_000 });
      await settle();
      await lose();
      // Another client waits on the new history before the poller has polled.
      const later = server.handleSync({ known: { nothing: 0 }, epoch, wait: 1_000 });
      await settle();
      await scene.clock.advance(500);
      deepEqual(changesOf(await waiting), { d: "" });
      await scene.clock.advance(1_000);
      deepEqual(changesOf(await later), {});
    });
  });

  test(`a stream that reconnects after a loss starts anew, after ${commits} commits of others`, async () => {
    await withScene(async (scene) => {
      const { server, lose } = await loseChanges(scene, commits);
      const { id } = await openOnce(server, ["b", "d"]);
      await lose();
      for (const one of [server, scene.openServer()]) {
        const { text } = await openOnce(one, ["b", "d"], id);
        ok(text.includes("event: resync"), text);
        ok(text.includes('"hash":"old"'), text);
      }
    });
  });
}

/**
 * A server that reads "old" from its cache, and "lost" from the storage. "lost" changes between the revalidation and
 * the read of its row. The backup has everything that the revalidation returned, and not that change.
 */
async function changeBetween(scene: Scene, change: (other: RealityServer) => Promise<unknown>) {
  const [server, other] = [scene.openServer(), scene.openServer()];
  await other.updateMany([{ key: "old", hash: "old" }, { key: "gone", hash: "old" }]);
  // The first reading sets the position of the cache, and the second one fills it.
  for (let i = 0; i < 2; i++) await versionsOf(server, ["old"]);
  scene.save();
  let statements = 0;
  scene.before = async () => {
    if (++statements !== 2) return;
    scene.before = undefined;
    await change(other);
  };
  return server;
}

test("a client that waits on rows newer than the history read before them is told of their loss", async () => {
  await withScene(async (scene) => {
    const server = await changeBetween(scene, (other) => other.deleteNode("gone"));
    const waiting = server.handleSync({ known: { gone: 0 }, wait: 25_000 });
    await settle();
    equal(scene.before, undefined);
    scene.setBack();
    await scene.clock.advance(500);
    deepEqual(changesOf(await waiting), { gone: "old" });
  });
});

for (const keys of [["lost"], ["old", "lost"]]) {
  test(`a stream of ${keys} that sent rows newer than the history read before them sends their loss`, async () => {
    await withScene(async (scene) => {
      const server = await changeBetween(scene, (other) => other.updateNode("lost", "lost"));
      const response = await server.handleSSECompat(new Request("http://localhost/events"), { keys });
      const reader = response.body!.getReader();
      const decoder = new TextDecoder();
      const first = decoder.decode((await reader.read()).value);
      ok(first.includes('"hash":"lost"'), first);
      scene.setBack();
      const next = reader.read();
      await scene.clock.advance(500);
      const received = decoder.decode((await next).value);
      ok(received.includes('"key":"lost"') && received.includes('"deleted":true'), received);
      await reader.cancel();
    });
  });

  test(`a stream of ${keys} that reconnects after a loss of such rows is told of it`, async () => {
    await withScene(async (scene) => {
      const server = await changeBetween(scene, (other) => other.updateNode("lost", "lost"));
      const { text, id } = await openOnce(server, keys);
      ok(text.includes('"hash":"lost"'), text);
      scene.setBack();
      for (const one of [server, scene.openServer()]) {
        const { text } = await openOnce(one, keys, id);
        ok(text.includes('"key":"lost"') && text.includes('"deleted":true'), text);
      }
    });
  });
}

test("a stream that reconnects after a few commits of others resumes", async () => {
  await withScene(async (scene) => {
    const { server } = await loseChanges(scene, 0);
    const { id } = await openOnce(server, ["b", "d"]);
    for (let i = 0; i < 5; i++) await scene.openServer().updateNode("b", `new:${i}`);
    const { text } = await openOnce(server, ["b", "d"], id);
    ok(!text.includes("event: resync"), text);
    ok(text.includes('"hash":"new:4"') && !text.includes('"key":"d"'), text);
  });
});

test("servers answer from the current state of their storage after any sequence of writes, backups and restores", async () => {
  const step = fc.oneof(
    fc.record({ do: fc.constant("write" as const), by: fc.nat(2), key: fc.constantFrom(...KEYS) }),
    fc.record({ do: fc.constant("delete" as const), by: fc.nat(2), key: fc.constantFrom(...KEYS) }),
    fc.record({ do: fc.constant("burst" as const), by: fc.nat(2), key: fc.constantFrom(...KEYS) }),
    fc.record({ do: fc.constant("read" as const), by: fc.nat(1), key: fc.constantFrom(...KEYS) }),
    fc.record({ do: fc.constantFrom("save" as const, "set back" as const) }),
  );
  await fc.assert(
    fc.asyncProperty(fc.array(step, { minLength: 4, maxLength: 60 }), async (steps) => {
      await withScene(async (scene) => {
        const servers = [scene.openServer(), scene.openServer(), scene.openServer()];
        const truth = scene.openStorage();
        await truth.getMaxVersion();
        scene.save();
        for (const [i, taken] of steps.entries()) {
          if (!("by" in taken)) taken.do === "save" ? scene.save() : scene.setBack();
          else {
            const server = servers[taken.by]!;
            if (taken.do === "delete") await server.deleteNode(taken.key);
            if (taken.do === "write") await server.updateNode(taken.key, `${i}`);
            for (let j = 0; taken.do === "burst" && j < 20; j++) {
              await server.updateNode(taken.key, `${i}:${j}`);
            }
            if (taken.do !== "read") continue;
            const expected = await truth.getNodes(KEYS);
            const found = await versionsOf(server, KEYS);
            deepEqual(found, Object.fromEntries(KEYS.map((key) => [key, expected.get(key)?.version ?? 0])));
          }
        }
      });
    }),
    { numRuns: 100 },
  );
});

const DISORDERS = {
  "saved and set back": ["save", "set back"],
  "taken below the counter": ["take"],
} as const;

for (const [disorder, kinds] of Object.entries(DISORDERS)) {
  test(`clients converge to the storage after any sequence of writes and ${disorder} while statements are running`, async () => {
    const step = fc.oneof(
      {
        weight: 4,
        arbitrary: fc.record({ do: fc.constant("write" as const), key: fc.constantFrom(...KEYS) }),
      },
      {
        weight: 2,
        arbitrary: fc.record({ do: fc.constant("delete" as const), key: fc.constantFrom(...KEYS) }),
      },
      { weight: 2, arbitrary: fc.record({ do: fc.constantFrom(...kinds), key: fc.constantFrom(...KEYS) }) },
      {
        weight: 4,
        arbitrary: fc.record({ do: fc.constant("pause" as const), ms: fc.integer({ min: 0, max: 200 }) }),
      },
      { weight: 2, arbitrary: fc.record({ do: fc.constant("come" as const), server: fc.nat(1) }) },
    );
    await fc.assert(
      fc.asyncProperty(fc.array(step, { minLength: 4, maxLength: 60 }), fc.nat(), async (steps, seed) => {
        await withScene(async (scene) => {
          const random = new SeededRandom(seed);
          const servers = [scene.openServer(), scene.openServer()];
          const writer = scene.openServer();
          await writer.updateNode("a", "first");
          scene.save();
          // Statements reach the database one by one, each after a while.
          scene.before = () =>
            new Promise<void>((resolve) => scene.clock.after(random.between(0, 30), resolve));
          const clients: Client[] = [];
          const writes: Promise<unknown>[] = [];
          for (const [i, taken] of steps.entries()) {
            if (taken.do === "save") scene.save();
            else if (taken.do === "set back") scene.setBack();
            else if (taken.do === "take") writes.push(takeBelow(scene.openStorage(), taken.key, `${i}`));
            else if ("ms" in taken) await scene.clock.advance(taken.ms);
            else if (taken.do === "write") writes.push(writer.updateNode(taken.key, `${i}`));
            else if (taken.do === "delete") writes.push(writer.deleteNode(taken.key));
            else if ("server" in taken) {
              const keys = random.shuffle(KEYS).slice(0, random.between(1, KEYS.length));
              const Kind = random.pick([Waiter, Streamer]);
              clients.push(new Kind(servers[taken.server]!, keys, random.between(50, 3_000)));
            }
          }
          // One poll, and the requests of each client and server after it.
          await scene.clock.advance(1_000);
          await Promise.all(writes);
          scene.before = undefined;
          const nodes = await scene.openStorage().getNodes(KEYS);
          for (const client of clients) {
            client.stop();
            deepEqual(
              client.held,
              Object.fromEntries(client.keys.map((key) => [key, nodes.get(key)?.version ?? 0])),
              client.constructor.name,
            );
          }
          await scene.clock.advance(5_000);
          await Promise.all(clients.map(({ done }) => done));
        });
      }),
      { numRuns: 150 },
    );
  });
}

/** Merges a node of another storage that is newer than the stored one and usually below the counter. */
async function takeBelow(storage: SQLStorage, key: string, hash: string): Promise<void> {
  const there = (await storage.readReplicated([key])).get(key);
  const version = (there?.version ?? 0) + 1;
  const node = { key, version, hash, updatedAt: 1, replicaId: "other", dotVersion: version };
  await storage.mergeNodes([{ node, replaces: there ?? null }]);
}

/** Holds the versions of some keys as it received them. */
abstract class Client {
  readonly keys: readonly string[];
  readonly held: Record<string, number>;
  readonly done: Promise<void>;
  protected stopped = false;

  constructor(server: RealityServer, keys: readonly string[], patience: number) {
    this.keys = keys;
    this.held = Object.fromEntries(keys.map((key) => [key, 0]));
    this.done = this.follow(server, patience);
    // It is awaited if everything went well.
    this.done.catch(() => {});
  }

  stop(): void {
    this.stopped = true;
  }

  protected abstract follow(server: RealityServer, patience: number): Promise<void>;
}

/** Waits, then sends the next request. */
class Waiter extends Client {
  protected async follow(server: RealityServer, patience: number): Promise<void> {
    let epoch: string | undefined;
    while (!this.stopped) {
      const known = { ...this.held };
      const answer = await server.handleSync({ known, wait: patience, ...(epoch ? { epoch } : {}) });
      epoch = answer.epoch;
      if (this.stopped) return;
      for (const [key, meta] of Object.entries(answer.changed)) {
        this.held[key] = meta.deleted ? 0 : meta.version;
      }
    }
  }
}

/** Follows a stream for a number of readings, and reconnects with the last id. */
class Streamer extends Client {
  #leave: (() => unknown) | undefined;

  override stop(): void {
    super.stop();
    this.#leave?.();
  }

  protected async follow(server: RealityServer, patience: number): Promise<void> {
    let id = "";
    while (!this.stopped) {
      const headers = { "last-event-id": id };
      const request = new Request("http://localhost/events", { headers });
      const response = await server.handleSSECompat(request, { keys: this.keys });
      const reader = response.body!.pipeThrough(new TextDecoderStream()).getReader();
      this.#leave = () => reader.cancel();
      for (let i = 0; i < 1 + patience % 4; i++) {
        const { value, done } = await reader.read();
        if (done || this.stopped) break;
        for (const event of value.split("\n\n")) {
          const data = /^data: (.*)$/m.exec(event)?.[1];
          if (data !== undefined && event.includes("event: update")) {
            const meta = JSON.parse(data) as { key: string; version: number; deleted?: true };
            this.held[meta.key] = meta.deleted ? 0 : meta.version;
          }
          id = /^id: (.*)$/m.exec(event)?.[1] ?? id;
        }
      }
      await reader.cancel();
    }
  }
}

/** Opens a stream like an `EventSource` with this id, and disconnects after the first read. */
async function openOnce(
  server: RealityServer,
  keys: readonly string[],
  id?: string,
): Promise<{ text: string; id: string }> {
  const headers = id === undefined ? {} : { "last-event-id": id };
  const response = await server.handleSSECompat(new Request("http://localhost/events", { headers }), {
    keys,
  });
  const reader = response.body!.getReader();
  const { value } = await reader.read();
  await reader.cancel();
  const text = new TextDecoder().decode(value);
  return { text, id: [...text.matchAll(/^id: (.*)$/gm)].at(-1)?.[1] ?? "" };
}
