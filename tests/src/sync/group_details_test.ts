import { deepEqual, equal, ok, rejects } from "node:assert/strict";
import { DatabaseSync } from "node:sqlite";
import { MemoryStorage, RealityServer, type RealityServerOptions, type SyncResponse } from "../../../mod.ts";
import type { RealityStorage } from "../../../src/store/contract.ts";
import { MAX_DETAILED } from "../../../src/sync/group_details.ts";
import { SQLStorage } from "../../../storage/sql/sql_storage.ts";
import { FakeClock } from "../../clock.ts";
import { test } from "../../harness.ts";
import { SeededRandom } from "../../random.ts";
import { NaiveStorage } from "../../storage/naive_storage.ts";

const SEED = Math.floor(Math.random() * 2 ** 32);
const TOMBSTONE_TIMEOUT = 1_000;

/** "a:x:1" is in "a:x:*" and "a:*". */
function prefixes(key: string): string[] {
  const parts = key.split(":").slice(0, -1);
  return parts.map((_, i) => [...parts.slice(0, parts.length - i), "*"].join(":"));
}

const GROUPS = { of: prefixes, detail: true };

/** A database that a backup can be taken of. */
class Database {
  now: number = Date.UTC(2026, 0, 1);
  readonly #database = new DatabaseSync(":memory:");

  open(): SQLStorage {
    return new SQLStorage({
      query: (sql, params) => Promise.resolve(this.#database.prepare(sql).all(...params)),
      dialect: "sqlite",
      tombstoneTimeout: TOMBSTONE_TIMEOUT,
      now: () => this.now++,
    });
  }

  save(): void {
    this.#database.exec("DROP TABLE IF EXISTS saved; CREATE TABLE saved AS SELECT * FROM reality_nodes");
  }

  setBack(): void {
    this.#database.exec("DELETE FROM reality_nodes; INSERT INTO reality_nodes SELECT * FROM saved");
  }

  close(): void {
    this.#database.close();
  }
}

function serve(storage: RealityStorage, more: Partial<RealityServerOptions> = {}): RealityServer {
  return new RealityServer({ storage, clock: new FakeClock(), groups: GROUPS, ...more });
}

/** A client of one group. */
class Follower {
  version = 0;
  epoch: string | undefined;
  isChanged = false;

  readonly server: RealityServer;
  readonly group: string;

  constructor(server: RealityServer, group: string = "a:*") {
    this.server = server;
    this.group = group;
  }

  /** Asks, and returns what the answer says about the group. */
  async sync(options: { request?: Request; wait?: number } = {}): Promise<SyncResponse["detail"]> {
    const { request, wait } = options;
    const answer = await this.server.handleSync({
      known: { [this.group]: this.version },
      detail: true,
      ...(this.epoch === undefined ? {} : { epoch: this.epoch }),
      ...(wait === undefined ? {} : { wait }),
    }, request && { request });
    this.version = answer.changed[this.group]?.version ?? this.version;
    this.epoch = answer.epoch;
    this.isChanged = this.group in answer.changed;
    return answer.detail;
  }

