import { deepEqual, equal, match, ok } from "node:assert/strict";
import { MemoryStorage } from "../../../mod.ts";
import { FakeClock, settle } from "../../clock.ts";
import { test } from "../../harness.ts";
import { Servers } from "./servers.ts";

const SECRET = "nobody else knows this one";

type Listener = (message: string, channel: string) => void;

/** The parts of a Redis that its clients use, in memory. */
class FakeRedis {
  readonly published: string[] = [];
  readonly listeners: Set<Listener> = new Set();
  isReady = true;

  publish(message: string): void {
    this.published.push(message);
    for (const listener of [...this.listeners]) listener(message, "reality:updates");
  }
}

/** One connection to it. */
class FakeClient {
  readonly #redis: FakeRedis;

  constructor(redis: FakeRedis) {
    this.#redis = redis;
  }

  get isReady(): boolean {
    return this.#redis.isReady;
  }

  on(): void {}
  off(): void {}
  pSubscribe(): void {}

  publish(_channel: string, message: string): Promise<void> {
    this.#redis.publish(message);
    return Promise.resolve();
  }

  subscribe(_channel: string, listener: Listener): Promise<void> {
    this.#redis.listeners.add(listener);
    return Promise.resolve();
  }

  unsubscribe(_channel: string, listener: Listener): Promise<void> {
    this.#redis.listeners.delete(listener);
    return Promise.resolve();
  }
}

/** Servers on one Redis, whose peers cannot be reached while `cut`. */
function createServers(redis: FakeRedis, options: ConstructorParameters<typeof Servers>[1] = {}): Servers {
  const ids = ["a", "b"];
  const servers = new Servers([], options);
  for (const id of ids) {
    const meshPeers = options.meshPeers ??
      ids.filter((other) => other !== id).map((other) => `http://${other}:3000`);
    servers.start(id, {
      meshPeers,
      redis: { publisher: new FakeClient(redis), subscriber: new FakeClient(redis) },
    });
  }
  return servers;
}

async function withServers(servers: Servers, run: () => Promise<void>): Promise<void> {
  try {
    await run();
  } finally {
    await servers.close();
  }
}

test("updateNode() wakes waiters on the same storage through Redis, without peers", async () => {
  const servers = createServers(new FakeRedis(), { storage: new MemoryStorage(), meshPeers: [] });
  await withServers(servers, async () => {
    const waiting = servers.get("b").handleSync({ known: { k: 0 }, wait: 20_000 });
    await settle();
    await servers.get("a").updateNode("k", "h1");
    equal((await waiting).changed.k?.hash, "h1");
    equal(servers.calls.length, 0);
  });
});

test("a signed message on Redis brings the nodes themselves", async () => {
  const servers = createServers(new FakeRedis(), { meshSecret: SECRET });
  await withServers(servers, async () => {
    await servers.meet();
    for (const hash of ["h1", "h2"]) {
      await servers.get("a").updateNode("k", hash);
      await servers.reach("k", (node) => node?.hash === hash);
      await servers.rest();
    }
    servers.cut = () => true;
    await servers.get("a").updateNode("k", "h3");
    await servers.reach("k", (node) => node?.hash === "h3");
  });
});

test("an unsigned message on Redis only makes the server ask its sender", async () => {
  const redis = new FakeRedis();
  const servers = createServers(redis);
  await withServers(servers, async () => {
    await servers.meet();
    await servers.get("a").updateNode("k", "h1");
    await servers.reach("k", (node) => node !== null);
    await servers.rest();
    const before = servers.calls.length;
    const message = JSON.parse(redis.published.at(-1)!);
    const { origin, ...node } = { ...(await servers.get("a").getNode("k"))!, origin: message.origin };
    const forged = { ...node, version: node.version + 1_000, hash: "forged", origin };
    redis.publish(JSON.stringify({
      ...message,
      run: "another",
      seen: { [origin]: forged.version },
      delta: { base: {}, full: false, after: null, next: null, nodes: [forged] },
    }));
    await servers.rest();
    equal((await servers.get("b").getNode("k"))?.hash, "h1");
    // b asked a, and a did not ask itself.
    ok(servers.calls.slice(before).some(({ from, to }) => from === "b" && to === "a"));
    await servers.get("a").updateNode("k", "h2");
    await servers.reach("k", (node) => node?.hash === "h2");
  });
});

test("with a secret, an unsigned message on Redis is refused and changes nothing", async () => {
  const [redis, clock] = [new FakeRedis(), new FakeClock()];
  const servers = createServers(redis, { clock, meshSecret: SECRET });
  await withServers(servers, async () => {
    await servers.meet();
    await servers.get("a").updateNode("k", "h1");
    await servers.reach("k", (node) => node !== null);
    // The peers are told a moment after Redis.
    await clock.advance(10);
    await servers.rest();
    const before = servers.calls.length;
    const { message } = JSON.parse(redis.published.at(-1)!);
    for (const text of [message, JSON.stringify({ form: 1, message, proofs: ["x"] }), "{", "7"]) {
      redis.publish(text);
    }
    await servers.rest();
    equal(servers.calls.length, before);
    deepEqual(servers.errors.map(([, { code }]) => code), ["ERR_REALITY_RELAY", "ERR_REALITY_RELAY"]);
  });
});

test("servers with separate storages and Redis alone are told that they need peers, once", async () => {
  const servers = createServers(new FakeRedis(), { meshPeers: [], meshSecret: SECRET });
  await withServers(servers, async () => {
    for (let i = 0; i < 3; i++) {
      for (const id of ["a", "b"]) await servers.get(id).updateNode("k", `${i} of ${id}`);
    }
    while (servers.errors.length < 2) await settle();
    await servers.rest();
    deepEqual(servers.errors.map(([id]) => id).sort(), ["a", "b"]);
    match(servers.errors[0]![1].message, /has another storage: such servers need meshPeers beside Redis/);
  });
});

test("the mesh works while Redis is never ready", async () => {
  const redis = new FakeRedis();
  redis.isReady = false;
  const servers = createServers(redis, { meshSecret: SECRET });
  await withServers(servers, async () => {
    await servers.meet();
    await servers.get("a").updateNode("k", "h1");
    await servers.reach("k", (node) => node !== null);
    equal(redis.published.length, 0);
  });
});
