/**
 * Servers that live on while their storage is set back to an earlier state, as by a backup that is put in its place or
 * by a replica that takes over without the last changes.
 *
 * @module
 */
import { deepEqual, equal, ok } from "node:assert/strict";
import { DatabaseSync } from "node:sqlite";
import fc from "fast-check";
import { RealityServer } from "../../src/server.ts";
import { isConfirmed } from "../../src/storage.ts";
import type { SyncResponse } from "../../src/types.ts";
import { SQLStorage } from "../../storage/sql.ts";
import { FakeClock, settle } from "../clock.ts";
import { test } from "../harness.ts";

const KEYS = ["a", "b", "c", "d", "e", "f"];

/** A database, and servers on it that know nothing of each other. */
class Scene {
  readonly clock = new FakeClock();
  readonly #database = new DatabaseSync(":memory:");
  readonly #servers: RealityServer[] = [];
  #now = Date.UTC(2026, 0, 1);

  openStorage(): SQLStorage {
    return new SQLStorage({
      query: (sql, params) => this.#database.prepare(sql).all(...params),
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

  /** Copies the table, as a backup does. */
  save(): void {
    this.#database.exec("DROP TABLE IF EXISTS saved; CREATE TABLE saved AS SELECT * FROM reality_nodes");
  }

  /** Brings the last copy back. */
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

/** Everything that a client with these versions is told: key → hash, empty for a node that is gone. */
function toldOf({ changed }: SyncResponse): Record<string, string> {
  return Object.fromEntries(Object.entries(changed).map(([key, { hash }]) => [key, hash]));
}

async function versionsOf(server: RealityServer, keys: readonly string[]): Promise<Record<string, number>> {
  const known = Object.fromEntries(keys.map((key) => [key, 0]));
  const { changed } = await server.handleSync({ known });
  return Object.fromEntries(keys.map((key) => [key, changed[key]?.version ?? 0]));
}

/** A server that knows of changes that are lost then, and others that have made so many commits since. */
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
  test(`a server whose storage was set back forgets what was lost, after ${commits} commits of others`, async () => {
    await withScene(async (scene) => {
      const { server, known, epoch, lose } = await loseChanges(scene, commits);
      await lose();
      const told = toldOf(await server.handleSync({ known, epoch }));
      deepEqual(told, { b: "old", c: "old", d: "" });
      deepEqual(toldOf(await server.handleSync({ known: { a: 0, b: 0, c: 0, d: 0 } })), {
        a: "old",
        b: "old",
        c: "old",
      });
    });
  });

  test(`who waits is told what was lost, after ${commits} commits of others`, async () => {
    await withScene(async (scene) => {
      const { server, known, epoch, lose } = await loseChanges(scene, commits);
      const waiting = server.handleSync({ known: { b: known.b! }, epoch, wait: 25_000 });
      await settle();
      await lose();
      await scene.clock.advance(500);
      deepEqual(toldOf(await waiting), { b: "old" });
    });
  });

  test(`who waits on what stood before is told of another's loss, after ${commits} commits of others`, async () => {
    await withScene(async (scene) => {
      const { server, known, epoch, lose } = await loseChanges(scene, commits);
      const waiting = server.handleSync({ known: { d: known.d! }, epoch, wait: 25_000 });
      await settle();
      await lose();
      // Somebody else rests on the new history before the watch has looked.
      const later = server.handleSync({ known: { nothing: 0 }, epoch, wait: 1_000 });
      await settle();
      await scene.clock.advance(500);
      deepEqual(toldOf(await waiting), { d: "" });
      await scene.clock.advance(1_000);
      deepEqual(toldOf(await later), {});
    });
  });

  test(`a stream that comes back after a loss begins anew, after ${commits} commits of others`, async () => {
    await withScene(async (scene) => {
      const { server, lose } = await loseChanges(scene, commits);
      const { id } = await visit(server, ["b", "d"]);
      await lose();
      for (const one of [server, scene.openServer()]) {
        const { text } = await visit(one, ["b", "d"], id);
        ok(text.includes("event: resync"), text);
        ok(text.includes('"hash":"old"'), text);
      }
    });
  });
}

test("a stream that comes back after a few commits of others resumes", async () => {
  await withScene(async (scene) => {
    const { server } = await loseChanges(scene, 0);
    const { id } = await visit(server, ["b", "d"]);
    for (let i = 0; i < 5; i++) await scene.openServer().updateNode("b", `new:${i}`);
    const { text } = await visit(server, ["b", "d"], id);
    ok(!text.includes("event: resync"), text);
    ok(text.includes('"hash":"new:4"') && !text.includes('"key":"d"'), text);
  });
});

test("servers answer as their storage stands, whatever is written, saved and set back", async () => {
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

test("isConfirmed() knows the counters that a history had, and no other", () => {
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

/** Opens a stream, as an `EventSource` does that was told this id, and leaves after the first read. */
async function visit(
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
  return { text, id: /^id: (.*)$/m.exec(text)?.[1] ?? "" };
}
