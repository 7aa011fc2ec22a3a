/*
 * The countable costs of a request, which do not depend on the speed of the machine: calls to the
 * storage, bytes of an answer, timers, and bytes of memory that a sync allocates. A change
 * that lowers one of them updates the figure here.
 */

import { deepEqual, equal, ok } from "node:assert/strict";
import process from "node:process";
import { createFetchHandler } from "../adapters/fetch.ts";
import { RealityServer } from "../src/server.ts";
import type { RealityStorage } from "../src/store/contract.ts";
import { MemoryStorage } from "../storage/memory/memory_storage.ts";
import { FakeClock, settle } from "./clock.ts";
import { test } from "./harness.ts";
import { HistoryStorage } from "./storages.ts";

const NODES = 100;
const WAITERS = 1000;
const HASH = "2jmj7l5rSw0yVb_vlWAYkK";

/** A storage, and how often each of its methods is called. */
function watch(storage: RealityStorage): { storage: RealityStorage; calls: Record<string, number> } {
  const calls: Record<string, number> = {};
  const watched = new Proxy(storage, {
    get(target, name) {
      const value: unknown = Reflect.get(target, name);
      if (typeof value !== "function" || typeof name !== "string") return value;
      return (...args: unknown[]) => {
        calls[name] = (calls[name] ?? 0) + 1;
        return Reflect.apply(value, target, args);
      };
    },
  });
  return { storage: watched, calls };
}

async function setUp(kind: "an exclusive" | "a shared") {
  const { storage, calls } = watch(
    kind === "an exclusive" ? new MemoryStorage({ counter: "sequential" }) : new HistoryStorage(),
  );
  const clock = new FakeClock();
  const server = new RealityServer({ storage, clock });
  await server.updateMany(Array.from({ length: NODES }, (_, i) => ({ key: keyOf(i), hash: HASH })));
  // What is asked once in a server's life has been asked.
  await server.handleSync(knownOf(NODES));
  await settle();
  return {
    clock,
    server,
    /** The calls that some work makes. */
    async count(work: () => unknown): Promise<Record<string, number>> {
      for (const name of Object.keys(calls)) delete calls[name];
      await work();
      await settle();
      return { ...calls };
    },
  };
}

function keyOf(i: number): string {
  return `chat:room:${i}`;
}

function inWords(count: number, what: string = "key"): string {
  return count === 1 ? `1 ${what}` : `${count} ${what}s`;
}

/** A sync of this many keys, some of which have changed. */
function knownOf(keys: number, changed = 0): { known: Record<string, number> } {
  return {
    known: Object.fromEntries(
      Array.from({ length: keys }, (_, i) => [keyOf(i), i < changed ? 0 : i + 1]),
    ),
  };
}

for (
  const [kind, question] of [
    ["an exclusive", { readNodes: 1 }],
    ["a shared", { readChanges: 1 }],
  ] as const
) {
  for (const keys of [1, 10, 100]) {
    test(`a sync of ${inWords(keys)} makes one call to ${kind} storage`, async () => {
      const { server, count } = await setUp(kind);
      deepEqual(await count(() => server.handleSync(knownOf(keys, 1))), question);
    });
  }

  test(`${WAITERS} syncs of one moment make one call to ${kind} storage`, async () => {
    const { server, count } = await setUp(kind);
    const many = () => Promise.all(Array.from({ length: WAITERS }, () => server.handleSync(knownOf(10))));
    deepEqual(await count(many), question);
  });

  test(`a waiting sync calls ${kind} storage once, and once more after a wake`, async () => {
    const { server, count } = await setUp(kind);
    let answer: Promise<unknown> = Promise.resolve();
    deepEqual(
      await count(() => void (answer = server.handleSync({ ...knownOf(10), wait: 20_000 }))),
      question,
    );
    deepEqual(await count(() => server.updateNode(keyOf(0), "new")), { applyChanges: 1, ...question });
    await answer;
  });

  test(`${WAITERS} waiting clients are woken with one read of ${kind} storage`, async () => {
    const { server, count } = await setUp(kind);
    const answers = Array.from(
      { length: WAITERS },
      () => server.handleSync({ ...knownOf(10), wait: 20_000 }),
    );
    await settle();
    deepEqual(await count(() => server.updateNode(keyOf(0), "new")), { applyChanges: 1, ...question });
    equal((await Promise.all(answers)).filter(({ changed }) => keyOf(0) in changed).length, WAITERS);
  });

  for (const changes of [1, 1000]) {
    test(`updateMany() of ${changes} makes one change of ${kind} storage`, async () => {
      const { server, count } = await setUp(kind);
      const updates = Array.from({ length: changes }, (_, i) => ({ key: keyOf(i), hash: "new" }));
      deepEqual(await count(() => server.updateMany(updates)), { applyChanges: 1 });
    });
  }

  test(`updateNode() makes one change of ${kind} storage, and reads nothing`, async () => {
    const { server, count } = await setUp(kind);
    deepEqual(await count(() => server.updateNode(keyOf(0), "new")), { applyChanges: 1 });
  });

  // A storage in memory stores each of them at once: there is no commit to share.
  const commits = kind === "a shared" ? 1 : 1000;
  test(`1000 calls of updateNode() at once are ${inWords(commits, "commit")} of ${kind} storage`, async () => {
    const { server, count } = await setUp(kind);
    const many = () =>
      Promise.all(Array.from({ length: 1000 }, (_, i) => server.updateNode(keyOf(i), "new")));
    deepEqual(await count(many), { applyChanges: commits });
  });
}

