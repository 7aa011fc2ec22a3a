import { deepEqual, equal } from "node:assert/strict";
import { type Deadline, Deadlines } from "../../../src/limits/deadlines.ts";
import { FakeClock, settle } from "../../clock.ts";
import { test } from "../../harness.ts";

function setUp() {
  const clock = new FakeClock();
  const deadlines = new Deadlines(clock, 100);
  const late: string[] = [];
  const begin = (name: string): Deadline => {
    const due: Deadline = {
      dueAt: 0,
      before: undefined,
      after: undefined,
      onExpire: () => void late.push(name),
    };
    deadlines.add(due);
    return due;
  };
  return { clock, deadlines, late, begin };
}

test("each task expires after its time limit, with one timer for all", async () => {
  const { clock, late, begin } = setUp();
  begin("a");
  await clock.advance(40);
  begin("b");
  begin("c");
  equal(clock.timers, 1);
  await clock.advance(60);
  deepEqual(late, ["a"]);
  await clock.advance(39);
  deepEqual(late, ["a"]);
  await clock.advance(1);
  deepEqual(late, ["a", "b", "c"]);
  equal(clock.timers, 0);
});

test("a task that ends in time does not expire, and the last one stops the timer", async () => {
  const { clock, deadlines, late, begin } = setUp();
  const [a, b] = [begin("a"), begin("b")];
  await settle();
  equal(deadlines.remove(a), true);
  equal(deadlines.remove(a), false);
  equal(clock.timers, 1);
  deadlines.remove(b);
  equal(clock.timers, 0);
  begin("c");
  await clock.advance(99);
  begin("d");
  await clock.advance(1);
  deepEqual(late, ["c"]);
  equal(deadlines.size, 1);
});

test("a task that ends within three microtasks sets no timer, and a longer one expires in time", async () => {
  const { clock, deadlines, late, begin } = setUp();
  let timersSet = 0;
  const { after } = clock;
  clock.after = (...args) => {
    timersSet++;
    return after.apply(clock, args);
  };
  for (let i = 0; i < 10; i++) {
    const soon = begin("soon");
    for (let microtask = 0; microtask < 3; microtask++) await null;
    deadlines.remove(soon);
  }
  await settle();
  equal(timersSet, 0);
  // Added by the last microtask of a task that has ended. It still expires.
  const soon = begin("soon");
  for (let microtask = 0; microtask < 4; microtask++) await null;
  deadlines.remove(soon);
  begin("long");
  await settle();
  equal(timersSet, 1);
  await clock.advance(100);
  deepEqual(late, ["long"]);
});

test("a task that is added while another expires gets its whole time limit", async () => {
  const { clock, deadlines, late } = setUp();
  const again: Deadline = {
    dueAt: 0,
    before: undefined,
    after: undefined,
    onExpire() {
      late.push(`at ${this.dueAt - start}`);
      if (late.length < 3) deadlines.add(again);
    },
  };
  const start = clock.now();
  deadlines.add(again);
  await clock.advance(1_000);
  deepEqual(late, ["at 100", "at 200", "at 300"]);
  equal(clock.timers, 0);
});

test("tasks that are added while another expires and just after it get their whole time limits", async () => {
  const { clock, late, begin } = setUp();
  const first = begin("first");
  await clock.advance(50);
  begin("second");
  first.onExpire = () => {
    begin("a");
    queueMicrotask(() => begin("b"));
  };
  await clock.advance(50);
  await clock.advance(50);
  deepEqual(late, ["second"]);
  await clock.advance(49);
  deepEqual(late, ["second"]);
  await clock.advance(1);
  deepEqual(late, ["second", "a", "b"]);
  equal(clock.timers, 0);
});

test("a task that is added after an expiring one has ended all others gets its whole time limit", async () => {
  const { clock, deadlines, late, begin } = setUp();
  const first = begin("first");
  const other = begin("other");
  first.onExpire = () => {
    deadlines.remove(other);
    begin("a");
    begin("b");
  };
  await clock.advance(100);
  deepEqual(late, []);
  await clock.advance(99);
  deepEqual(late, []);
  await clock.advance(1);
  deepEqual(late, ["a", "b"]);
  equal(clock.timers, 0);
});

test("the clock is not read for a task that ends within three microtasks", async () => {
  const { clock, deadlines, begin } = setUp();
  let reads = 0;
  const { elapsed } = clock;
  clock.elapsed = () => {
    reads++;
    return elapsed.call(clock);
  };
  const soon = begin("soon");
  for (let microtask = 0; microtask < 3; microtask++) await null;
  deadlines.remove(soon);
  await settle();
  equal(reads, 0);
});

test("setting the date back delays no deadline", async () => {
  const { clock, late, begin } = setUp();
  begin("a");
  clock.jump(-3_600_000);
  await clock.advance(100);
  deepEqual(late, ["a"]);
});

test("close() expires all tasks and ignores later ones", async () => {
  const { clock, deadlines, late, begin } = setUp();
  begin("a");
  begin("b");
  deadlines.close();
  deepEqual(late, ["a", "b"]);
  begin("c");
  equal(clock.timers, 0);
  await clock.advance(1_000);
  deepEqual(late, ["a", "b"]);
});
