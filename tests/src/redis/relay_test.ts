/**
 * What a relay publishes and delivers, and its end.
 *
 * @module
 */
import assert from "node:assert/strict";
import { Relay } from "../../../src/redis/relay.ts";
import { settle } from "../../clock.ts";
import { test } from "../../harness.ts";
import { FakeIORedis, FakeNodeRedis, FakeRedis } from "./fake_redis.ts";
import { CHANNEL, RecordingDeps, scene } from "./relay_kit.ts";

scene("Relay publishes pending updates, and delivers messages of others", async (scene) => {
  assert.equal(scene.relay.healthy, true);
  await scene.announce("ours");
  await scene.publishByOther("theirs");
  assert.deepEqual(scene.publisher.published, ["ours"]);
  assert.deepEqual(scene.deps.received, ["theirs"]);
  assert.deepEqual(scene.deps.reports, []);
});

scene(
  "Relay ignores its own messages, and delivers the same text of another server later",
  async (scene) => {
    await scene.announce("ours");
    assert.deepEqual(scene.deps.received, []);
    await scene.publishByOther("ours");
    assert.deepEqual(scene.deps.received, ["ours"]);
  },
);

scene(
  "publish() joins the updates of one moment, and those during a publish",
  async (scene) => {
    const { redis, deps, relay, publisher } = scene;
    redis.hold();
    deps.pending.push("a");
    relay.publish();
    deps.pending.push("b");
    relay.publish();
    await settle();
    for (const text of ["c", "d", "e"]) await scene.announce(text);
    assert.deepEqual(publisher.published, ["a+b"]);
    redis.release();
    await settle();
    assert.deepEqual(publisher.published, ["a+b", "c+d+e"]);
    assert.deepEqual(deps.composed, [false, false]);
  },
);

scene("publish() sends nothing if nothing is pending", async ({ relay, deps, publisher }) => {
  relay.publish();
  await settle();
  assert.deepEqual([deps.composed.length, publisher.published.length], [1, 0]);
});

scene(
  "Relay calls a Redis down that does not answer in two seconds, and well when it does",
  async (scene) => {
    const { redis, deps, relay, publisher } = scene;
    redis.hold();
    await scene.announce("slow");
    await deps.clock.advance(1_999);
    assert.deepEqual(deps.reports, []);
    await deps.clock.advance(1);
    assert.deepEqual(deps.reports, ["Redis failed: no answer to the publisher in 2000 ms"]);
    await scene.announce("next");
    await scene.announce("last");
    assert.deepEqual(publisher.published, ["slow"]);
    redis.release();
    await settle();
    assert.deepEqual(publisher.published, ["slow", "next+last"]);
    assert.deepEqual([deps.reports.slice(1), relay.healthy], [["well"], true]);
  },
);

scene("Relay reports invalid messages once, and their end after a minute without one", async (scene) => {
  const { deps, relay } = scene;
  await scene.publishByOther(...Array.from({ length: 50 }, (_, i) => `bad ${i}`), "good");
  await deps.clock.advance(59_999);
  await scene.publishByOther("bad", "x".repeat(101));
  await deps.clock.advance(59_999);
  assert.deepEqual(deps.reports, ["Redis failed: a message cannot be read, or is not proven"]);
  assert.deepEqual([relay.healthy, relay.refused, deps.received], [true, 52, ["good"]]);
  await deps.clock.advance(1);
  assert.deepEqual(deps.reports.slice(1), ["well"]);
  await scene.publishByOther("bad");
  assert.equal(deps.reports.length, 3);
}, { maxLength: 100 });

scene("Relay neither delivers nor publishes a message that is too long", async (scene) => {
  const { deps, publisher } = scene;
  await scene.publishByOther("x".repeat(10), "y".repeat(11));
  assert.deepEqual(deps.received, ["x".repeat(10)]);
  assert.deepEqual(deps.reports, ["Redis failed: a message has 11 characters, at most 10 are taken"]);
  await scene.announce("z".repeat(11));
  assert.deepEqual(publisher.published, []);
  await scene.announce("z".repeat(10));
  assert.deepEqual(publisher.published, ["z".repeat(10)]);
}, { maxLength: 10 });

scene(
  "Relay takes in one message after the other, drops what is too much, and then invalidations again",
  async (scene) => {
    const { deps } = scene;
    await deps.clock.advance(1_000);
    let open = () => {};
    deps.gate = new Promise((resolve) => open = resolve);
    await scene.publishByOther(...Array.from({ length: 20_000 }, (_, i) => `${i}`));
    assert.deepEqual([deps.received.length, deps.invalidations], [0, 1]);
    open();
    await settle();
    assert.deepEqual(deps.received, Array.from({ length: 1_001 }, (_, i) => `${i}`));
    assert.equal(deps.invalidations, 2);
    await scene.publishByOther("next");
    assert.equal(deps.received.at(-1), "next");
  },
);

