/**
 * The demo's client against a real server, without a socket: it misses no change, and holds no version too early.
 *
 * @module
 */
import assert from "node:assert/strict";
import { follow, followEvents } from "../../examples/demo/client.js";
import { MemoryStorage, RealityServer } from "../../mod.ts";
import { test } from "../harness.ts";

type Meta = { key: string; version: number };
type Refetch = (
  keys: string[],
  told: { changed: Record<string, Meta>; signal: AbortSignal },
) => Promise<unknown>;
type Status = { state: "live" | "away" | "asleep" };

const quick = { url: "/reality/sync", firstRetry: 1, lastRetry: 2 };

test("follow() fetches an absent key, and again when it is created", async () => {
  await using server = new RealityServer({ storage: new MemoryStorage() });
  const fetches = new Fetches();
  const follower = follow({ ...quick, ...through(server), keys: () => ["a"], refetch: fetches.take });
  (await fetches.next()).done();
  const second = fetches.next();
  await server.updateNode("a", "1");
  assert.deepEqual((await second).keys, ["a"]);
  (await second).done();
  await follower.stop();
});

test("follow() holds a version only after the fetch that it asked for", async () => {
  await using server = new RealityServer({ storage: new MemoryStorage({ counter: "sequential" }) });
  await server.updateNode("a", "1");
  const fetches = new Fetches();
  const transport = through(server);
  const follower = follow({ ...quick, ...transport, keys: () => ["a"], refetch: fetches.take });
  (await fetches.next()).fail();
  (await fetches.next()).done();
  await transport.asked(3);
  assert.deepEqual(transport.questions.map(({ known }) => known.a), [0, 0, 1]);
  await follower.stop();
});

test("follow() pauses as long as a server without a free slot requires, unless it is nudged", async () => {
  await using server = new RealityServer({ storage: new MemoryStorage(), limits: { maxWaiters: 0 } });
  const fetches = new Fetches();
  const transport = through(server);
  const follower = follow({ ...quick, ...transport, keys: () => ["a"], refetch: fetches.take });
  (await fetches.next()).done();
  await transport.asked(2);
  // The least pause is 500 ms.
  await new Promise((resolve) => setTimeout(resolve, 200));
  assert.deepEqual(transport.questions.map(({ wait }) => wait), [0, 25_000]);
  follower.nudge();
  await transport.asked(3);
  await follower.stop();
});

test("follow() fetches again what changed while a fetch ran", async () => {
  await using server = new RealityServer({ storage: new MemoryStorage({ counter: "sequential" }) });
  await server.updateNode("a", "1");
  const fetches = new Fetches();
  const follower = follow({ ...quick, ...through(server), keys: () => ["a"], refetch: fetches.take });
  const first = await fetches.next();
  await server.updateNode("a", "2");
  first.done();
  const second = await fetches.next();
  assert.deepEqual([first.version("a"), second.version("a")], [1, 2]);
  second.done();
  await follower.stop();
});

test("follow() uses versions that the application sends, and fetches again what is older", async () => {
  await using server = new RealityServer({ storage: new MemoryStorage({ counter: "sequential" }) });
  const { epoch } = await server.handleSync({ known: {} });
  await server.updateNode("a", "1");
  await server.updateNode("a", "2");
  const fetches = new Fetches();
  const transport = through(server);
  const states: string[] = [];
  const follower = follow({
    ...quick,
    ...transport,
    keys: () => ["a"],
    refetch: fetches.take,
    onState: ({ state }: Status) => states.push(state),
  });
  (await fetches.next()).done({ epoch, versions: { a: 1 } });
  (await fetches.next()).done({ epoch, versions: { a: 2 } });
  await transport.asked(3);
  // It pauses before it fetches again: a replica that lags must not be asked without end.
  assert.deepEqual(states, ["away", "live"]);
  assert.deepEqual(transport.questions.map(({ known }) => known.a), [0, 1, 2]);
  await follower.stop();
});

test("follow() fetches everything again after an epoch change with the same versions", async () => {
  await using old = new RealityServer({ storage: new MemoryStorage({ counter: "sequential" }) });
  await using young = new RealityServer({ storage: new MemoryStorage({ counter: "sequential" }) });
  for (const server of [old, young]) await server.updateNode("a", "1");
  const fetches = new Fetches();
  const transport = through(old);
  const follower = follow({ ...quick, ...transport, keys: () => ["a"], refetch: fetches.take });
  (await fetches.next()).done();
  await transport.asked(2);
  transport.lead(young);
  await old.close();
  (await fetches.next()).done();
  await transport.asked(transport.questions.length + 1);
  assert.equal(transport.questions.at(-1)?.epoch, (await young.getStats()).epoch);
  assert.equal(transport.questions.at(-1)?.known.a, 1);
  await follower.stop();
});

test("follow() reconnects to a server that was unreachable, and reports its state", async () => {
  await using server = new RealityServer({ storage: new MemoryStorage() });
  const transport = through(server);
  let failures = 3;
  const states: string[] = [];
  let live = () => {};
  const isLive = new Promise<void>((resolve) => live = resolve);
  const follower = follow({
    ...quick,
    keys: () => ["a"],
    refetch: () => Promise.resolve(),
    fetch: (url: string, init: RequestInit) =>
      failures-- > 0 ? Promise.reject(new TypeError("No line")) : transport.fetch(url, init),
    onState: ({ state }: Status) => {
      states.push(state);
      if (state === "live") live();
    },
  });
  await isLive;
  assert.deepEqual(states, ["away", "away", "away", "live"]);
  await follower.stop();
});

