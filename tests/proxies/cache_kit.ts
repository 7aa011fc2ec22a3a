/**
 * What a cache before two servers on one PostgreSQL must do for clients of public keys, and what clients must do when it is wrong.
 *
 * @module
 */
import assert from "node:assert/strict";
import { setTimeout as sleep } from "node:timers/promises";
import { createClient, type RealityClient } from "../../client/mod.ts";
import { soon, until } from "../http/client.ts";
import { findPort } from "../run/server.ts";
import { type Running, start, testOn } from "../storage/runtimes.ts";
import { addressOf, newTableName } from "../storage/table_kit.ts";
import type { CacheServerOrder, CacheServerUsage } from "./cache_server.ts";
import type { Edit } from "./page.ts";

/** A cache that runs. */
export interface Cache {
  /** Its address without a path. */
  readonly origin: string;
  /** Ends it and starts it again. */
  restart(): Promise<void>;
}

/** A kind of cache. */
export interface CacheKind {
  readonly name: string;
  /** What differs from the page because clients of the test wait for two seconds, and not for twenty. */
  readonly shortWaits: readonly Edit[];
  /** Keeps each answer for an hour. */
  readonly keepsForAnHour: readonly Edit[];
  /** Gives the same answer to each query. */
  readonly dropsQuery: readonly Edit[];
  /** Runs with a cache before these addresses. */
  with(
    origins: readonly string[],
    edits: readonly Edit[],
    run: (cache: Cache) => Promise<void>,
  ): Promise<void>;
}

const CLIENTS = 200;
const WAIT = 2_000;

/**
 * How many requests may reach the servers for a step that all clients take part in. Without a cache it is one for each client. A
 * wait that ends, or an answer that expires, can fall into the step, and each of them is a request more.
 */
const FEW = CLIENTS / 10;

/** How long a client may be stale behind a cache that does what it is told, in milliseconds, on a busy machine. */
const SOON = 5_000;

/**
 * How long a client may be stale behind any other cache: 5 s, 1.25 s and two round trips (PROTOCOL 18), which can take seconds on
 * a busy machine.
 */
const BOUND = 5_000 + 1_250 + 3_750;

/** Registers the tests of a kind of cache. */
export function testCache(kind: CacheKind): void {
  const { name, shortWaits, keepsForAnHour, dropsQuery } = kind;
  testOn(
    ["node"],
    `${name}: ${CLIENTS} clients are told of each change by few requests`,
    () =>
      withServers(async (servers) => {
        await kind.with(servers.origins, shortWaits, (cache) => followChanges(name, servers, cache));
      }),
  );
  testOn(
    ["node"],
    `${name}: behind a cache that is wrong, no client is stale beyond the bound`,
    () =>
      withServers(async (servers) => {
        const faults = { "keeps answers for an hour": keepsForAnHour, "drops the query": dropsQuery };
        for (const [fault, edits] of Object.entries(faults)) {
          await kind.with(
            servers.origins,
            [...shortWaits, ...edits],
            (cache) => followBehindFault(`${name} that ${fault}`, servers, cache),
          );
        }
      }),
  );
}

/** Many clients of one key, while it changes, is deleted, gets a new epoch, and the cache and a server end. */
async function followChanges(name: string, servers: Servers, cache: Cache): Promise<void> {
  const crowd = new Crowd(cache.origin, CLIENTS, "key0");
  const step = async (what: string, run: () => Promise<unknown>) => {
    const requests = await servers.report(`${name}: ${what}`, run);
    return { isFew: () => assert.ok(requests <= FEW, `${what} took ${requests} requests`) };
  };
  try {
    await step("the first answers", async () => await crowd.isTold(await servers.change(0)));
    for (const i of [1, 0, 1]) {
      (await step("a change", async () => await crowd.isTold(await servers.change(i)))).isFew();
    }
    (await step("a wait without a change", () => sleep(1.5 * WAIT))).isFew();
    (await step("a deletion", async () => {
      await servers.ask(0, "delete?key=key0");
      await crowd.isTold("");
    })).isFew();
    await step("the node again", async () => await crowd.isTold(await servers.change(1)));
    await step("a new epoch", async () => {
      await servers.ask(0, "epoch");
      await crowd.isTold(await servers.change(0));
    });
    await step("a restart of the cache", async () => {
      const restarted = cache.restart();
      const hash = await servers.change(0);
      await restarted;
      await crowd.isTold(hash, 3 * SOON);
    });
    await servers.hasWaiter();
    await step("a server that is killed while clients wait", async () => {
      const survivor = await servers.killOne();
      await crowd.isTold(await servers.change(survivor), 3 * SOON);
    });
  } finally {
    crowd.close();
  }
}