for (
  const [keys, changed, bytes] of [
    [1, 0, 110],
    [10, 0, 110],
    [10, 1, 215],
    [100, 0, 110],
    [100, 10, 1170],
    [100, 100, 10_981],
  ] as const
) {
  test(`the answer about ${inWords(keys)}, ${changed} of them changed, has ${bytes} bytes`, async () => {
    const { server } = await setUp("an exclusive");
    const response = await createFetchHandler(server)(
      new Request("http://localhost/reality/sync", {
        method: "POST",
        headers: { "content-type": "application/json" },
        body: JSON.stringify(knownOf(keys, changed)),
      }),
    );
    equal(response.status, 200);
    equal((await response.arrayBuffer()).byteLength, bytes);
  });
}

test("a sync whose body has arrived sets no timer", async () => {
  const { clock, server } = await setUp("an exclusive");
  let timers = 0;
  const { after } = clock;
  clock.after = (...args) => {
    timers++;
    return after.apply(clock, args);
  };
  const handler = createFetchHandler(server);
  const body = JSON.stringify(knownOf(10, 1));
  const headers = { "content-type": "application/json", "content-length": `${body.length}` };
  for (let i = 0; i < 10; i++) {
    const request = new Request("http://localhost/reality/sync", { method: "POST", headers, body });
    equal((await handler(request)).status, 200);
  }
  equal(timers, 0);
});

// Only V8 reports the allocated memory at any time.
if (process.versions.v8 !== undefined && process.versions.bun === undefined) {
  // The amount on the runtime that allocates most, and a quarter more.
  for (
    const [keys, changed, most] of [
      [1, 0, 4_500],
      [10, 1, 4_500],
      [100, 0, 10_500],
      [100, 100, 55_000],
    ] as const
  ) {
    test(`a sync of ${inWords(keys)}, ${changed} of them changed, takes ${most} bytes at most`, async () => {
      const { server } = await setUp("an exclusive");
      const request = knownOf(keys, changed);
      const found = await bytesOf(() => server.handleSync(request));
      ok(found > 1_000 && found <= most, `it takes ${found}`);
    });
  }
}

/** The number of bytes that some work allocates: the median of several rounds, since garbage is collected in some. */
async function bytesOf(work: () => Promise<unknown>): Promise<number> {
  const [rounds, times] = [9, 25];
  const found: number[] = [];
  // Compilation allocates memory as well.
  for (let i = 0; i < 200; i++) await work();
  for (let round = 0; round < rounds; round++) {
    const before = process.memoryUsage().heapUsed;
    for (let i = 0; i < times; i++) await work();
    found.push((process.memoryUsage().heapUsed - before) / times);
  }
  return Math.round(found.sort((a, b) => a - b)[rounds >> 1]!);
}