  /** The members that the answer names; "all", or undefined without a change. */
  async names(options?: Parameters<Follower["sync"]>[0]): Promise<string[] | "all" | undefined> {
    const detail = (await this.sync(options))?.[this.group] ?? (this.isChanged ? "all" : undefined);
    return typeof detail === "object" ? Object.keys(detail) : detail;
  }
}

/** A server, and a client that has the current version of the group. */
async function follow(
  storage: RealityStorage = new MemoryStorage(),
  more: Partial<RealityServerOptions> = {},
): Promise<{ server: RealityServer; client: Follower }> {
  const server = serve(storage, more);
  const client = new Follower(server);
  // The first question begins what the server can prove.
  await client.sync();
  await server.updateMany([{ key: "a:0", hash: "1" }, { key: "b:0", hash: "1" }]);
  equal(await client.names(), "all");
  return { server, client };
}

test("with detail, an answer names the members that changed since the version of the group, deletions included", async () => {
  for (const storage of [new MemoryStorage(), new Database().open()]) {
    const { server, client } = await follow(storage);
    equal(await client.sync(), undefined);
    await server.updateMany([{ key: "a:1", hash: "1" }, { key: "b:1", hash: "1" }, {
      key: "a:2",
      hash: "1",
    }]);
    await server.deleteNode("a:1");
    const { "a:*": members } = (await client.sync())!;
    const two = await server.getNode("a:2");
    deepEqual({ ...members as object }, {
      "a:1": { key: "a:1", version: 0, hash: "", updatedAt: 0, deleted: true },
      "a:2": { ...two },
    });
    await server.updateNode("b:1", "2");
    equal(await client.sync(), undefined);
    await server.close();
  }
});

test("a request that waits gets the members too, over HTTP as well, and one that does not ask gets none", async () => {
  const { server, client } = await follow();
  const waiting = client.names({ wait: 20_000 });
  await server.updateNode("a:1", "1");
  deepEqual(await waiting, ["a:1"]);
  const known = { "a:*": client.version };
  await server.updateNode("a:2", "1");
  const ask = async (body: object) => {
    const init = {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify(body),
    };
    return await server.getFetchHandler()(new Request("http://localhost/reality/sync", init));
  };
  const { detail } = await (await ask({ known, epoch: client.epoch, detail: true })).json();
  deepEqual(Object.keys(detail["a:*"]), ["a:2"]);
  equal("detail" in await (await ask({ known, epoch: client.epoch })).json(), false);
  const wrong = await ask({ known, detail: "yes" });
  equal(wrong.status, 400);
  equal((await wrong.json()).error.message, 'Cannot read "detail": expected true or false, got a string');
  await server.close();
});

test("members are named like __proto__ without harm", async () => {
  const server = serve(new MemoryStorage(), { groups: { of: () => ["a:*"], detail: true } });
  const client = new Follower(server);
  await client.sync();
  await server.updateNode("x", "1");
  await client.sync();
  await server.updateNode("__proto__", "1");
  deepEqual(await client.names(), ["__proto__"]);
  await server.close();
});

test("members that the client may not read are left out, and a failing authorize makes it all", async () => {
  let fails = false;
  const { server, client } = await follow(new MemoryStorage(), {
    authorize: (_request, keys) => {
      if (fails && !keys.includes("a:*")) throw new Error("no rights");
      return keys.filter((key) => key !== "a:secret");
    },
  });
  const request = new Request("http://localhost/");
  await server.updateMany([{ key: "a:secret", hash: "1" }, { key: "a:1", hash: "1" }]);
  deepEqual(await client.names({ request }), ["a:1"]);
  await server.updateNode("a:secret", "2");
  deepEqual(await client.names({ request }), []);
  fails = true;
  await server.updateNode("a:1", "2");
  equal(await client.names({ request }), "all");
  await server.close();
});

test("an identity that expires in between makes it all", async () => {
  const clock = new FakeClock();
  const { server, client } = await follow(new MemoryStorage(), {
    clock,
    authorize: (_request, keys) => ({
      keys: true,
      expiresAt: clock.now() + (keys.includes("a:*") ? 1_000 : 0),
    }),
  });
  await server.updateNode("a:1", "1");
  equal(await client.names({ request: new Request("http://localhost/") }), "all");
  await server.close();
});

test("it is all without a version, without an epoch, in another epoch, and for a version from before the server was asked", async () => {
  const { server, client } = await follow();
  const change = () => server.updateNode("a:1", "1");
  for (
    const lose of [() => client.version = 0, () => client.epoch = undefined, () => client.epoch = "other"]
  ) {
    await change();
    lose();
    equal(await client.names(), "all");
  }
  await change();
  deepEqual(await client.names(), ["a:1"]);
  await server.close();

  const storage = new MemoryStorage();
  const first = await follow(storage);
  const second = new Follower(serve(storage));
  Object.assign(second, { version: first.client.version, epoch: first.client.epoch });
  await first.server.updateNode("a:1", "1");
  equal(await second.names(), "all");
  await first.server.updateNode("a:2", "1");
  deepEqual(await second.names(), ["a:2"]);
  await Promise.all([first.server.close(), second.server.close()]);
});

test(`beyond ${MAX_DETAILED} changes of the storage it is all`, async () => {
  const { server, client } = await follow();
  const change = (count: number) =>
    server.updateMany(Array.from({ length: count }, (_, i) => ({ key: `a:${i}`, hash: "1" })));
  // The group itself is one of them, and "b:*" came after it.
  await change(MAX_DETAILED - 2);
  equal((await client.names())?.length, MAX_DETAILED - 2);
  await change(MAX_DETAILED);
  equal(await client.names(), "all");
  await server.close();
});

test("a group that was changed or deleted by itself makes it all, also if a member changed later", async () => {
  const { server, client } = await follow();
  const changes: [string, () => Promise<unknown>][] = [
    ["updateNode", () => server.updateNode("a:*", "own")],
    ["invalidate", () => server.invalidate("a:*")],
    ["deleteNode", () => server.deleteNode("a:*")],
    ["updateMany", () => server.updateMany([{ key: "a:*", hash: "own" }, { key: "a:1", hash: "1" }])],
  ];
  for (const [name, change] of changes) {
    await change();
    await server.updateNode("a:1", "1");
    equal(await client.names(), "all", name);
    await server.updateNode("a:1", "2");
    deepEqual(await client.names(), ["a:1"], name);
  }
  await server.close();
});

test("a group whose key leaves no room for a marker, and one that ends in **, are always all", async () => {
  const long = `${"x".repeat(511)}*`;
  const server = serve(new MemoryStorage(), { groups: { of: () => [long, "a:**"], detail: true } });
  for (const group of [long, "a:**"]) {
    const client = new Follower(server, group);
    for (let i = 0; i < 3; i++) {
      await server.updateNode("a:1", `${i}`);
      equal(await client.names(), "all");
    }
  }
  await server.close();
});

test("a tombstone that was collected since makes it all", async () => {
  let now = 0;
  const { server, client } = await follow(
    new MemoryStorage({ now: () => now, tombstoneTimeout: TOMBSTONE_TIMEOUT }),
  );
  await server.deleteNode("a:0");
  now += 2 * TOMBSTONE_TIMEOUT;
  await server.updateNode("a:1", "1");
  equal(await client.names(), "all");
  await server.updateNode("a:1", "2");
  deepEqual(await client.names(), ["a:1"]);
  await server.close();
});

test("a version from a history that was lost makes it all", async () => {
  const database = new Database();
  const { server, client } = await follow(database.open());
  database.save();
  await server.updateNode("a:1", "1");
  deepEqual(await client.names(), ["a:1"]);
  // The backup has no a:1, and its number is not given again.
  database.setBack();
  await server.updateNode("a:2", "1");
  equal(await client.names(), "all");
  await server.close();
  database.close();
});

test("groups of one request get the members since their own versions, and old versions are forgotten", async () => {
  const { server } = await follow();
  const [all, some] = [new Follower(server), new Follower(server, "a:x:*")];
  await server.updateNode("a:x:0", "1");
  await all.sync();
  await server.updateNode("a:x:1", "1");
  await some.sync();
  await server.updateNode("a:x:2", "1");
  const known = { "a:*": all.version, "a:x:*": some.version };
  const epoch = all.epoch!;
  const ask = async () => (await server.handleSync({ known, epoch, detail: true })).detail!;
  const detail = await ask();
  deepEqual(Object.entries(detail).map(([group, members]) => [group, Object.keys(members)]), [
    ["a:*", ["a:x:1", "a:x:2"]],
    ["a:x:*", ["a:x:2"]],
  ]);
  for (let i = 0; i < 16; i++) {
    await server.updateNode("a:x:2", `${i}`);
    await all.sync();
  }
  equal((await ask())["a:*"], "all");
  await server.close();
});

test("a history that is older than the answer makes it all", async () => {
  const storage = new MemoryStorage();
  const { server, client } = await follow(storage);
  await server.updateNode("a:1", "1");
  const old = await storage.listChangedSince(0);
  const list = storage.listChangedSince;
  storage.listChangedSince = (version) => Promise.resolve(old.filter((node) => node.version > version));
  await server.updateNode("a:2", "1");
  equal(await client.names(), "all");
  storage.listChangedSince = list;
  await server.updateNode("a:2", "2");
  deepEqual(await client.names(), ["a:2"]);
  await server.close();
});

test("another server that puts other keys into the group makes it all", async () => {
  const storage = new MemoryStorage();
  const { server, client } = await follow(storage);
  const other = serve(storage, { groups: { of: () => ["a:*"], detail: true } });
  await other.updateNode("c", "1");
  equal(await client.names(), "all");
  await Promise.all([server.close(), other.close()]);
});

test("with peers or Redis, in a storage that merged another one or got late nodes, and without an ordered history it is all", async () => {
  const merged = new MemoryStorage();
  await merged.adoptVector(new Map([["other", 1]]), (await merged.getIdentity()).epoch);
  const late = new MemoryStorage({ counter: "sequential" });
  const number = await late.incrementVersion("x");
  await late.applyChanges([{ key: "y", hash: "1", updatedAt: 1 }]);
  await late.setNode("x", { key: "x", version: number, hash: "1", updatedAt: 1 });
  const scenes: [string, RealityStorage, Partial<RealityServerOptions>][] = [
    ["peers", new MemoryStorage(), { meshSecret: "a-secret-of-16-characters" }],
    ["merged", merged, {}],
    ["late", late, {}],
    ["unordered", new NaiveStorage(), {}],
  ];
  for (const [name, storage, more] of scenes) {
    const { server, client } = await follow(storage, more);
    for (let i = 0; i < 3; i++) {
      await server.updateNode("a:1", `${i}`);
      equal(await client.names(), "all", name);
    }
    await server.close();
  }
});

test("a storage that fails to read its history makes it all, and the answer is sent", async () => {
  const storage = new MemoryStorage();
  const { server, client } = await follow(storage);
  storage.listChangedSince = () => Promise.reject(new Error("disk full"));
  await server.updateNode("a:1", "1");
  equal(await client.names(), "all");
  await server.close();
});

test("a server without the option says nothing about members, and a wrong option is refused", async () => {
  const server = serve(new MemoryStorage(), { groups: { of: prefixes } });
  await server.updateNode("a:1", "1");
  equal(await new Follower(server).sync(), undefined);
  equal(await server.getNode("a:**"), null);
  await server.close();
  const wrong = { of: prefixes, detail: 1 } as unknown as typeof GROUPS;
  await rejects(async () => await Promise.resolve(serve(new MemoryStorage(), { groups: wrong })), {
    message: 'Option "groups.detail" is wrong: expected true or false, got the number 1',
  });
});

/** Data of an application, and clients that fetch only what the answers name. */
class Model {
  readonly random: SeededRandom;
  readonly data = new Map<string, number>();
  readonly clients: ModelClient[];
  readonly servers: RealityServer[];
  readonly #database: Database | undefined;
  #saved: Map<string, number> | undefined;
  #now = Date.UTC(2026, 0, 1);
  #writes = 0;
  lists = 0;

