import { deepEqual, equal, match, throws } from "node:assert/strict";
import { SharedBodyBudget } from "../../../src/limits/body_budget.ts";
import type { RealityError } from "../../../src/errors.ts";
import { FakeClock } from "../../clock.ts";
import { test } from "../../harness.ts";

const LIMITS = { maxReadingBytes: 1_000, maxRequests: 10, bodyTimeout: 100 };

test("all bodies together hold at most maxReadingBytes", () => {
  const bodies = new SharedBodyBudget(LIMITS, new FakeClock());
  const [a, b] = [bodies.begin(0, fail), bodies.begin(600, fail)];
  a.take(600);
  throws(() => b.take(401), { code: "ERR_REALITY_OVERLOADED", message: /maxReadingBytes \(1000\)/ });
  b.take(400);
  equal(bodies.held, 1_000);
  throws(() => bodies.begin(0, fail), { code: "ERR_REALITY_OVERLOADED" });
  a.end();
  a.end();
  equal(bodies.held, 400);
  throws(() => bodies.begin(601, fail), { code: "ERR_REALITY_OVERLOADED" });
  bodies.begin(600, fail).end();
  b.end();
  equal(bodies.held, 0);
});

test("maxRequests bodies can each hold a share", () => {
  const bodies = new SharedBodyBudget(LIMITS, new FakeClock());
  equal(bodies.share, 100);
  const readings = Array.from({ length: 10 }, () => bodies.begin(bodies.share, fail));
  for (const reading of readings) reading.take(bodies.share);
  for (const reading of readings) reading.end();
  equal(bodies.held, 0);
});

test("a body that takes too long is refused and frees its bytes", async () => {
  const clock = new FakeClock();
  const bodies = new SharedBodyBudget(LIMITS, clock);
  const stopped: RealityError[] = [];
  const slow = bodies.begin(0, (refusal) => stopped.push(refusal));
  slow.take(500);
  await clock.advance(50);
  const quick = bodies.begin(0, fail);
  await clock.advance(49);
  quick.end();
  equal(stopped.length, 0);
  await clock.advance(1);
  equal(stopped[0]?.code, "ERR_REALITY_TIMEOUT");
  equal(stopped[0]?.status, 408);
  match(stopped[0]?.message ?? "", /bodyTimeout \(100 ms\)/);
  deepEqual([bodies.held, clock.timers], [0, 0]);
  slow.end();
  equal(bodies.held, 0);
});

test("a closed server refuses new bodies and those that are being read", () => {
  const clock = new FakeClock();
  const bodies = new SharedBodyBudget(LIMITS, clock);
  const stopped: RealityError[] = [];
  bodies.begin(0, (refusal) => stopped.push(refusal)).take(10);
  bodies.close();
  deepEqual(stopped.map(({ code }) => code), ["ERR_REALITY_CLOSED"]);
  throws(() => bodies.begin(0, fail), { code: "ERR_REALITY_CLOSED" });
  deepEqual([bodies.held, clock.timers], [0, 0]);
});

function fail(): void {
  throw new Error("It was in time");
}
