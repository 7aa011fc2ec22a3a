import { deepEqual, equal, match, rejects } from "node:assert/strict";
import { RealityServer } from "../../../src/server.ts";
import { markKeys } from "../../../src/sse/frame.ts";
import type { SSEOptions } from "../../../src/types.ts";
import { FakeClock, settle } from "../../clock.ts";
import { test } from "../../harness.ts";
import { NaiveStorage } from "../../storage/naive_storage.ts";
import { HeldStorage } from "../../storages.ts";

interface Event {
  event?: string;
  data?: { key?: string; version?: number; hash?: string; deleted?: true; epoch?: string };
  id?: string;
  retry?: number;
  comment?: string;
}

/** Reads a stream like an `EventSource`, one read at a time. */
class Client {
  readonly #reader: ReadableStreamDefaultReader<Uint8Array>;
  #read: Promise<Event[] | null> | undefined;
  readonly response: Response;
  lastEventId: string | undefined;

  constructor(response: Response) {
    this.response = response;
    this.#reader = response.body!.getReader();
  }

  static async open(server: RealityServer, options: SSEOptions, lastEventId?: string): Promise<Client> {
    const headers = lastEventId === undefined ? {} : { "last-event-id": lastEventId };
    return new Client(
      await server.handleSSECompat(new Request("http://localhost/events", { headers }), options),
    );
  }

  /** The next events; `null` at the end, "nothing" if there are none yet. */
  async next(): Promise<Event[] | null | "nothing"> {
    this.#read ??= this.#reader.read().then(({ value }) => value ? this.#parse(value) : null);
    const read = this.#read;
    const result = await Promise.race([read, settle().then(() => "nothing" as const)]);
    if (result !== "nothing") this.#read = undefined;
    return result;
  }

  cancel(): Promise<void> {
    return this.#reader.cancel();
  }

  #parse(bytes: Uint8Array): Event[] {
    return new TextDecoder().decode(bytes).split("\n\n").filter((block) => block !== "").map((block) => {
      const event: Event = {};
      for (const line of block.split("\n")) {
        const [, name = "", value = ""] = /^([a-z]*): (.*)$/.exec(line) ?? [];
        if (name === "") event.comment = value;
        else if (name === "data") event.data = JSON.parse(value);
        else if (name === "retry") event.retry = Number(value);
        else event[name as "event" | "id"] = value;
      }
      if (event.id !== undefined) this.lastEventId = event.id;
      return event;
    });
  }
}

/** Key → version of the updates among these events. */
function updates(events: Event[] | null | "nothing"): Record<string, number> {
  if (events === null || events === "nothing") return {};
  const metas = events.filter((event) => event.event === "update").map((event) => event.data);
  return Object.fromEntries(metas.map((data) => [data?.key, data?.version]));
}

function setUp(limits = {}) {
  const clock = new FakeClock();
  const storage = new HeldStorage();
  const server = new RealityServer({ storage, clock, limits });
  return { clock, storage, server };
}

test("handleSSECompat() returns a stream that no cache stores and no proxy buffers", async () => {
  const { server } = setUp();
  const client = await Client.open(server, { keys: ["a"] });
  equal(client.response.status, 200);
  deepEqual(Object.fromEntries(client.response.headers), {
    "cache-control": "no-store, no-transform",
    "content-type": "text/event-stream",
    "x-accel-buffering": "no",
  });
  await client.cancel();
});

test("a stream starts with the current meta of every key and a cursor, then sends each change", async () => {
  const { clock, server } = setUp();
  await server.updateNode("a", "1");
  const client = await Client.open(server, { keys: ["a", "b"] });
  deepEqual(updates(await client.next()), { a: 1 });
  match(client.lastEventId ?? "", /:1:\w+$/);
  equal(await client.next(), "nothing");
  await server.updateNode("other", "1");
  equal(await client.next(), "nothing");
  await server.updateNode("b", "2");
  const events = await client.next();
  deepEqual(events, [{
    event: "update",
    data: { key: "b", version: 3, hash: "2", updatedAt: clock.now() },
    id: client.lastEventId,
  }]);
  await server.deleteNode("a");
  deepEqual((await client.next() as Event[])[0]?.data, {
    key: "a",
    version: 0,
    hash: "",
    updatedAt: 0,
    deleted: true,
  });
  await client.cancel();
});

test("a stream without nodes starts with a cursor", async () => {
  const { server } = setUp();
  const client = await Client.open(server, { keys: ["a"] });
  deepEqual(updates(await client.next()), {});
  match(client.lastEventId ?? "", /:0:\w+$/);
  await client.cancel();
});

