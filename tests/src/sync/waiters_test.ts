import { deepEqual, equal } from "node:assert/strict";
import { DEFAULT_LIMITS } from "../../../src/server_limits.ts";
import { Waiters, waitingBytes } from "../../../src/sync/waiters.ts";
import { FakeClock, settle } from "../../clock.ts";
import { test } from "../../harness.ts";

test("wake() ends the waits for the key, and no others", async () => {
  const waiters = new Waiters(new FakeClock(), { ...DEFAULT_LIMITS, maxWaiters: 10 });
  const [a, b, both] = [waiters.add(["a"]), waiters.add(["b"]), waiters.add(["a", "b"])];
  const ends: string[] = [];
  void a?.next(1000).then((end) => ends.push(`a ${end}`));
  void b?.next(1000).then((end) => ends.push(`b ${end}`));
  void both?.next(1000).then((end) => ends.push(`both ${end}`));
  waiters.wake(["a"]);
  await settle();
  deepEqual(ends, ["a wake", "both wake"]);
  waiters.close();
  await settle();
  deepEqual(ends, ["a wake", "both wake", "b closed"]);
});

test("next() ends at once after an earlier wake, and only once", async () => {
  const clock = new FakeClock();
  const waiters = new Waiters(clock, { ...DEFAULT_LIMITS, maxWaiters: 10 });
  const waiter = waiters.add(["a"]);
  waiters.wake(["a"]);
  waiters.wake(["a"]);
  equal(await waiter?.next(1000), "wake");
  const second = waiter?.next(1000);
  await clock.advance(1000);
  equal(await second, "timeout");
});

test("wake(null) ends every wait", async () => {
  const waiters = new Waiters(new FakeClock(), { ...DEFAULT_LIMITS, maxWaiters: 10 });
  const ends = Promise.all([waiters.add(["a"])?.next(1000), waiters.add(["b"])?.next(1000)]);
  waiters.wake(null);
  deepEqual(await ends, ["wake", "wake"]);
});

test("release() frees slot, key and timer, also during a wait", async () => {
  const clock = new FakeClock();
  const waiters = new Waiters(clock, { ...DEFAULT_LIMITS, maxWaiters: 2 });
  const [first, second] = [waiters.add(["a", "b"]), waiters.add(["a"])];
  equal(waiters.add(["a"]), null);
  const end = first?.next(1000);
  first?.release();
  first?.release();
  equal(await end, "closed");
  equal(await first?.next(1000), "closed");
  equal(clock.timers, 0);
  equal(waiters.size, 1);
  const third = waiters.add(["a"]);
  second?.release();
  const woken = third?.next(1000);
  waiters.wake(["a"]);
  equal(await woken, "wake");
});

test("wake() visits only the waiters of the key", async () => {
  const waiters = new Waiters(new FakeClock(), { ...DEFAULT_LIMITS, maxWaiters: 100_000 });
  for (let i = 0; i < 50_000; i++) waiters.add([`key:${i}`]);
  const one = waiters.add(["one"])?.next(1000);
  const begin = performance.now();
  for (let i = 0; i < 10_000; i++) waiters.wake(["none"]);
  waiters.wake(["one"]);
  equal(await one, "wake");
  // Scanning 50,000 waiters 10,000 times takes seconds; finding none takes about a millisecond.
  equal(performance.now() - begin < 1000, true);
});

test("close() ends every wait, refuses new waiters, and resolves when all have freed their slots", async () => {
  const clock = new FakeClock();
  const waiters = new Waiters(clock, { ...DEFAULT_LIMITS, maxWaiters: 10 });
  const [resting, busy] = [waiters.add(["a"]), waiters.add(["b"])];
  const end = resting?.next(1000);
  let closed = false;
  const close = waiters.close().then(() => closed = true);
  equal(await end, "closed");
  equal(await busy?.next(1000), "closed");
  equal(clock.timers, 0);
  equal(waiters.add(["c"]), null);
  resting?.release();
  await settle();
  equal(closed, false);
  busy?.release();
  await close;
  equal(waiters.size, 0);
  await new Waiters(clock, { ...DEFAULT_LIMITS, maxWaiters: 10 }).close();
});

test("add() counts bytes and slots by client and by connection, and release() frees them once", () => {
  const limits = {
    maxWaiters: 10,
    maxWaitersPerClient: 5,
    maxWaitersPerConnection: 2,
    maxWaitingBytes: 20_000,
  };
  const waiters = new Waiters(new FakeClock(), limits);
  let refusals = 0;
  waiters.onClientFull = () => refusals++;
  const [one, other] = [{}, {}];
  const from = (client: string | null, connection?: object) => ({ client, connection });
  const held = [waiters.add(["a"], from("x", one)), waiters.add(["a"], from("x", one))];
  equal(waiters.add(["a"], from("x", one)), null, "the connection has its two");
  held.push(...[other, undefined, undefined].map((connection) => waiters.add(["a"], from("x", connection))));
  equal(waiters.add(["a"], from("x")), null, "the client has its five");
  equal(refusals, 1);
  const unknown = [waiters.add(["a"], from(null)), waiters.add(["a"])];
  equal([...held, ...unknown].includes(null), false);
  equal(waiters.bytes, 7 * waitingBytes(["a"]));
  for (const waiter of held) {
    waiter!.release();
    waiter!.release();
  }
  equal(waiters.add(["a"], from("x", one)) === null, false);
  // One client may use 10,000 of the bytes. Its first waiter may be larger.
  const long = Array.from({ length: 60 }, (_, i) => `key:${i}`.padEnd(20));
  const large = waiters.add(long, from("y"));
  equal(large === null, false);
  equal(waiters.add(["a"], from("y")), null, "the client has its bytes");
  equal(waiters.add(long, from("z")), null, "all bytes are held");
  large!.release();
  equal(waiters.add(long, from("z")) === null, false);
});
