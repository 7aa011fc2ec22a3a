/**
 * The pool of openPostgres, over clients that break when the test says so.
 *
 * @module
 */
import assert from "node:assert/strict";
import {
  type ClientEvents,
  monotonicClock,
  type PoolOptions,
  PostgresPool,
  type SingleClient,
} from "../../../../storage/sql/postgres/pool.ts";
import { FakeClock, settle } from "../../../clock.ts";
import { test } from "../../../harness.ts";

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

  /** Answers the oldest statement, and lets waiting calls continue. */
  async answer(...rows: object[]): Promise<void> {
    this.#answers.shift()?.resolve(rows);
    await turn();
  }

  /** Rejects the oldest statement, and lets waiting calls continue. */
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

const tellsReadOnly = ([row]: readonly object[]) => (row as { read_only?: boolean })?.read_only === true;

function createPool(size: number, more: Partial<PoolOptions> = {}): [PostgresPool, FakeClient[]] {
  const clients: FakeClient[] = [];
  const open = (events: ClientEvents, idleTimeout: number) => {
    const client = new FakeClient(events, idleTimeout);
    clients.push(client);
    return client;
  };
  const options = {
    size,
    statementTimeout: 10_000,
    maxLifetime: 60_000,
    greeting: "SELECT 1",
    tellsReadOnly,
    clock: monotonicClock,
    ...more,
  };
  return [new PostgresPool(open, options), clients];
}

/** Runs a first statement on a new connection. */
async function begin(pool: PostgresPool, clients: readonly FakeClient[], place: number): Promise<void> {
  const first = pool.unsafe("first");
  await settle();
  for (let i = 0; i < 2; i++) await clients[place]!.answer();
  await first;
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
  const [pool, clients] = createPool(1, { statementTimeout: 1 });
  await assert.rejects(pool.unsafe("a"), /no answer within 1 ms/);
  await assert.rejects(pool.listen("news", () => {}), /no answer within 1 ms/);
  assert.ok(clients.length === 2 && clients.every(({ isEnded }) => isEnded));
  await pool.end();
});

test("PostgresPool frees the place of a connection that gives no answer, and asks once more on a new one", async () => {
  const clock = new FakeClock();
  const [pool, clients] = createPool(1, { clock });
  await begin(pool, clients, 0);
  // The connection stays open and silent.
  const asked = ["b", "c"].map((sql) => pool.unsafe(sql));
  await clock.advance(9_999);
  assert.equal(clients.length, 1);
  await clock.advance(1);
  assert.ok(clients[0]!.isEnded);
  for (let i = 0; i < 3; i++) await clients[1]!.answer();
  await Promise.all(asked);
  assert.deepEqual(clients.map(({ asked }) => asked), [["SELECT 1", "first", "b"], ["SELECT 1", "b", "c"]]);
  assert.equal(clock.timers, 0);
  await pool.end();
});

test("PostgresPool refuses what gets no answer on a new connection, and what finds none free in time", async () => {
  const clock = new FakeClock();
  const [pool, clients] = createPool(1, { clock });
  await begin(pool, clients, 0);
  const asked = ["a", "b", "c"].map((sql) => pool.unsafe(sql));
  const reasons = Promise.all(asked.map((asking) => asking.catch(({ message }) => message)));
  await clock.advance(20_000);
  assert.deepEqual(await reasons, [
    "no answer within 10000 ms",
    ...Array(2).fill("no connection was free within 20000 ms"),
  ]);
  assert.ok(clients.length === 2 && clients.every(({ isEnded }) => isEnded));
  assert.equal(clock.timers, 0);
  const next = pool.unsafe("d");
  await settle();
  for (let i = 0; i < 2; i++) await clients[2]!.answer();
  await next;
  await pool.end();
});

test("PostgresPool gives up a connection that has lived long enough, between two statements", async () => {
  const clock = new FakeClock();
  const [pool, clients] = createPool(1, { clock, maxLifetime: 60_000 });
  await begin(pool, clients, 0);
  for (const [pauseMs, lives] of [[29_999, true], [1, false]] as const) {
    await clock.advance(pauseMs);
    const next = pool.unsafe("next");
    await settle();
    assert.equal(clients[0]!.isEnded, !lives);
    for (let i = 0; i < 2; i++) await clients.at(-1)!.answer();
    await next;
  }
  // SeededRandom makes it longer.
  clock.randomValue = 0.5;
  await clock.advance(30_000);
  await begin(pool, clients, 2);
  await clock.advance(44_999);
  const next = pool.unsafe("next");
  await settle();
  await clients[2]!.answer();
  await next;
  await pool.end();
});

test("PostgresPool refuses a standby", async () => {
  const [pool, clients] = createPool(1);
  const asking = assert.rejects(pool.unsafe("a"), /the server is a standby/);
  await turn();
  await clients[0]!.answer({ is_standby: true });
  await asking;
  assert.ok(clients[0]!.isEnded);
  await pool.end();
});