scene("Relay limits queued messages by their length as well", async (scene) => {
  const { deps } = scene;
  let open = () => {};
  deps.gate = new Promise((resolve) => open = resolve);
  await scene.publishByOther(
    ...Array.from({ length: 20 }, (_, i) => String.fromCharCode(65 + i).repeat(1_000)),
  );
  open();
  await settle();
  assert.equal(deps.received.length, 5);
}, { maxLength: 1_000 });

scene("Relay invalidates all keys after a message that it had to drop", async (scene) => {
  const { deps } = scene;
  await deps.clock.advance(1_000);
  await scene.publishByOther("unkept", "kept");
  assert.deepEqual([deps.received, deps.invalidations, deps.reports], [["kept"], 2, []]);
});

scene("Relay ignores other channels of the same client", async (scene) => {
  const { redis, subscriber, deps } = scene;
  if (subscriber instanceof FakeIORedis) await subscriber.subscribe("other");
  else await subscriber.subscribe("other", () => {});
  redis.publish("other", "not for us");
  await settle();
  assert.deepEqual(deps.received, []);
});

scene("Relay catches a composer that throws, and calls it again later", async (scene) => {
  const { deps, relay, publisher } = scene;
  const compose = deps.compose.bind(deps);
  deps.compose = () => Promise.reject(new Error("the storage is away"));
  relay.publish();
  await settle();
  deps.compose = compose;
  deps.pending.push("later");
  await deps.clock.advance(1_000);
  assert.deepEqual([publisher.published, deps.composed, deps.reports], [["later"], [true], []]);
});

scene("close() publishes updates of the same moment, and no later ones", async (scene) => {
  const { deps, relay, publisher } = scene;
  deps.compose = async () => {
    await settle();
    return "last";
  };
  relay.publish();
  const closed = relay.close();
  relay.publish();
  await closed;
  assert.deepEqual(publisher.published, ["last"]);
});

scene("close() removes all listeners, also while Redis does not answer", async (scene) => {
  const { redis, deps, relay, publisher, subscriber } = scene;
  redis.hold();
  await scene.announce("slow");
  const closed = relay.close();
  await deps.clock.advance(2_000);
  await closed;
  assert.equal(publisher.listenersInAll + subscriber.listenersInAll, 0);
  redis.release();
  await settle();
  relay.publish();
  relay.start();
  await scene.publishByOther("late");
  assert.deepEqual([deps.received, deps.reports, relay.healthy], [[], [], false]);
});

scene(
  "close() does not wait for a Redis that is away, and leaves no subscription when it comes back",
  async (scene) => {
    const { redis, relay, publisher, subscriber } = scene;
    redis.hold();
    await scene.announce("never answered");
    publisher.lose();
    subscriber.lose();
    await relay.close();
    subscriber.connect();
    redis.release();
    await settle();
    assert.equal(redis.subscribers(CHANNEL), 0);
  },
);

test("start() connects a client of ioredis that connects with its first command", async () => {
  const [redis, deps] = [new FakeRedis(), new RecordingDeps()];
  const [publisher, subscriber] = [FakeIORedis.lazy(redis), FakeIORedis.lazy(redis)];
  const relay = new Relay({ publisher, subscriber, channel: CHANNEL }, deps);
  assert.equal(publisher.listenersInAll, 0, "nothing happens before the first use");
  deps.pending.push("first");
  relay.publish();
  await settle();
  assert.deepEqual([redis.subscribers(CHANNEL), publisher.published], [1, ["first"]]);
  await relay.close();
});

test("close() of one relay leaves the subscription to the others on the same client of ioredis", async () => {
  const [redis, deps] = [new FakeRedis(), [new RecordingDeps(), new RecordingDeps()]];
  const [publisher, subscriber] = [new FakeIORedis(redis), new FakeIORedis(redis)];
  const [first, second] = deps.map((own) => new Relay({ publisher, subscriber, channel: CHANNEL }, own));
  first!.start();
  second!.start();
  await settle();
  await first!.close();
  redis.publish(CHANNEL, "still there");
  await settle();
  assert.deepEqual(deps.map((own) => own.received), [[], ["still there"]]);
  await second!.close();
  assert.equal(redis.subscribers(CHANNEL), 0);
});

test("close() leaves an application's own listener on the same channel of a client of node-redis", async () => {
  const [redis, deps] = [new FakeRedis(), new RecordingDeps()];
  const [publisher, subscriber] = [new FakeNodeRedis(redis), new FakeNodeRedis(redis)];
  const heard: string[] = [];
  await subscriber.subscribe(CHANNEL, (message) => heard.push(message));
  const relay = new Relay({ publisher, subscriber, channel: CHANNEL }, deps);
  relay.start();
  await settle();
  await relay.close();
  redis.publish(CHANNEL, "for the application");
  assert.deepEqual([heard, deps.received], [["for the application"], []]);
});
