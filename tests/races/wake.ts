/**
 * Servers on one storage without Redis and without mesh: a change in one process answers a
 * waiting client at another, and waiting costs the database little.
 *
 * @module
 */
import assert from "node:assert/strict";
import { type Clock, systemClock } from "../../src/clock.ts";
import { RealityServer } from "../../src/server.ts";
import { type Runtime, start, testOn } from "../storage/runtimes.ts";
import { newTableName } from "../storage/table_kit.ts";
import { test } from "../harness.ts";
import { type Engine, open, type OpenOptions, type Place } from "./engines.ts";
import type { Told, WaiterOrder } from "./waiter.ts";

/** A storage that servers share. */
export interface Waited {
  readonly name: string;
  readonly engine: Engine;
  /** Runs with a database that the test may make tables in. */
  use(test: (address: string) => Promise<void>): Promise<void>;
  /** What the other process runs on. */
  readonly runtime: Runtime;
}

/** No wake may take longer than this, in milliseconds; most take far less, as the bench says. */
const LONGEST = 3000;

/** Registers the tests. */
export function testWakes({ name, engine, use, runtime }: Waited): void {
  const usePlace = (fn: (place: Place) => Promise<void>) =>
    use((address) => fn({ engine, address, tableName: newTableName() }));

  testOn([runtime], `${name}: a change in one process answers a waiting client at another`, async () => {
    await usePlace(async (place) => {
      const order: WaiterOrder = { place, key: "a" };
      const { storage, close } = await open(place);
      const server = new RealityServer({ storage });
      await server.updateNode("a", "before");
      const waiter = start(runtime, "../races/waiter.ts", [JSON.stringify(order)]);
      try {
        await waiter.hasPrinted(1);
        for (const [turn, hash] of ["one", "two", "three", "end"].entries()) {
          const before = performance.timeOrigin + performance.now();
          await server.updateNode("a", hash);
          await waiter.hasPrinted(turn + 2);
          const told = JSON.parse(waiter.lines[turn + 1] ?? "") as Told;
          assert.equal(told.hash, hash);
          assert.ok(told.answered - before < LONGEST, `it took ${told.answered - before} ms`);
        }
        await waiter.ended;
      } finally {
        waiter.kill();
        await server.close();
        await close();
      }
    });
  });

  test(`${name}: a server sends no statement without a waiting request`, async () => {
    let asked = 0;
    const clock = new FastClock();
    await usePlace(async (place) => {
      await withServer(place, { onAsk: () => asked++ }, async (server) => {
        const leaving = new AbortController();
        const waits = [1, 2, 3].map((i) =>
          server.handleSync({ known: { [`key:${i}`]: 0 }, wait: 25_000 }, { signal: leaving.signal })
        );
        await until(async () => (await server.getStats()).waiters === 3);
        const before = asked;
        await until(() => Promise.resolve(asked > before));
        leaving.abort();
        await Promise.allSettled(waits);
        await clock.hasStopped();
        const then = asked;
        // Long enough for every timer that is still set somewhere.
        await new Promise((resolve) => setTimeout(resolve, 400));
        assert.equal(asked, then);
      }, clock);
    });
  });

  test(`${name}: a hundred waiting requests hold no connection`, async () => {
    await usePlace(async (place) => {
      await withServer(place, { connections: 1 }, async (server) => {
        await withServer(place, { connections: 1 }, async (other) => {
          const leaving = new AbortController();
          const waits = Array.from(
            { length: 100 },
            (_, i) =>
              server.handleSync({ known: { [`key:${i}`]: 0 }, wait: 25_000 }, { signal: leaving.signal }),
          );
          const rest = Promise.allSettled(waits.slice(2));
          await until(async () => (await server.getStats()).waiters === 100);
          await server.updateNode("key:0", "here");
          await other.updateNode("key:1", "there");
          const [here, there] = await Promise.all(waits.slice(0, 2));
          assert.equal(here?.changed["key:0"]?.hash, "here");
          assert.equal(there?.changed["key:1"]?.hash, "there");
          assert.equal((await server.getStats()).waiters, 98);
          leaving.abort();
          await rest;
        });
      });
    });
  });
}

async function withServer(
  place: Place,
  options: OpenOptions,
  use: (server: RealityServer) => Promise<void>,
  clock: Clock = systemClock,
): Promise<void> {
  const { storage, close } = await open(place, options);
  // So long that the fast clock leaves every part of it as it is.
  const server = new RealityServer({
    storage,
    clock,
    ...(clock === systemClock ? {} : { storageTimeout: 200_000 }),
  });
  try {
    await use(server);
  } finally {
    await server.close();
    await close();
  }
}

/** Polls until a condition holds. */
async function until(isSo: () => Promise<boolean>): Promise<void> {
  while (!await isSo()) await new Promise((resolve) => setTimeout(resolve, 5));
}

/** A clock whose short timers run out a hundred times as fast, and which tells when none is set. */
class FastClock implements Clock {
  readonly #timers = new Set<object>();
  #onStopped = () => {};

  now(): number {
    return Date.now();
  }

  elapsed(): number {
    return performance.now();
  }

  random(): number {
    return 0;
  }

  after(ms: number, callback: () => void): () => void {
    const name = {};
    this.#timers.add(name);
    const done = () => {
      this.#timers.delete(name);
      if (this.#timers.size === 0) this.#onStopped();
    };
    // Longer ones stay as they are: the time that a call of the storage may take is among them.
    const timer = setTimeout(() => {
      callback();
      done();
    }, ms >= 10_000 ? ms : ms / 100);
    return () => {
      clearTimeout(timer);
      done();
    };
  }

  /** Settles once no timer is set. */
  async hasStopped(): Promise<void> {
    if (this.#timers.size === 0) return;
    await new Promise<void>((resolve) => this.#onStopped = resolve);
  }
}