test("PostgresPool leaves a server that came to read only, and asks once more where the address leads", async () => {
  const refusal = Object.assign(new Error("read-only"), {
    name: "PostgresError",
    severity: "ERROR",
    code: "25006",
  });
  const clock = new FakeClock();
  const [pool, clients] = createPool(1, { clock });
  await begin(pool, clients, 0);
  await clock.advance(500);
  const write = pool.unsafe("write");
  await settle();
  await clients[0]!.refuse(refusal);
  for (let i = 0; i < 2; i++) await clients[1]!.answer();
  await write;
  await clock.advance(500);
  const read = pool.unsafe("read");
  await settle();
  await clients[1]!.answer({ read_only: true });
  await clients[2]!.answer();
  // The new one reads only, too: that is the answer.
  await clients[2]!.answer({ read_only: true });
  assert.deepEqual(await read, [{ read_only: true }]);
  // It is kept for a moment: another one would lead to the same server.
  await clock.advance(499);
  const again = assert.rejects(pool.unsafe("write"), { code: "25006" });
  await settle();
  await clients[2]!.refuse(refusal);
  await again;
  assert.deepEqual(clients.map(({ asked, isEnded }) => [asked.slice(1), isEnded]), [
    [["first", "write"], true],
    [["write", "read"], true],
    [["read", "write"], false],
  ]);
  await pool.end();
});

test("PostgresPool gives up a connection of which a pooler says that its server is lost", async () => {
  const [pool, clients] = createPool(1);
  for (const [i, code] of ["57P01", "57P02", "57P03", "08006"].entries()) {
    const asking = assert.rejects(pool.unsafe("a"), { code });
    await turn();
    await clients[i]!.answer();
    await clients[i]!.refuse(
      Object.assign(new Error(code), { name: "PostgresError", severity: "ERROR", code }),
    );
    await asking;
    assert.ok(clients[i]!.isEnded);
  }
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
  // The first attempt fails, the second succeeds.
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

test("PostgresPool notices that a connection which listens gives no answer, and seeks it", async () => {
  const clock = new FakeClock();
  const [pool, clients] = createPool(1, { clock });
  let [begun, isWanted] = [0, false];
  const listening = pool.listen("news", () => {}, () => begun++, () => isWanted);
  await clients[0]!.answer();
  await listening;
  await clock.advance(5_000);
  assert.deepEqual(clients[0]!.asked, ['LISTEN "news"'], "no subscriber is left");
  isWanted = true;
  await clock.advance(5_000);
  assert.equal(clients[0]!.asked.length, 2);
  await clients[0]!.answer({ server: "1" });
  await clock.advance(5_000);
  assert.equal(clients[0]!.asked.length, 3);
  await clock.advance(9_999);
  assert.equal(clients.length, 1);
  await clock.advance(51);
  assert.ok(clients[0]!.isEnded);
  await clients[1]!.answer();
  assert.equal(begun, 2, "what was announced meanwhile may be missed");
  await pool.end();
  assert.equal(clock.timers, 0);
});

test("PostgresPool listens on a new connection before it ends an old one, and says where it may have missed something", async () => {
  const clock = new FakeClock();
  const [pool, clients] = createPool(1, { clock, maxLifetime: 60_000 });
  const heard: string[] = [];
  let begun = 0;
  const listening = pool.listen("news", (payload) => heard.push(payload), () => begun++);
  await clients[0]!.answer();
  await listening;
  const live = async (client: FakeClient, server: string) => {
    for (let i = 0; i < 5; i++) {
      await clock.advance(5_000);
      await client.answer({ server });
    }
    await clock.advance(5_000);
  };
  await live(clients[0]!, "1");
  assert.deepEqual(clients.map(({ asked }) => asked[0]), Array(2).fill('LISTEN "news"'));
  clients[0]!.events.onnotify("news", "old");
  await clients[1]!.answer();
  await clients[0]!.answer({ server: "1" });
  await clients[1]!.answer({ server: "1" });
  clients[1]!.events.onnotify("news", "new");
  assert.deepEqual([heard, begun, clients[0]!.isEnded], [["old", "new"], 1, true]);
  // The second time the address leads to another server.
  await live(clients[1]!, "1");
  await clients[2]!.answer();
  await clients[1]!.answer({ server: "1" });
  await clients[2]!.answer({ server: "2" });
  assert.deepEqual([begun, clients[1]!.isEnded], [2, true]);
  // Then that server has become a standby.
  await clock.advance(5_000);
  await clients[2]!.answer({ server: "2", is_standby: true });
  assert.ok(clients[2]!.isEnded);
  await pool.end();
  assert.equal(clock.timers, 0);
});
