import { deepEqual, equal } from "node:assert/strict";
import { Deadlines } from "../../../src/limits/deadlines.ts";
import { Metrics } from "../../../src/telemetry/metrics.ts";
import { PendingResponses } from "../../../src/limits/pending_responses.ts";
import { FakeClock } from "../../clock.ts";
import { test } from "../../harness.ts";

function setUp(maxSendingBytes: number) {
  const clock = new FakeClock();
  const metrics = new Metrics();
  const responses = new PendingResponses({ maxSendingBytes }, new Deadlines(clock, 1_000), metrics);
  const cut: string[] = [];
  const begin = (name: string, bytes: number) => responses.begin(bytes, () => cut.push(name));
  return { clock, metrics, responses, cut, begin };
}

test("PendingResponses cuts off responses that are pending for too long, and no others", async () => {
  const { clock, metrics, responses, cut, begin } = setUp(100);
  begin("slow", 10);
  const quick = begin("quick", 20);
  await clock.advance(600);
  begin("later", 30);
  quick.end();
  quick.end();
  deepEqual([responses.size, responses.bytes], [2, 40]);
  await clock.advance(400);
  deepEqual(cut, ["slow"]);
  await clock.advance(600);
  deepEqual(cut, ["slow", "later"]);
  deepEqual([responses.size, responses.bytes, metrics.responsesCut.value, clock.timers], [0, 0, 2, 0]);
});

test("PendingResponses cuts off the oldest responses if all of them together are too large", () => {
  const { metrics, responses, cut, begin } = setUp(100);
  begin("first", 40);
  const second = begin("second", 40);
  begin("third", 60);
  deepEqual([cut, responses.bytes], [["first"], 100]);
  second.end();
  equal(responses.bytes, 60);
  // It would be just as large the next time.
  begin("huge", 1_000);
  deepEqual([cut, responses.size, responses.bytes], [["first", "third"], 1, 1_000]);
  begin("small", 1);
  deepEqual([cut, responses.size, responses.bytes], [["first", "third", "huge"], 1, 1]);
  equal(metrics.responsesCut.value, 3);
});