test("only the last event of a reading moves the cursor", async () => {
  const { server } = setUp();
  await server.updateMany([{ key: "a", hash: "1" }, { key: "b", hash: "1" }]);
  const client = await Client.open(server, { keys: ["a", "b"] });
  const events = await client.next() as Event[];
  deepEqual(events.filter((event) => event.event).map((event) => event.id !== undefined), [false, true]);
  await client.cancel();
});

test("a stream misses no change that is made while it reads", async () => {
  const { storage, server } = setUp();
  const client = await Client.open(server, { keys: ["a"] });
  const release = storage.hold();
  equal(await client.next(), "nothing");
  equal(storage.reads.length, 1);
  const update = server.updateNode("a", "1");
  await settle();
  release();
  await update;
  deepEqual(updates(await client.next()), {});
  deepEqual(updates(await client.next()), { a: 1 });
  await client.cancel();
});

test("a slow client receives the newest state of each key, without a backlog", async () => {
  const { storage, server } = setUp();
  const client = await Client.open(server, { keys: ["a", "b"] });
  await client.next();
  const before = storage.reads.length;
  for (let i = 0; i < 100; i++) await server.updateNode(i % 2 ? "a" : "b", `${i}`);
  equal(storage.reads.length, before);
  deepEqual(updates(await client.next()), { b: 99, a: 100 });
  equal(await client.next(), "nothing");
  await client.cancel();
});

test("a stream with Last-Event-ID starts with the changes since then, deletions included", async () => {
  const { server } = setUp();
  await server.updateMany(["a", "b", "c"].map((key) => ({ key, hash: "1" })));
  const first = await Client.open(server, { keys: ["a", "b", "c"] });
  await first.next();
  await first.cancel();
  await server.updateNode("b", "2");
  await server.deleteNode("c");
  const second = await Client.open(server, { keys: ["a", "b", "c"] }, first.lastEventId);
  const events = await second.next();
  deepEqual(updates(events), { b: 4, c: 0 });
  equal((events as Event[]).some((event) => event.event === "resync"), false);
  await second.cancel();
  const third = await Client.open(server, { keys: ["a", "b", "c"] }, second.lastEventId);
  deepEqual(updates(await third.next()), {});
  await third.cancel();
});

test("a Last-Event-ID that is not valid here is answered with resync and the current meta of every key", async () => {
  const { storage, server } = setUp();
  await server.updateNode("a", "1");
  const { epoch, replicaId } = await storage.getIdentity();
  const [here, mark] = [`${epoch}:${replicaId}`, markKeys(["a", "gone"])];
  const others = [`${epoch}:another:0:1`, `another:${replicaId}:0:1`, `${here}:1:1`, `${here}:0:99`];
  const ids = [...others.map((id) => `${id}:${mark}`), `${here}:0:1:another`, `${here}:0:1:${mark}:2`];
  for (const id of [...ids, `${here}:0:1`, `${epoch}:1`, "7", "garbage"]) {
    const client = await Client.open(server, { keys: ["a", "gone"] }, id);
    const events = await client.next() as Event[];
    deepEqual(events.find((event) => event.event === "resync")?.data, { epoch }, id);
    deepEqual(updates(events), { a: 1, gone: 0 }, id);
    await client.cancel();
  }
});

test("a stream on a storage without an ordered history resumes by sending everything", async () => {
  const server = new RealityServer({ storage: new NaiveStorage(), clock: new FakeClock() });
  await server.updateNode("a", "1");
  const first = await Client.open(server, { keys: ["a"] });
  deepEqual(updates(await first.next()), { a: 1 });
  await first.cancel();
  const second = await Client.open(server, { keys: ["a"] }, first.lastEventId);
  const events = await second.next() as Event[];
  equal(events.some((event) => event.event === "resync"), true);
  deepEqual(updates(events), { a: 1 });
  await second.cancel();
  await server.close();
});

test("heartbeats are comments without an id, sent after the heartbeat interval without an event", async () => {
  const { clock, server } = setUp();
  const client = await Client.open(server, { keys: ["a"], heartbeatInterval: 1000 });
  await client.next();
  equal(await client.next(), "nothing");
  await clock.advance(600);
  await server.updateNode("a", "1");
  deepEqual(updates(await client.next()), { a: 1 });
  equal(await client.next(), "nothing");
  await clock.advance(999);
  equal(await client.next(), "nothing");
  await clock.advance(1);
  deepEqual(await client.next(), [{ comment: "heartbeat" }]);
  await client.cancel();
});

test("a wake without news sends nothing and does not postpone the heartbeat", async () => {
  const { clock, server } = setUp();
  const client = await Client.open(server, { keys: ["a"], heartbeatInterval: 1000 });
  await client.next();
  equal(await client.next(), "nothing");
  await clock.advance(600);
  server.recheck(["a"]);
  equal(await client.next(), "nothing");
  await clock.advance(400);
  deepEqual(await client.next(), [{ comment: "heartbeat" }]);
  await client.cancel();
});

