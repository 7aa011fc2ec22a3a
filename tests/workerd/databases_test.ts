/**
 * Servers on databases inside workerd, where a promise and a timer belong to the request that made them: requests of
 * all kinds that overlap, hang up and wait.
 *
 * @module
 */
import assert from "node:assert/strict";
import { after, test } from "node:test";
import type { SyncResponse } from "../../mod.ts";
import { EventReader } from "../http/client.ts";
import type { OpenAdapter } from "../http/adapter.ts";
import { TOKENS } from "../http/scenes.ts";
import { startHTTPDatabase } from "../runtimes/http_database.ts";
import { startWorkerd, type WorkerdScene } from "../runtimes/workerd.ts";

const httpDatabase = await startHTTPDatabase(20);
const workerd = await startWorkerd(httpDatabase.url);
after(async () => {
  await workerd.close();
  await httpDatabase.close();
});

/** The longest time of a request that does not wait, on a busy machine, in milliseconds. */
const PATIENCE = 15_000;

const names: Record<NonNullable<WorkerdScene["database"]>, string> = {
  d1: "D1",
  object: "the SQLite of a Durable Object",
  http: "a slow database behind HTTP",
  memory: "memory",
};

for (const [database, name] of Object.entries(names) as [keyof typeof names, string][]) {
  const open = () => workerd.open("plain", { database, requestScopedIO: true });

  test(`200 requests of all kinds overlap in workerd, on ${name}`, async () => {
    const adapter = await open();
    const client = new Client(adapter);
    const keys = Array.from({ length: 8 }, (_, i) => `waited:${i}`);
    const waits = keys.map((key) => client.sync({ [key]: 0 }, 20_000));
    const streams = await Promise.all(keys.map((key) => client.follow(key)));
    const requests: Promise<unknown>[] = [];
    for (let i = 0; i < 200; i++) {
      requests.push(client.doSomething(i));
      await new Promise((resolve) => setTimeout(resolve, 4));
    }
    await Promise.all(requests);
    await Promise.all(keys.map((key) => client.update(key)));
    for (const [i, key] of keys.entries()) {
      assert.equal((await waits[i])?.changed[key]?.hash, `of ${key}`);
      assert.match((await streams[i]!.nextEvent("update")).data ?? "", new RegExp(`"hash":"of ${key}"`));
      await streams[i]!.cancel();
    }
    // The remains of those requests delay no other request.
    for (let i = 0; i < 20; i++) await client.doSomething(i);
    const told = await client.sync(Object.fromEntries([...client.written.keys()].map((key) => [key, 0])));
    for (const [key, exists] of client.written) {
      assert.equal(Object.hasOwn(told.changed, key), exists, key);
    }
    await adapter.close();
  });

  test(`syncs of new keys 20 ms apart are all answered in workerd, on ${name}`, async () => {
    const adapter = await open();
    const client = new Client(adapter);
    const syncs: Promise<SyncResponse>[] = [];
    for (let i = 0; i < 10; i++) {
      syncs.push(client.sync({ [`new:${i}`]: 0 }));
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
    await Promise.all(syncs);
    await client.sync({ "new:later": 0 });
    await adapter.close();
  });

  test(`a waiting client in workerd is answered after the first waiting client is, on ${name}`, async () => {
    const adapter = await open();
    const client = new Client(adapter);
    const first = client.sync({ first: 0 }, 300);
    const second = client.sync({ second: 0 }, 20_000);
    assert.deepEqual((await first).changed, {});
    await client.update("second");
    assert.equal((await second).changed["second"]?.hash, "of second");
    await adapter.close();
  });
}

test("no request in workerd settled a promise of a finished request", () => {
  assert.deepEqual(workerd.crossings, []);
});

test("without requestScopedIO, overlapping writes in workerd end in a failure", async () => {
  const adapter = await workerd.open("plain", { database: "http", requestScopedIO: false });
  const client = new Client(adapter, 3_000);
  const outcomes = await Promise.allSettled(["a", "b", "c", "d"].map((key) => client.update(key)));
  assert.ok(outcomes.some(({ status }) => status === "rejected"));
});

/** What a client of the test does. */
class Client {
  /** Key → whether it was written last, or deleted. */
  readonly written: Map<string, boolean> = new Map();
  readonly #adapter: OpenAdapter;
  readonly #patience: number;

  constructor(adapter: OpenAdapter, patience: number = PATIENCE) {
    this.#adapter = adapter;
    this.#patience = patience;
  }

  async sync(known: Record<string, number>, wait = 0): Promise<SyncResponse> {
    return await (await this.#ask("POST", "/sync", { known, wait }, wait)).json();
  }

  async update(key: string): Promise<void> {
    await this.#ask("POST", "/update", { updates: [{ key, hash: `of ${key}` }] });
    this.written.set(key, true);
  }

  /** Opens a stream. */
  async follow(key: string): Promise<EventReader> {
    return new EventReader(await fetch(this.#adapter.url(`/events?keys=${key}`)));
  }

  /** One request, of a kind that the number stands for. */
  async doSomething(i: number): Promise<unknown> {
    const key = `key:${i % 40}`;
    switch (i % 10) {
      case 0:
      case 1:
        return await this.update(key);
      case 2:
        return await this.sync({ [key]: 0, [`new:${i}`]: 0 });
      case 3:
        return await this.sync({ "key:0": 0, "key:1": 0 });
      case 4:
        return await this.sync({ [`quiet:${i}`]: 0 }, 200);
      case 5:
        await this.#ask("POST", "/invalidate", { keys: [key] });
        return this.written.set(key, true);
      case 6:
        await this.update(`gone:${i}`);
        await this.#ask("DELETE", `/nodes/gone:${i}`);
        return this.written.set(`gone:${i}`, false);
      case 7: {
        const events = await this.follow(key);
        await events.next();
        return await events.cancel();
      }
      case 8:
        // Goes while it waits.
        return await fetch(this.#adapter.url("/sync"), {
          ...this.#request("POST", { known: { [`left:${i}`]: 0 }, wait: 5_000 }),
          signal: AbortSignal.timeout(50),
        }).catch(() => {});
      case 9:
        await this.#ask("GET", "/ready");
        return await this.#ask("GET", "/metrics");
    }
  }

  async #ask(method: string, path: string, body?: unknown, wait = 0): Promise<Response> {
    const response = await fetch(this.#adapter.url(path), {
      ...this.#request(method, body),
      signal: AbortSignal.timeout(wait + this.#patience),
    });
    if (response.ok) return response;
    throw new Error(`${method} ${path}: ${response.status} ${await response.text()}`);
  }

  #request(method: string, body?: unknown): RequestInit {
    const headers = { "content-type": "application/json", authorization: `Bearer ${TOKENS[0]}` };
    return { method, headers, ...(body === undefined ? {} : { body: JSON.stringify(body) }) };
  }
}
