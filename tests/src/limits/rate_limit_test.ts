import { deepEqual, equal } from "node:assert/strict";
import { formatPolicy, formatQuota, RateLimiter } from "../../../src/limits/rate_limit.ts";
import { FakeClock } from "../../clock.ts";
import { test } from "../../harness.ts";

const TEN = { limit: 10, window: 60_000 };

test("a client that was quiet may send its whole limit at once, and no more", () => {
  const limiter = new RateLimiter(TEN, new FakeClock());
  const found = Array.from({ length: 12 }, () => limiter.take("a"));
  deepEqual(found.map(({ isAllowed }) => isAllowed), [...new Array(10).fill(true), false, false]);
  deepEqual(found.map(({ remaining }) => remaining), [9, 8, 7, 6, 5, 4, 3, 2, 1, 0, 0, 0]);
  deepEqual(limiter.take("a"), { isAllowed: false, remaining: 0, secondsToNext: 6 });
  equal(limiter.take("b").isAllowed, true);
});

test("a client continues at an even rate and can never send twice its limit", async () => {
  const clock = new FakeClock();
  const limiter = new RateLimiter(TEN, clock);
  const allowed: number[] = [];
  for (let second = 0; second < 600; second++) {
    if (limiter.take("a").isAllowed) allowed.push(second);
    await clock.advance(1_000);
  }
  // Ten at once, then one every six seconds.
  equal(allowed.length, 109);
  for (const from of allowed) {
    equal(allowed.filter((second) => second >= from + 60 && second < from + 120).length <= 11, true);
  }
});

test("secondsToNext says when one more request is allowed", async () => {
  const clock = new FakeClock();
  const limiter = new RateLimiter({ limit: 3, window: 7_000 }, clock);
  for (let i = 0; i < 20; i++) {
    const { isAllowed, secondsToNext } = limiter.take("a");
    if (isAllowed) continue;
    await clock.advance((secondsToNext - 1) * 1_000);
    equal(limiter.take("a").isAllowed, false);
    await clock.advance(1_000);
    equal(limiter.take("a").isAllowed, true);
  }
});

test("refused requests are not counted", async () => {
  const clock = new FakeClock();
  const limiter = new RateLimiter(TEN, clock);
  for (let i = 0; i < 1_000; i++) limiter.take("a");
  await clock.advance(60_000);
  equal(limiter.take("a").remaining, 9);
});

test("limits of every size are counted correctly", async () => {
  for (const [limit, window] of [[1, 1_000], [7, 1_000], [1_000, 3_333], [100_000, 1_000]] as const) {
    const clock = new FakeClock();
    const limiter = new RateLimiter({ limit, window }, clock);
    for (let round = 0; round < 2; round++) {
      let allowed = 0;
      while (allowed <= limit && limiter.take("a").isAllowed) allowed++;
      equal(allowed, limit);
      await clock.advance(window);
    }
  }
});

test("setting the date back delays no client", async () => {
  const clock = new FakeClock();
  const limiter = new RateLimiter(TEN, clock);
  for (let i = 0; i < 10; i++) limiter.take("a");
  clock.jump(-3_600_000);
  equal(limiter.take("a").isAllowed, false);
  await clock.advance(6_000);
  equal(limiter.take("a").isAllowed, true);
});

test("at most maxClients clients are remembered, and the one with the oldest request is forgotten first", () => {
  const limiter = new RateLimiter({ limit: 1, window: 60_000 }, new FakeClock(), 100);
  for (let i = 0; i < 100; i++) limiter.take(`${i}`);
  equal(limiter.take("0").isAllowed, false);
  for (let i = 100; i < 150; i++) limiter.take(`${i}`);
  equal(limiter.size, 100);
  equal(limiter.take("0").isAllowed, false);
  equal(limiter.take("60").isAllowed, false);
  equal(limiter.take("1").isAllowed, true);
});

test("clients with their whole limit available are forgotten without a timer", async () => {
  const clock = new FakeClock();
  const limiter = new RateLimiter(TEN, clock);
  for (let i = 0; i < 1_000; i++) limiter.take(`${i}`);
  equal(limiter.size, 1_000);
  await clock.advance(60_000);
  for (let i = 0; i < 1_000; i++) limiter.take("a");
  equal(limiter.size, 1);
  equal(clock.timers, 0);
});

test("the header fields have the format that clients parse", () => {
  equal(formatPolicy({ limit: 600, window: 60_500 }), '"default";q=600;w=61');
  equal(formatQuota({ isAllowed: true, remaining: 599, secondsToNext: 1 }), '"default";r=599;t=1');
});