/** Some clients of one key behind a cache that is wrong. */
async function followBehindFault(name: string, servers: Servers, { origin }: Cache): Promise<void> {
  const crowd = new Crowd(origin, 10, "key0");
  try {
    await crowd.isTold(await servers.change(0), BOUND);
    // After this time the cache has an empty answer for clients that know the newest version.
    await sleep(1.2 * WAIT);
    for (const i of [1, 0]) {
      await servers.report(`${name}: a change`, async () => {
        await crowd.isTold(await servers.change(i), BOUND);
      });
    }
    await servers.report(`${name}: a deletion`, async () => {
      await servers.ask(0, "delete?key=key0");
      await crowd.isTold("", BOUND);
    });
  } finally {
    crowd.close();
  }
}

/** Clients of one key. */
class Crowd {
  readonly #clients: readonly RealityClient[];
  /** Client → the hash that it was told last; empty after a deletion. */
  readonly #hashes: (string | undefined)[] = [];
  #onTold: () => void = () => {};

  constructor(origin: string, count: number, key: string) {
    this.#clients = Array.from({ length: count }, (_, i) => {
      // Failures are part of the test: what counts is what is told afterwards.
      const client = createClient({ url: `${origin}/reality`, public: true, wait: WAIT, onError: () => {} });
      client.follow([key], (changed) => {
        this.#hashes[i] = changed.get(key)!.hash ?? "";
        this.#onTold();
      });
      return client;
    });
  }

  /** Settles when all of them have been told of this hash. */
  async isTold(hash: string, patience: number = SOON): Promise<void> {
    const told = new Promise<void>((resolve) => {
      this.#onTold = () => {
        if (this.#clients.every((_, i) => this.#hashes[i] === hash)) resolve();
      };
      this.#onTold();
    });
    await soon(told, `all to be told of "${hash}"`, patience);
  }

  close(): void {
    for (const client of this.#clients) client.close();
  }
}

/** Two servers on one PostgreSQL. */
class Servers {
  readonly origins: readonly string[];
  readonly #running: readonly Running[];
  readonly #alive = new Set([0, 1]);
  #hash = 0;

  private constructor(origins: readonly string[], running: readonly Running[]) {
    this.origins = origins;
    this.#running = running;
  }

  static async start(): Promise<Servers> {
    const order = {
      database: addressOf("REALITY_TEST_POSTGRES"),
      tableName: newTableName(),
      maxWait: WAIT,
    };
    const ports = [await findPort(), await findPort()];
    const running = ports.map((port) =>
      start("node", "../proxies/cache_server.ts", [
        JSON.stringify({ ...order, port } satisfies CacheServerOrder),
      ])
    );
    const servers = new Servers(ports.map((port) => `http://127.0.0.1:${port}`), running);
    try {
      await Promise.all(running.map((one) => one.hasPrinted(1)));
    } catch (error) {
      await servers.end();
      throw error;
    }
    return servers;
  }

  /** Calls a control route of a server. */
  async ask<T>(i: number, path: string): Promise<T> {
    return await (await fetch(`${this.origins[i]}/control/${path}`)).json();
  }

  /** Changes the key through a server. Returns its new hash. */
  async change(i: number): Promise<string> {
    const hash = `${++this.#hash}`;
    await this.ask(i, `change?prefix=key&hash=${hash}`);
    return hash;
  }

  /** Prints how long a step took and how many requests reached the servers that live. Returns how many. */
  async report(step: string, run: () => Promise<unknown>): Promise<number> {
    const [before, beginning] = [await this.#usages(), performance.now()];
    await run();
    const [took, after] = [performance.now() - beginning, await this.#usages()];
    let [gets, posts] = [0, 0];
    for (const [i, usage] of after) {
      gets += usage.gets - before.get(i)!.gets;
      posts += usage.posts - before.get(i)!.posts;
    }
    console.log(`${step}: ${gets} requests by GET, ${posts} by POST, ${Math.round(took)} ms`);
    return gets + posts;
  }

  /** Waits until a request waits at a server. */
  async hasWaiter(): Promise<void> {
    await until(
      async () => [...(await this.#usages()).values()].some(({ waiting }) => waiting > 0),
      "a request waits",
    );
  }

  /** Kills the server at which most requests wait. Returns the other one. */
  async killOne(): Promise<number> {
    const usages = await this.#usages();
    const victim = usages.get(0)!.waiting > usages.get(1)!.waiting ? 0 : 1;
    this.#alive.delete(victim);
    this.#running[victim]!.kill();
    await this.#running[victim]!.ended;
    return 1 - victim;
  }

  async #usages(): Promise<Map<number, CacheServerUsage>> {
    const found = new Map<number, CacheServerUsage>();
    for (const i of this.#alive) found.set(i, await this.ask<CacheServerUsage>(i, "usage"));
    return found;
  }

  async end(): Promise<void> {
    for (const running of this.#running) running.kill();
    await Promise.allSettled(this.#running.map(({ ended }) => ended));
  }
}

async function withServers(run: (servers: Servers) => Promise<void>): Promise<void> {
  const servers = await Servers.start();
  try {
    await run(servers);
  } finally {
    await servers.end();
  }
}
