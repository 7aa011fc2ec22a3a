import { equal, ok } from "node:assert/strict";
import { execSync } from "node:child_process";
import { tmpdir } from "node:os";
import process from "node:process";
import { createNodeHandler } from "../../adapters/node.ts";
import type { Clock } from "../../src/clock.ts";
import { RealityServer } from "../../src/server.ts";
import type { SyncResponse } from "../../src/types.ts";
import { MemoryStorage } from "../../storage/memory/memory_storage.ts";
import { test } from "../harness.ts";
import { Child, runtime } from "../runtimes/child.ts";
import { listenFetch } from "../runtimes/fetch.ts";
import { listenNode } from "../runtimes/node.ts";

const MANY = 10_000;

/** How long they wait at most, in milliseconds: longer than a busy machine takes for all of this. */
const WAIT = 60_000;

/** So many clients wait once more, each for a node of its own. */
const LATER = 500;

/** Longer than any timer but those of the waits, in milliseconds. */
const LONG = 20_000;

class CountingStorage extends MemoryStorage {
  reads = 0;

  constructor() {
    super({ counter: "sequential" });
  }

  override readNodes(keys: readonly string[]): ReturnType<MemoryStorage["readNodes"]> {
    this.reads++;
    return super.readNodes(keys);
  }
}

/** The real clock. It knows how many wait, since a waiter sets a timer when it has read and parks. */
class CountingClock implements Clock {
  parked = 0;
  #onParked = () => {};

  now(): number {
    return Date.now();
  }

  elapsed(): number {
    return performance.now();
  }

  random(): number {
    return Math.random();
  }

  after(ms: number, callback: () => void): () => void {
    const timer = setTimeout(callback, ms);
    if (ms < LONG) return () => clearTimeout(timer);
    this.#count(1);
    return () => {
      clearTimeout(timer);
      this.#count(-1);
    };
  }

  /** Settles when so many wait. */
  async until(parked: number): Promise<void> {
    while (this.parked !== parked) await new Promise<void>((resolve) => this.#onParked = resolve);
  }

  #count(change: number): void {
    this.parked += change;
    this.#onParked();
  }
}

function setUp() {
  const storage = new CountingStorage();
  const clock = new CountingClock();
  return { storage, clock, server: new RealityServer({ storage, clock, limits: { maxWait: WAIT } }) };
}

test(`updateNode() wakes ${MANY} waiting syncs, all of them with one read of the storage`, async () => {
  const { server, storage, clock } = setUp();
  await server.updateNode("all", "1");
  const memory = process.memoryUsage().rss;
  const answers = Array.from({ length: MANY }, () => server.handleSync({ known: { all: 1 }, wait: WAIT }));
  await clock.until(MANY);
  report(`${MANY} waiting calls`, memory, MANY);
  const reads = storage.reads;
  await server.updateNode("all", "2");
  const told = (await Promise.all(answers)).filter(({ changed }) => changed.all?.version === 2);
  equal(told.length, MANY);
  equal(storage.reads - reads, 1);
  equal(clock.parked, 0);
  await server.close();
});

test(`updateNode() of one key among ${MANY} with waiting clients wakes the clients of that key`, async () => {
  const { server, storage, clock } = setUp();
  const told: SyncResponse[] = [];
  const answers = Array.from(
    { length: MANY },
    (_, i) =>
      server.handleSync({ known: { [`own:${i}`]: 0, [`pair:${i >> 1}`]: 0 }, wait: WAIT }).then(
        (answer) => {
          told.push(answer);
        },
      ),
  );
  await clock.until(MANY);
  const reads = storage.reads;
  await server.updateNode("own:4321", "1");
  await answers[4321];
  equal(clock.parked, MANY - 1);
  await server.updateNode("pair:7", "1");
  await Promise.all([answers[14], answers[15]]);
  equal(clock.parked, MANY - 3);
  equal(told.length, 3);
  equal(storage.reads - reads, 2);
  await server.close();
  await Promise.all(answers);
});

test("updateNode() wakes all clients on their connections with one read, and later only the one it concerns", async () => {
  const count = Math.min(MANY, mostConnections());
  if (count < MANY) console.log(`only ${count} connections: the limit of open files allows no more`);
  const later = Math.min(LATER, count);
  ok(later >= 100);
  const { server, storage, clock } = setUp();
  await server.updateNode("all", "1");
  const listening = runtime === "node"
    ? await listenNode(createNodeHandler(server))
    : await listenFetch(server.getFetchHandler());
  const memory = process.memoryUsage().rss;
  const port = listening.origin.split(":").at(-1)!;
  const clients = Child.run("tests/load/clients.ts", {}, tmpdir(), [port, `${count}`, `${later}`]);
  try {
    await clock.until(count);
    report(`${count} waiting connections`, memory, count);
    const reads = storage.reads;
    const start = performance.now();
    await server.updateNode("all", "2");
    const took = performance.now() - start;
    const [line] = await clients.printed(/\d+ of \d+ were told/);
    equal(line, `${count} of ${count} were told`);
    console.log(
      `  updateNode took ${took.toFixed(0)} ms, the last answer came after ${
        (performance.now() - start).toFixed(0)
      } ms`,
    );
    equal(storage.reads - reads, 1);

    await clock.until(later);
    await server.updateNode("own:42", "1");
    await clients.printed(/client 42 was told of own:42/);
    equal(clock.parked, later - 1);
    equal(clients.output.match(/^client/gm)?.length, 1);
  } finally {
    await clients.kill();
  }
  await clock.until(0);
  await server.close();
  await listening.close();
});

function report(what: string, memory: number, count: number): void {
  const each = (process.memoryUsage().rss - memory) / count / 1024;
  console.log(`  ${what}: ${each.toFixed(1)} KiB of resident memory each, roughly`);
}

/** How many connections each of the two processes may have open: the hard limit, to which runtimes lift themselves. */
function mostConnections(): number {
  const limit = Number(execSync("ulimit -Hn", { encoding: "utf8", shell: "/bin/sh" }));
  return Number.isFinite(limit) ? limit - 200 : MANY;
}
