/**
 * Timing reveals nothing about a forbidden key: a request for it takes the same steps as one for an absent key.
 * Steps are counted instead of seconds: every call of the storage, and the turn of the microtask queue that it falls in.
 *
 * @module
 */
import "../loaded_mesh.ts";
import { deepEqual, equal, ok } from "node:assert/strict";
import { MemoryStorage, RealityServer, type RealityServerOptions, type RealityStorage } from "../../mod.ts";
import { FakeClock } from "../clock.ts";
import { test } from "../harness.ts";
import { NaiveStorage } from "../storage/naive_storage.ts";
import { HeldStorage, HistoryStorage } from "../storages.ts";

/** A node that the client may not read; a key that it may not read and that has none; one that it may, without a node. */
const KEYS = ["theirs/a", "theirs/b", "mine/b"] as const;

const STORAGES: readonly (new () => RealityStorage)[] = [MemoryStorage, HistoryStorage, NaiveStorage];

/** The number of turns after which unfinished work waits for a timer. */
const MANY_TURNS = 400;

/** The steps of a request: each call with its turn, and the turn of the answer. */
type Trace = readonly string[];

class Tracer {
  readonly clock = new FakeClock();
  readonly storage: RealityStorage;
  readonly server: RealityServer;
  #steps: string[] = [];
  #turn = 0;

  constructor(storage: RealityStorage, options: Partial<RealityServerOptions> = {}) {
    this.storage = storage;
    this.server = new RealityServer({
      storage: this.#watch(storage),
      clock: this.clock,
      authorize: (_request, keys) => keys.filter((key) => key.startsWith("mine/")),
      ...options,
    });
  }

  /** Traces what is done until it settles; where it waits, its time is made to pass. */
  async trace(run: () => Promise<unknown>): Promise<Trace> {
    this.#steps = [];
    let isOver = false;
    const running = run().finally(() => {
      isOver = true;
      this.#note("answered");
    });
    for (this.#turn = 0; this.#turn < MANY_TURNS && !isOver; this.#turn++) await null;
    if (!isOver) await this.clock.advance(30_000);
    await running;
    return this.#steps;
  }

  #note(step: string): void {
    this.#steps.push(`${this.#turn} ${step}`);
  }

  /** The storage, which records every call. */
  #watch(storage: RealityStorage): RealityStorage {
    return new Proxy(storage, {
      get: (target, name) => {
        const value: unknown = Reflect.get(target, name);
        if (typeof value !== "function") return value;
        return (...args: unknown[]) => {
          const [first] = args;
          this.#note(`${String(name)} ${Array.isArray(first) ? first.length : ""}`);
          return value.apply(target, args);
        };
      },
    });
  }
}

const request = new Request("http://localhost/reality/sync");

for (const Storage of STORAGES) {
  test(`a forbidden key takes the steps of an absent one, in ${Storage.name}`, async () => {
    const [forbidden, ...others] = await forEachKey((key) => traceSyncs(new Storage(), key));
    for (const other of others) deepEqual(other, forbidden);
    // They called the storage, otherwise there would be nothing to compare.
    ok(forbidden?.flat().some((step) => /readNodes|getNodes/.test(step)), JSON.stringify(forbidden));
  });

  test(`a stream of a forbidden key takes the steps of an absent one, in ${Storage.name}`, async () => {
    const [forbidden, ...others] = await forEachKey((key) => traceStream(new Storage(), key));
    for (const other of others) deepEqual(other, forbidden);
  });
}

test("a client ahead of a forbidden key has the peers asked as for an absent one", async () => {
  const readings = await forEachKey(async (key) => {
    const storage = new HeldStorage();
    const { server, clock } = new Tracer(storage, {
      meshPeers: ["http://peer"],
      mesh: { fetch: () => Promise.reject(new Error("away")) },
    });
    await server.updateNode("theirs/a", "1");
    let isOver = false;
    const answer = server.handleSync({ known: { [key]: Number.MAX_SAFE_INTEGER } }, { request });
    answer.finally(() => isOver = true);
    while (!isOver) await clock.advance(1_000);
    equal((await answer).changed[key]?.deleted, true);
    await server.close();
    return storage.reads.filter((keys) => keys.length > 0).map((keys) => keys.length);
  });
  // Once, and again after the catch-up round.
  for (const reading of readings) deepEqual(reading, [1, 1]);
});

/** Does the same for each key, one after the other: turns are counted. */
async function forEachKey<T>(run: (key: string) => Promise<T>): Promise<T[]> {
  const results: T[] = [];
  for (const key of KEYS) results.push(await run(key));
  return results;
}

/** Asks about a key in every way, first and again, beside a key that is there. */
async function traceSyncs(storage: RealityStorage, key: string): Promise<Trace[]> {
  const tracer = new Tracer(storage);
  const { server } = tracer;
  await server.updateMany([{ key: "mine/a", hash: "1" }, { key: "theirs/a", hash: "1" }]);
  const traces: Trace[] = [];
  for (const again of [false, true]) {
    for (const known of [{ [key]: 0 }, { [key]: 1 }, { [key]: 7 }, { [key]: 0, "mine/a": 1 }]) {
      for (const more of [{}, { wait: 1_000 }, { epoch: "another life" }]) {
        traces.push(await tracer.trace(() => server.handleSync({ known, ...more }, { request })));
      }
    }
    if (!again) await server.updateNode("mine/a", "2");
  }
  await server.close();
  return traces;
}

/** Opens a stream of a key beside one that is there, then has the latter changed. */
async function traceStream(storage: RealityStorage, key: string): Promise<Trace[]> {
  const tracer = new Tracer(storage);
  const { server } = tracer;
  await server.updateMany([{ key: "mine/a", hash: "1" }, { key: "theirs/a", hash: "1" }]);
  const { body } = await server.handleSSECompat(request, { keys: [key, "mine/a"] });
  const reader = body!.getReader();
  const opening = await tracer.trace(() => reader.read());
  await server.updateNode("mine/a", "2");
  const change = await tracer.trace(() => reader.read());
  const heartbeat = await tracer.trace(() => reader.read());
  await reader.cancel();
  await server.close();
  return [opening, change, heartbeat];
}
