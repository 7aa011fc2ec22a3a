/**
 * A relay whose connections or commands fail.
 *
 * @module
 */
import assert from "node:assert/strict";
import { settle } from "../../clock.ts";
import { FakeNodeRedis } from "./fake_redis.ts";
import { CHANNEL, scene } from "./relay_kit.ts";

scene("Relay sends no command to clients that are not connected, and works once they are", async (scene) => {
  const { redis, deps, relay, publisher, subscriber } = scene;
  await scene.announce("a");
  await scene.announce("b");
  assert.deepEqual([deps.composed, publisher.offline, relay.healthy], [[], 0, false]);
  assert.equal(redis.subscribers(CHANNEL), 0);
  await deps.clock.advance(4_999);
  assert.deepEqual(deps.reports, []);
  await deps.clock.advance(1);
  assert.deepEqual(deps.reports, ["Redis failed: the subscriber has not connected in 5000 ms"]);
  publisher.connect();
  subscriber.connect();
  await settle();
  assert.deepEqual(publisher.published, ["a+b"]);
  assert.deepEqual([deps.reports.slice(1), deps.invalidations, relay.healthy], [["well"], 1, true]);
}, { connected: false });

scene(
  "Relay queues nothing while Redis is unreachable, and publishes pending updates afterwards",
  async (scene) => {
    const { deps, relay, publisher, subscriber } = scene;
    await scene.announce("before");
    const error = new Error("connection reset");
    publisher.lose(error);
    subscriber.lose(error);
    publisher.emit("error", new Error("connection refused"));
    subscriber.emit("error", new Error("connection refused"));
    assert.deepEqual([deps.reports, relay.healthy], [["Redis failed: connection reset"], false]);
    for (let i = 0; i < 1_000; i++) relay.publish();
    deps.pending.push("after");
    await settle();
    assert.deepEqual([publisher.published, deps.composed], [["before"], [false]]);
    publisher.connect();
    await settle();
    assert.deepEqual(deps.reports.length, 1, "one of two connections is not yet well");
    await deps.clock.advance(1_000);
    subscriber.connect();
    await settle();
    assert.deepEqual([publisher.published, deps.composed], [["before", "after"], [false, true]]);
    assert.deepEqual([deps.reports.slice(1), deps.invalidations, relay.healthy], [["well"], 2, true]);
    await scene.publishByOther("theirs");
    assert.deepEqual(deps.received, ["theirs"]);
  },
);

scene("Relay composes a new message if the connection is lost during a publish", async (scene) => {
  const { redis, deps, publisher } = scene;
  redis.hold();
  await scene.announce("lost");
  publisher.lose();
  redis.release();
  deps.pending.push("again");
  publisher.connect();
  await settle();
  assert.deepEqual(publisher.published, ["lost", "again"]);
  assert.deepEqual(deps.composed, [false, true]);
});

scene("Relay ignores the answer to a subscription whose connection was lost meanwhile", async (scene) => {
  const { redis, relay, subscriber } = scene;
  redis.hold();
  subscriber.lose();
  subscriber.connect();
  await settle();
  subscriber.lose();
  redis.release();
  await settle();
  assert.equal(relay.healthy, false);
});

scene("Relay reports why a connection was lost if the client reported it before", async (scene) => {
  const { deps, publisher } = scene;
  await deps.clock.advance(1_000);
  publisher.emit("error", new Error("read ECONNRESET"));
  assert.deepEqual(deps.reports, [], "it is still connected");
  publisher.lose();
  assert.deepEqual(deps.reports, ["Redis failed: read ECONNRESET"]);
  publisher.connect();
  publisher.lose();
  assert.deepEqual(deps.reports.slice(1), ["well", "Redis failed: the publisher has lost its connection"]);
});

scene("Relay reports a publisher that never connects", async (scene) => {
  const { deps, subscriber } = scene;
  subscriber.connect();
  await deps.clock.advance(5_000);
  assert.deepEqual(deps.reports, ["Redis failed: the publisher has not connected in 5000 ms"]);
}, { connected: false });