test("a stream ends after its lifetime with a retry delay", async () => {
  const { clock, server } = setUp();
  clock.randomValue = 0.5;
  const client = await Client.open(server, { keys: ["a"], lifetime: 1500, heartbeatInterval: 1000 });
  await client.next();
  equal(await client.next(), "nothing");
  await clock.advance(1500);
  deepEqual(await client.next(), [{ comment: "heartbeat" }]);
  deepEqual(await client.next(), [{ retry: 1750 }]);
  equal(await client.next(), null);
  const { streams, waiters } = await server.getStats();
  deepEqual({ streams, waiters, timers: clock.timers }, { streams: 0, waiters: 0, timers: 0 });
});

test("a client that disconnects on either side frees slot and timer at once", async () => {
  const { clock, server } = setUp();
  const cancelled = await Client.open(server, { keys: ["a"] });
  await cancelled.next();
  equal(await cancelled.next(), "nothing");
  const hungUp = new AbortController();
  const request = new Request("http://localhost/events", { signal: hungUp.signal });
  const aborted = new Client(await server.handleSSECompat(request, { keys: ["a"] }));
  await aborted.next();
  equal(await aborted.next(), "nothing");
  equal((await server.getStats()).streams, 2);
  await cancelled.cancel();
  hungUp.abort();
  equal(await aborted.next(), null);
  const { streams, waiters } = await server.getStats();
  deepEqual({ streams, waiters, timers: clock.timers }, { streams: 0, waiters: 0, timers: 0 });
});

test("a stream that is not read holds no slot", async () => {
  const { server } = setUp();
  await server.handleSSECompat(new Request("http://localhost/events"), { keys: ["a"] });
  await settle();
  equal((await server.getStats()).waiters, 0);
});

test("streams end with a retry delay when the server closes, has no free slot, or its storage fails", async () => {
  const { storage, server } = setUp({ maxWaiters: 1 });
  await server.updateNode("a", "1");
  const first = await Client.open(server, { keys: ["a"] });
  await first.next();
  equal(await first.next(), "nothing");
  const second = await Client.open(server, { keys: ["a"] });
  deepEqual(updates(await second.next()), { a: 1 });
  deepEqual(Object.keys((await second.next() as Event[])[0] ?? {}), ["retry"]);
  equal(await second.next(), null);
  await server.close();
  deepEqual(Object.keys((await first.next() as Event[])[0] ?? {}), ["retry"]);
  equal(await first.next(), null);
  storage.failure = new Error("away");
  const third = await Client.open(server, { keys: ["a"] });
  deepEqual(Object.keys((await third.next() as Event[])[0] ?? {}), ["retry"]);
  equal(await third.next(), null);
});

test("handleSSECompat() names the wrong option in its error", async () => {
  const { server } = setUp({ maxKeys: 2 });
  const open = (options: unknown) =>
    server.handleSSECompat(new Request("http://localhost/"), options as SSEOptions);
  await rejects(open({}), { name: "TypeError", message: /"keys" is wrong/ });
  await rejects(open({ keys: ["a"], heartbeat: 1 }), {
    name: "TypeError",
    message: /Unknown option "heartbeat"/,
  });
  await rejects(open({ keys: ["a"], heartbeatInterval: 0 }), { name: "RangeError" });
  await rejects(open({ keys: ["\n"] }), { code: "ERR_REALITY_BAD_REQUEST" });
  await rejects(open({ keys: ["a", "b", "c"] }), (error: Error) => {
    match(error.message, /maxKeys \(2\)/);
    return true;
  });
});

test("handleSSECompat() accepts requests of node:http and Express", async () => {
  const { server } = setUp();
  await server.updateNode("a", "1");
  const first = await Client.open(server, { keys: ["a"] });
  await first.next();
  await first.cancel();
  const listeners = new Set<() => void>();
  const request = {
    headers: { "last-event-id": first.lastEventId },
    socket: {
      once: (_: "close", listener: () => void) => listeners.add(listener),
      off: (_: "close", listener: () => void) => listeners.delete(listener),
    },
  };
  const client = new Client(await server.handleSSECompat(request, { keys: ["a"] }));
  deepEqual(updates(await client.next()), {});
  equal(await client.next(), "nothing");
  for (const listener of listeners) listener();
  equal(await client.next(), null);
  equal((await server.getStats()).streams, 0);
  const second = new Client(await server.handleSSECompat(request, { keys: ["a"] }));
  await second.cancel();
  equal(listeners.size <= 1, true);
});