  constructor(seed: string) {
    const random = this.random = new SeededRandom(seed);
    this.#database = random.happens(0.5) ? new Database() : undefined;
    const storage = new MemoryStorage({
      now: () => this.#now++,
      tombstoneTimeout: TOMBSTONE_TIMEOUT,
      counter: random.pick(["clock", "sequential"]),
    });
    const authorize: RealityServerOptions["authorize"] = (_request, keys) => keys.filter(mayGuestRead);
    this.servers = [1, 2].map(() => serve(this.#database?.open() ?? storage, { authorize }));
    this.clients = [1, 2, 3].map((i) => new ModelClient(this, i === 1));
  }

  /** Changes some data, then tells a server. */
  async write(): Promise<void> {
    const { random } = this;
    const server = random.pick(this.servers);
    const drawn = Array.from({ length: random.between(1, 4) }, () => random.pick(MEMBERS));
    const keys = [...new Set(drawn)];
    switch (random.between(0, 9)) {
      case 0:
        this.data.delete(keys[0]!);
        return await server.deleteNode(keys[0]!);
      case 1: {
        // The application changes all members of a group, and says only that.
        const group = random.pick(["a:*", "a:x:*", "b:*"]);
        // A node that is created and deleted again between two questions looks like one that never existed (PROTOCOL 4.2).
        if (random.happens(0.2)) await server.deleteNode(group);
        for (const key of MEMBERS) if (prefixes(key).includes(group)) this.data.set(key, ++this.#writes);
        await server.invalidate(group);
        return;
      }
      case 2:
        this.wait(random.between(1, 2 * TOMBSTONE_TIMEOUT));
        return;
      case 3:
        this.#save();
        return;
      case 4:
        return this.#setBack();
      default: {
        for (const key of keys) this.data.set(key, ++this.#writes);
        await server.updateMany(keys.map((key) => ({ key, hash: `${this.#writes}` })));
      }
    }
  }

  wait(ms: number): void {
    this.#now += ms;
    if (this.#database) this.#database.now += ms;
  }

  #save(): void {
    if (this.#database === undefined || this.#writes === 0) return;
    this.#database.save();
    this.#saved = new Map(this.data);
  }

  #setBack(): void {
    if (this.#saved === undefined || this.random.happens(0.7)) return;
    this.#database!.setBack();
    this.data.clear();
    for (const [key, value] of this.#saved) this.data.set(key, value);
    this.wait(10);
  }

  async close(): Promise<void> {
    await Promise.all(this.servers.map((server) => server.close()));
    this.#database?.close();
  }
}

const MEMBERS = ["a:1", "a:2", "a:x:1", "a:x:2", "b:1", "b:x:2", "c"];

function mayGuestRead(key: string): boolean {
  return !key.endsWith("2");
}

class ModelClient {
  readonly #model: Model;
  readonly #isGuest: boolean;
  readonly #copy = new Map<string, number | undefined>();
  readonly #known: Record<string, number> = { "a:*": 0, "a:x:*": 0, "b:*": 0 };
  #epoch: string | undefined;

  constructor(model: Model, isGuest: boolean) {
    this.#model = model;
    this.#isGuest = isGuest;
  }

  /** Asks, and fetches what the answer names. Changes of the application may come in between. */
  async sync(between: () => Promise<unknown>): Promise<void> {
    const server = this.#model.random.pick(this.#model.servers);
    const asked = server.handleSync(
      {
        known: { ...this.#known },
        detail: true,
        ...(this.#epoch === undefined ? {} : { epoch: this.#epoch }),
      },
      this.#isGuest ? { request: new Request("http://localhost/") } : {},
    );
    await between();
    const { changed, detail, epoch } = await asked;
    // A client fetches data that it does not have yet, whatever the answer says.
    const missing = Object.keys(this.#known).filter((group) => this.#known[group] === 0);
    for (const group of new Set([...missing, ...Object.keys(changed)])) {
      const named = detail?.[group] ?? "all";
      if (named !== "all") this.#model.lists++;
      for (const key of named === "all" ? MEMBERS : Object.keys(named)) {
        if (prefixes(key).includes(group) && this.#mayRead(key)) {
          this.#copy.set(key, this.#model.data.get(key));
        }
      }
      this.#known[group] = changed[group]?.version ?? 0;
    }
    this.#epoch = epoch;
  }

  /** The members whose copy is old. */
  get old(): string[] {
    const followed = MEMBERS.filter((key) => key !== "c" && this.#mayRead(key));
    return followed.filter((key) => this.#copy.get(key) !== this.#model.data.get(key));
  }

  #mayRead(key: string): boolean {
    return !this.#isGuest || mayGuestRead(key);
  }
}

test(`a client that fetches only the members that answers name never misses a change (seed ${SEED})`, async () => {
  let lists = 0;
  for (let history = 0; history < 100; history++) {
    const model = new Model(`${SEED}/${history}`);
    const { random } = model;
    for (let step = 0; step < 40; step++) {
      const steps = random.between(0, 3);
      for (let i = 0; i < steps; i++) await model.write();
      const client = random.pick(model.clients);
      if (random.happens(0.3)) await client.sync(() => model.write());
      await client.sync(() => Promise.resolve());
      deepEqual(client.old, [], `history ${history}, step ${step}`);
    }
    lists += model.lists;
    await model.close();
  }
  ok(lists > 300, `only ${lists} answers named members`);
});