test("follow() sends no request while the page is hidden, and one at once when it is shown", async () => {
  await using server = new RealityServer({ storage: new MemoryStorage() });
  const transport = through(server);
  const page = Object.assign(new EventTarget(), { hidden: false });
  const states: string[] = [];
  let told = () => {};
  const follower = follow({
    ...quick,
    ...transport,
    page,
    keys: () => ["a"],
    refetch: () => Promise.resolve(),
    onState: ({ state }: Status) => {
      states.push(state);
      told();
    },
  });
  await transport.asked(2);
  page.hidden = true;
  const asleep = new Promise<void>((resolve) => told = resolve);
  page.dispatchEvent(new Event("visibilitychange"));
  await asleep;
  assert.deepEqual(states, ["live", "asleep"]);
  assert.equal((await server.getStats()).waiters, 0);
  page.hidden = false;
  page.dispatchEvent(new Event("visibilitychange"));
  await transport.asked(3);
  assert.equal(transport.questions[2]?.wait, 0);
  await follower.stop();
});

test("followEvents() fetches again what changes during a fetch, and skips versions that it has", async () => {
  const fetches = new Fetches();
  const streams = new Streams();
  const options = { ...quick, keys: () => ["a"], refetch: fetches.take, EventSource: streams.kind };
  const follower = followEvents(options);
  const stream = await streams.next();
  stream.open();
  const first = await fetches.next();
  stream.update({ key: "a", version: 4 });
  first.done({ epoch: "e", versions: { a: 3 } });
  const second = await fetches.next();
  assert.equal(second.version("a"), 4);
  stream.update({ key: "a", version: 4 });
  second.done({ epoch: "e", versions: { a: 4 } });
  const third = fetches.next();
  stream.update({ key: "a", version: 5 });
  assert.equal((await third).version("a"), 5);
  // Lower than the reported version: everything is fetched again.
  (await third).done({ epoch: "e", versions: { a: 4 } });
  (await streams.next()).open();
  (await fetches.next()).done({ epoch: "e", versions: { a: 5 } });
  await follower.stop();
  assert.equal(stream.isClosed, true);
});

test("followEvents() checks every key after each connect, and reconnects for new keys", async () => {
  const fetches = new Fetches();
  const streams = new Streams();
  let keys = ["a"];
  const options = { ...quick, keys: () => keys, refetch: fetches.take, EventSource: streams.kind };
  const follower = followEvents(options);
  const first = await streams.next();
  first.open();
  keys = ["a", "b"];
  (await fetches.next()).done();
  const second = await streams.next();
  assert.equal(first.isClosed, true);
  assert.match(second.url, /keys=a&keys=b$/);
  second.open();
  const both = await fetches.next();
  assert.deepEqual(both.keys, ["a", "b"]);
  both.done();
  second.fail();
  const third = await streams.next();
  third.open();
  const last = await fetches.next();
  assert.deepEqual(last.keys, ["a", "b"]);
  last.done();
  await follower.stop();
  assert.equal(third.isClosed, true);
});

/** A queue: the first caller gets the first value. */
class Line<T> {
  readonly #come: T[] = [];
  readonly #asked: ((value: T) => void)[] = [];

  push(value: T): void {
    const ask = this.#asked.shift();
    if (ask) ask(value);
    else this.#come.push(value);
  }

  next(): Promise<T> {
    const value = this.#come.shift();
    return value === undefined ? new Promise((resolve) => this.#asked.push(resolve)) : Promise.resolve(value);
  }
}

/** The application's fetches, each ended by the test. */
class Fetches extends Line<{
  keys: string[];
  version(key: string): number | undefined;
  done(stamp?: { epoch: string; versions: Record<string, number> }): void;
  fail(): void;
}> {
  readonly take: Refetch = (keys, { changed, signal }) =>
    new Promise((resolve, reject) => {
      signal.addEventListener("abort", () => reject(signal.reason));
      const fail = () => reject(new Error("The application is away"));
      this.push({ keys, version: (key) => changed[key]?.version, done: resolve, fail });
    });
}

/** Event streams that the test speaks through. */
class Streams extends Line<Stream> {
  // deno-lint-ignore no-explicit-any -- stands for a class of which the client uses a part
  readonly kind: any = ((streams) =>
    class extends Stream {
      constructor(url: string) {
        super(url);
        streams.push(this);
      }
    })(this);
}

class Stream extends EventTarget {
  readonly url: string;
  isClosed = false;

  constructor(url: string) {
    super();
    this.url = url;
  }

  open(): void {
    this.dispatchEvent(new Event("open"));
  }

  update(meta: Meta): void {
    this.dispatchEvent(new MessageEvent("update", { data: JSON.stringify(meta) }));
  }

  fail(): void {
    this.dispatchEvent(new Event("error"));
  }

  close(): void {
    this.isClosed = true;
  }
}

/** Leads a client to a server without a socket, and notes what it asks. */
function through(server: RealityServer) {
  let handler = server.getFetchHandler();
  const questions: { known: Record<string, number>; epoch?: string; wait?: number }[] = [];
  let arrived = () => {};
  return {
    questions,
    lead(other: RealityServer): void {
      handler = other.getFetchHandler();
    },
    async asked(times: number): Promise<void> {
      while (questions.length < times) await new Promise<void>((resolve) => arrived = resolve);
    },
    fetch: async (url: string | URL | Request, init?: RequestInit): Promise<Response> => {
      questions.push(JSON.parse(String(init?.body)));
      arrived();
      return await handler(new Request(new URL(String(url), "http://test"), init));
    },
  };
}