scene("Relay invalidates all keys after each subscription, at most once a second", async (scene) => {
  const { deps, subscriber } = scene;
  await deps.clock.advance(1_000);
  for (let i = 0; i < 10; i++) {
    subscriber.lose();
    subscriber.connect();
    await settle();
  }
  assert.equal(deps.invalidations, 2);
  await deps.clock.advance(1_000);
  assert.equal(deps.invalidations, 3);
  await deps.clock.advance(60_000);
  assert.equal(deps.invalidations, 3);
});

scene("Relay publishes and subscribes again if an answer of Redis is lost", async (scene) => {
  const { redis, deps, relay, subscriber } = scene;
  redis.hold();
  await scene.announce("lost");
  subscriber.lose();
  if (subscriber instanceof FakeNodeRedis) subscriber.channels.clear();
  subscriber.connect();
  await deps.clock.advance(3_000);
  assert.equal(relay.healthy, false);
  redis.loseHeld();
  deps.pending.push("again");
  await deps.clock.advance(30_000);
  assert.equal(relay.healthy, true);
  await scene.announce("next");
  await scene.publishByOther("theirs");
  assert.deepEqual(deps.received, ["theirs"]);
  assert.match(scene.publisher.published.join(), /next/);
});

scene("Relay retries with growing pauses if Redis refuses a command", async (scene) => {
  const { redis, deps, publisher } = scene;
  redis.refusal = new Error("NOPERM this user has no permissions");
  await scene.announce("a");
  assert.deepEqual(deps.reports, ["Redis failed: NOPERM this user has no permissions"]);
  await scene.announce("b");
  assert.equal(publisher.published.length, 1, "news does not hurry it");
  for (const pause of [500, 1_000, 2_000]) {
    const before = deps.composed.length;
    await deps.clock.advance(pause - 1);
    assert.equal(deps.composed.length, before);
    deps.pending.push("again");
    await deps.clock.advance(1);
    assert.equal(deps.composed.length, before + 1);
  }
  assert.deepEqual(deps.composed, [false, true, true, true]);
  redis.refusal = undefined;
  deps.pending.push("at last");
  await deps.clock.advance(30_000);
  assert.deepEqual(deps.reports.slice(1), ["well"]);
});

scene("Relay subscribes again after Redis refused it", async (scene) => {
  const { redis, deps, subscriber, relay } = scene;
  subscriber.lose();
  if (subscriber instanceof FakeNodeRedis) subscriber.channels.clear();
  redis.refusal = new Error("NOPERM");
  subscriber.connect();
  await settle();
  assert.equal(relay.healthy, false);
  redis.refusal = undefined;
  await deps.clock.advance(30_000);
  assert.deepEqual([deps.reports.length, relay.healthy], [2, true]);
  await scene.publishByOther("theirs");
  assert.deepEqual(deps.received, ["theirs"]);
});

scene(
  "Relay reports a subscriber that does not receive its own publications, until it does",
  async (scene) => {
    const { redis, deps, relay } = scene;
    await deps.clock.advance(1_000);
    redis.mute = true;
    await scene.announce("into the void");
    await deps.clock.advance(2_000);
    assert.deepEqual(deps.reports, [
      "Redis failed: the subscriber has not heard in 2000 ms what was published",
    ]);
    await scene.announce("once more");
    await deps.clock.advance(10_000);
    assert.deepEqual([deps.reports.length, relay.healthy], [1, false]);
    redis.mute = false;
    const invalidations = deps.invalidations;
    await scene.announce("heard");
    assert.deepEqual([deps.reports.slice(1), deps.invalidations, relay.healthy], [
      ["well"],
      invalidations + 1,
      true,
    ]);
    await deps.clock.advance(10_000);
    assert.equal(deps.reports.length, 2);
  },
);
