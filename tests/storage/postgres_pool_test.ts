/**
 * The pool of openPostgres, over clients that break when the test says so.
 *
 * @module
 */
import assert from "node:assert/strict";
import { type ClientEvents, PostgresPool, type SingleClient } from "../../storage/postgres_pool.ts";
import { test } from "../harness.ts";

/** A client whose statements the test answers. */
class FakeClient implements SingleClient {
  readonly asked: string[] = [];
  readonly events: ClientEvents;
  readonly idleTimeout: number;
  isEnded = false;
  #answers: { resolve(rows: object[]): void; reject(error: Error): void }[] = [];

  constructor(events: ClientEvents, idleTimeout: number) {
    this.events = events;
    this.idleTimeout = idleTimeout;
  }

  unsafe(sql: string): Promise<object[]> {
    this.asked.push(sql);
    return new Promise((resolve, reject) => this.#answers.push({ resolve, reject }));
  }

  end(): Promise<void> {
    this.isEnded = true;
    this.#fail("ended");
    return Promise.resolve();
  }

  /** Answers the oldest statement, and lets whoever waits go on. */
  async answer(): Promise<void> {
    this.#answers.shift()?.resolve([]);
    await turn();
  }

  /** Rejects the oldest statement, and lets whoever waits go on. */
  async refuse(error: Error): Promise<void> {
    this.#answers.shift()?.reject(error);
    await turn();
  }

  /** Loses the connection, as a client does: what is under way is rejected first. */
  async lose(): Promise<void> {
    this.#fail("lost");
    this.events.onclose();
    await turn();
  }

  #fail(message: string): void {
    for (const { reject } of this.#answers.splice(0)) reject(new Error(message));
  }
}

const turn = () => new Promise((resolve) => setTimeout(resolve, 0));

function createPool(size: number, connectTimeout?: number): [PostgresPool, FakeClient[]] {
  const clients: FakeClient[] = [];
  const open = (events: ClientEvents, idleTimeout: number) => {
    const client = new FakeClient(events, idleTimeout);
    clients.push(client);
    return client;
  };
  return [new PostgresPool(open, size, connectTimeout), clients];
}

test("PostgresPool asks one thing at a time on each connection, and opens no more than it needs", async () => {
  const [pool, clients] = createPool(2);
  const first = pool.unsafe("a");
  await turn();
  await clients[0]!.answer();
  await clients[0]!.answer();
  await first;
  const all = ["b", "c", "d"].map((sql) => pool.unsafe(sql));
  await turn();
  assert.deepEqual(clients.map(({ asked }) => asked), [["SELECT 1", "a", "b"], ["SELECT 1"]]);
  await clients[0]!.answer();
  assert.deepEqual(clients[0]!.asked, ["SELECT 1", "a", "b", "d"]);
  for (const client of clients) for (let i = 0; i < 3; i++) await client.answer();
  await Promise.all(all);
  await pool.end();
  assert.ok(clients.every(({ isEnded }) => isEnded));
});

test("PostgresPool never asks anything of a connection that was lost, busy or idle", async () => {
  const [pool, clients] = createPool(1);
  const busy = pool.unsafe("a");
  const waiting = pool.unsafe("b");
  await turn();
  await clients[0]!.answer();
  await Promise.all([assert.rejects(busy, /lost/), clients[0]!.lose()]);
  assert.ok(clients[0]!.isEnded);
  assert.deepEqual(clients[1]!.asked, ["SELECT 1"]);
  await clients[1]!.answer();
  await clients[1]!.answer();
  await waiting;
  await clients[1]!.lose();
  const after = pool.unsafe("c");
  await turn();
  await Promise.all([assert.rejects(after, /lost/), clients[2]!.lose()]);
  assert.deepEqual(clients.map(({ asked }) => asked.at(-1)), ["a", "b", "SELECT 1"]);
  await pool.end();
});

test("PostgresPool gives up a connection that failed before its loss is told, and none that answered", async () => {
  const [pool, clients] = createPool(1);
  const asked = ["a", "b", "c", "d"].map((sql) => pool.unsafe(sql));
  const results = Promise.allSettled(asked);
  await turn();
  await clients[0]!.answer();
  const answer = (severity: string) =>
    Object.assign(new Error(severity), { name: "PostgresError", severity });
  await clients[0]!.refuse(answer("ERROR"));
  assert.deepEqual(clients[0]!.asked, ["SELECT 1", "a", "b"]);
  await clients[0]!.refuse(new Error("ECONNRESET"));
  assert.ok(clients[0]!.isEnded);
  await clients[1]!.answer();
  await clients[1]!.refuse(answer("FATAL"));
  assert.ok(clients[1]!.isEnded);
  await clients[2]!.answer();
  await clients[2]!.answer();
  assert.deepEqual(clients.map(({ asked }) => asked.slice(1)), [["a", "b"], ["c"], ["d"]]);
  assert.deepEqual((await results).map(({ status }) => status), [
    ...["rejected", "rejected", "rejected"],
    "fulfilled",
  ]);
  await pool.end();
});

test("PostgresPool gives up a client that does not come to connect", async () => {
  const [pool, clients] = createPool(1, 1);
  await assert.rejects(pool.unsafe("a"), /ended/);
  await assert.rejects(pool.listen("news", () => {}), /ended/);
  assert.ok(clients.length === 2 && clients.every(({ isEnded }) => isEnded));
  await pool.end();
});

test("PostgresPool rejects what is asked after its end, and what still waits", async () => {
  const [pool, clients] = createPool(1);
  const busy = pool.unsafe("a");
  const waiting = pool.unsafe("b");
  await turn();
  await Promise.all([assert.rejects(busy, /ended/), assert.rejects(waiting, /closed/), pool.end()]);
  await assert.rejects(pool.unsafe("c"), { code: "ERR_REALITY_CLOSED" });
  assert.equal(clients.length, 1);
});

test("PostgresPool seeks a connection that listened until it is back, and says so", async () => {
  const [pool, clients] = createPool(1);
  const heard: string[] = [];
  let [begun, hasBegun] = [0, () => {}];
  const listening = pool.listen("news", (payload) => heard.push(payload), () => {
    begun++;
    hasBegun();
  });
  await clients[0]!.answer();
  const { unlisten } = await listening;
  clients[0]!.events.onnotify("other", "1");
  clients[0]!.events.onnotify("news", "2");
  assert.deepEqual([heard, begun, clients[0]!.asked], [["2"], 1, ['LISTEN "news"']]);

  const isBack = new Promise<void>((resolve) => hasBegun = resolve);
  await clients[0]!.lose();
  // The first try finds nobody, the second does.
  while (clients.length < 2) await turn();
  await clients[1]!.lose();
  while (clients.length < 3) await turn();
  await clients[2]!.answer();
  await isBack;
  clients[2]!.events.onnotify("news", "3");
  assert.deepEqual([heard, begun], [["2", "3"], 2]);

  await unlisten();
  await clients[2]!.lose();
  await pool.end();
  assert.equal(clients.length, 3);
});

test("PostgresPool does not seek what it never had, and stops when it ends", async () => {
  const [pool, clients] = createPool(1);
  const failing = pool.listen("news", () => {});
  await Promise.all([assert.rejects(failing, /lost/), clients[0]!.lose()]);
  const listening = pool.listen("news", () => {});
  await clients[1]!.answer();
  await listening;
  await clients[1]!.lose();
  // A timer that was left would fail this test on Deno, and hold the process up elsewhere.
  await pool.end();
  assert.equal(clients.length, 2);
});

test("PostgresPool lets connections for statements end by themselves, and never one that listens", async () => {
  const [pool, clients] = createPool(1);
  const asking = pool.unsafe("SELECT 2");
  const listening = pool.listen("channel", () => {});
  await turn();
  assert.ok(clients[0]!.idleTimeout > 0);
  assert.equal(clients[1]!.idleTimeout, 0);
  await clients[0]!.answer();
  await clients[0]!.answer();
  await clients[1]!.answer();
  await Promise.all([asking, listening]);
  await pool.end();
});
