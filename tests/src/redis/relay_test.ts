import assert from "node:assert/strict";
import type { RelayError } from "../../../src/errors.ts";
import { Relay, type RelayDeps, type RelayOptions } from "../../../src/redis/relay.ts";
import { FakeClock, settle } from "../../clock.ts";
import { test } from "../../harness.ts";
import { FakeIORedis, FakeNodeRedis, FakeRedis } from "./fake_redis.ts";

const CHANNEL = "reality:updates";

/** A relay with the objects around it, for tests. */
class Rooms implements RelayDeps {
  readonly clock = new FakeClock();
  /** The pending messages. Each is composed once. */
  readonly owed: string[] = [];
  readonly composed: boolean[] = [];
  readonly received: string[] = [];
  readonly reports: string[] = [];
  looks = 0;
  /** While it is set, received messages wait. */
  gate: Promise<void> | undefined;

  compose(missed: boolean): Promise<string | null> {
    this.composed.push(missed);
    const text = this.owed.length > 0 ? this.owed.splice(0).join("+") : null;
    return Promise.resolve(text);
  }

  async receive(text: string): Promise<boolean> {
    await this.gate;
    if (text === "unkept") throw new Error("the storage is away");
    if (text.startsWith("bad")) return false;
    this.received.push(text);
    return true;
  }

  onMissed(): void {
    this.looks++;
  }

  report(error: RelayError): void {
    assert.equal(error.code, "ERR_REALITY_RELAY");
    this.reports.push(error.recovered ? "well" : error.message);
  }
}

type Client = FakeIORedis | FakeNodeRedis;

interface Scene {
  redis: FakeRedis;
  deps: Rooms;
  publisher: Client;
  subscriber: Client;
  relay: Relay;
  /** Announces pending messages, and waits until they are published. */
  tell(text: string): Promise<void>;
  /** Another server publishes, and the message is delivered. */
  hear(...texts: string[]): Promise<void>;
}

/** Registers a test for the clients of either library. */
function scene(
  name: string,
  play: (scene: Scene) => Promise<void>,
  options: Partial<RelayOptions> & { connected?: boolean } = {},
): void {
  for (const Client of [FakeIORedis, FakeNodeRedis]) {
    test(`${name}, with ${Client === FakeIORedis ? "ioredis" : "node-redis"}`, async () => {
      const { connected = true, ...rest } = options;
      const [redis, deps] = [new FakeRedis(), new Rooms()];
      const [publisher, subscriber] = [new Client(redis, connected), new Client(redis, connected)];
      const relay = new Relay({ publisher, subscriber, channel: CHANNEL, ...rest }, deps);
      const tell = async (text: string) => {
        deps.owed.push(text);
        relay.publish();
        await settle();
      };
      const hear = async (...texts: string[]) => {
        for (const text of texts) redis.publish(CHANNEL, text);
        await settle();
      };
      relay.start();
      await settle();
      await play({ redis, deps, publisher, subscriber, relay, tell, hear });
      redis.release();
      await relay.close();
      assert.equal(deps.clock.timers, 0, "timers that the relay left");
      assert.deepEqual([publisher.listenersInAll, subscriber.listenersInAll], [0, 0]);
      assert.equal(redis.subscribers(CHANNEL), 0);
    });
  }
}

scene("Relay publishes pending updates, and delivers messages of others", async (scene) => {
  assert.equal(scene.relay.healthy, true);
  await scene.tell("ours");
  await scene.hear("theirs");
  assert.deepEqual(scene.publisher.published, ["ours"]);
  assert.deepEqual(scene.deps.received, ["theirs"]);
  assert.deepEqual(scene.deps.reports, []);
});

scene(
  "Relay drops its own messages at the door, and takes the same text for another's later",
  async (scene) => {
    await scene.tell("ours");
    assert.deepEqual(scene.deps.received, []);
    await scene.hear("ours");
    assert.deepEqual(scene.deps.received, ["ours"]);
  },
);

scene(
  "publish() joins the news of one moment, and what comes while a message is under way",
  async (scene) => {
    const { redis, deps, relay, publisher } = scene;
    redis.hold();
    deps.owed.push("a");
    relay.publish();
    deps.owed.push("b");
    relay.publish();
    await settle();
    for (const text of ["c", "d", "e"]) await scene.tell(text);
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

scene("Relay sends no command to clients that are not connected, and works once they are", async (scene) => {
  const { redis, deps, relay, publisher, subscriber } = scene;
  await scene.tell("a");
  await scene.tell("b");
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
  assert.deepEqual([deps.reports.slice(1), deps.looks, relay.healthy], [["well"], 1, true]);
}, { connected: false });

scene(
  "Relay queues nothing while Redis is unreachable, and publishes pending updates afterwards",
  async (scene) => {
    const { deps, relay, publisher, subscriber } = scene;
    await scene.tell("before");
    const error = new Error("connection reset");
    publisher.lose(error);
    subscriber.lose(error);
    publisher.emit("error", new Error("connection refused"));
    subscriber.emit("error", new Error("connection refused"));
    assert.deepEqual([deps.reports, relay.healthy], [["Redis failed: connection reset"], false]);
    for (let i = 0; i < 1_000; i++) relay.publish();
    deps.owed.push("after");
    await settle();
    assert.deepEqual([publisher.published, deps.composed], [["before"], [false]]);
    publisher.connect();
    await settle();
    assert.deepEqual(deps.reports.length, 1, "one of two connections is not yet well");
    await deps.clock.advance(1_000);
    subscriber.connect();
    await settle();
    assert.deepEqual([publisher.published, deps.composed], [["before", "after"], [false, true]]);
    assert.deepEqual([deps.reports.slice(1), deps.looks, relay.healthy], [["well"], 2, true]);
    await scene.hear("theirs");
    assert.deepEqual(deps.received, ["theirs"]);
  },
);

scene("Relay composes a new message if the connection is lost during a publish", async (scene) => {
  const { redis, deps, publisher } = scene;
  redis.hold();
  await scene.tell("lost");
  publisher.lose();
  redis.release();
  deps.owed.push("again");
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
  assert.equal(deps.looks, 2);
  await deps.clock.advance(1_000);
  assert.equal(deps.looks, 3);
  await deps.clock.advance(60_000);
  assert.equal(deps.looks, 3);
});

scene(
  "Relay calls a Redis down that does not answer in two seconds, and well when it does",
  async (scene) => {
    const { redis, deps, relay, publisher } = scene;
    redis.hold();
    await scene.tell("slow");
    await deps.clock.advance(1_999);
    assert.deepEqual(deps.reports, []);
    await deps.clock.advance(1);
    assert.deepEqual(deps.reports, ["Redis failed: no answer to the publisher in 2000 ms"]);
    await scene.tell("next");
    await scene.tell("last");
    assert.deepEqual(publisher.published, ["slow"]);
    redis.release();
    await settle();
    assert.deepEqual(publisher.published, ["slow", "next+last"]);
    assert.deepEqual([deps.reports.slice(1), relay.healthy], [["well"], true]);
  },
);

scene("Relay publishes and subscribes again if an answer of Redis is lost", async (scene) => {
  const { redis, deps, relay, subscriber } = scene;
  redis.hold();
  await scene.tell("lost");
  subscriber.lose();
  if (subscriber instanceof FakeNodeRedis) subscriber.channels.clear();
  subscriber.connect();
  await deps.clock.advance(3_000);
  assert.equal(relay.healthy, false);
  redis.loseHeld();
  deps.owed.push("again");
  await deps.clock.advance(30_000);
  assert.equal(relay.healthy, true);
  await scene.tell("next");
  await scene.hear("theirs");
  assert.deepEqual(deps.received, ["theirs"]);
  assert.match(scene.publisher.published.join(), /next/);
});

scene("Relay retries with growing pauses if Redis refuses a command", async (scene) => {
  const { redis, deps, publisher } = scene;
  redis.refusal = new Error("NOPERM this user has no permissions");
  await scene.tell("a");
  assert.deepEqual(deps.reports, ["Redis failed: NOPERM this user has no permissions"]);
  await scene.tell("b");
  assert.equal(publisher.published.length, 1, "news does not hurry it");
  for (const pause of [500, 1_000, 2_000]) {
    const before = deps.composed.length;
    await deps.clock.advance(pause - 1);
    assert.equal(deps.composed.length, before);
    deps.owed.push("again");
    await deps.clock.advance(1);
    assert.equal(deps.composed.length, before + 1);
  }
  assert.deepEqual(deps.composed, [false, true, true, true]);
  redis.refusal = undefined;
  deps.owed.push("at last");
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
  await scene.hear("theirs");
  assert.deepEqual(deps.received, ["theirs"]);
});

scene(
  "Relay reports a subscriber that does not receive its own publications, until it does",
  async (scene) => {
    const { redis, deps, relay } = scene;
    await deps.clock.advance(1_000);
    redis.mute = true;
    await scene.tell("into the void");
    await deps.clock.advance(2_000);
    assert.deepEqual(deps.reports, [
      "Redis failed: the subscriber has not heard in 2000 ms what was published",
    ]);
    await scene.tell("once more");
    await deps.clock.advance(10_000);
    assert.deepEqual([deps.reports.length, relay.healthy], [1, false]);
    redis.mute = false;
    const looks = deps.looks;
    await scene.tell("heard");
    assert.deepEqual([deps.reports.slice(1), deps.looks, relay.healthy], [["well"], looks + 1, true]);
    await deps.clock.advance(10_000);
    assert.equal(deps.reports.length, 2);
  },
);

scene("Relay reports invalid messages once, and their end after a minute without one", async (scene) => {
  const { deps, relay } = scene;
  await scene.hear(...Array.from({ length: 50 }, (_, i) => `bad ${i}`), "good");
  await deps.clock.advance(59_999);
  await scene.hear("bad", "x".repeat(101));
  await deps.clock.advance(59_999);
  assert.deepEqual(deps.reports, ["Redis failed: a message cannot be read, or is not proven"]);
  assert.deepEqual([relay.healthy, relay.refused, deps.received], [true, 52, ["good"]]);
  await deps.clock.advance(1);
  assert.deepEqual(deps.reports.slice(1), ["well"]);
  await scene.hear("bad");
  assert.equal(deps.reports.length, 3);
}, { maxLength: 100 });

scene("Relay neither delivers nor publishes a message that is too long", async (scene) => {
  const { deps, publisher } = scene;
  await scene.hear("x".repeat(10), "y".repeat(11));
  assert.deepEqual(deps.received, ["x".repeat(10)]);
  assert.deepEqual(deps.reports, ["Redis failed: a message has 11 characters, at most 10 are taken"]);
  await scene.tell("z".repeat(11));
  assert.deepEqual(publisher.published, []);
  await scene.tell("z".repeat(10));
  assert.deepEqual(publisher.published, ["z".repeat(10)]);
}, { maxLength: 10 });

scene(
  "Relay takes in one message after the other, drops what is too much, and then looks again",
  async (scene) => {
    const { deps } = scene;
    await deps.clock.advance(1_000);
    let open = () => {};
    deps.gate = new Promise((resolve) => open = resolve);
    await scene.hear(...Array.from({ length: 20_000 }, (_, i) => `${i}`));
    assert.deepEqual([deps.received.length, deps.looks], [0, 1]);
    open();
    await settle();
    assert.deepEqual(deps.received, Array.from({ length: 1_001 }, (_, i) => `${i}`));
    assert.equal(deps.looks, 2);
    await scene.hear("next");
    assert.equal(deps.received.at(-1), "next");
  },
);

scene("Relay limits queued messages by their length as well", async (scene) => {
  const { deps } = scene;
  let open = () => {};
  deps.gate = new Promise((resolve) => open = resolve);
  await scene.hear(...Array.from({ length: 20 }, (_, i) => String.fromCharCode(65 + i).repeat(1_000)));
  open();
  await settle();
  assert.equal(deps.received.length, 5);
}, { maxLength: 1_000 });

scene("Relay invalidates all keys after a message that it had to drop", async (scene) => {
  const { deps } = scene;
  await deps.clock.advance(1_000);
  await scene.hear("unkept", "kept");
  assert.deepEqual([deps.received, deps.looks, deps.reports], [["kept"], 2, []]);
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
  deps.owed.push("later");
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
  await scene.tell("slow");
  const closed = relay.close();
  await deps.clock.advance(2_000);
  await closed;
  assert.equal(publisher.listenersInAll + subscriber.listenersInAll, 0);
  redis.release();
  await settle();
  relay.publish();
  relay.start();
  await scene.hear("late");
  assert.deepEqual([deps.received, deps.reports, relay.healthy], [[], [], false]);
});

scene(
  "close() does not wait for a Redis that is away, and leaves no subscription when it comes back",
  async (scene) => {
    const { redis, relay, publisher, subscriber } = scene;
    redis.hold();
    await scene.tell("never answered");
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
  const [redis, deps] = [new FakeRedis(), new Rooms()];
  const [publisher, subscriber] = [FakeIORedis.lazy(redis), FakeIORedis.lazy(redis)];
  const relay = new Relay({ publisher, subscriber, channel: CHANNEL }, deps);
  assert.equal(publisher.listenersInAll, 0, "nothing happens before the first use");
  deps.owed.push("first");
  relay.publish();
  await settle();
  assert.deepEqual([redis.subscribers(CHANNEL), publisher.published], [1, ["first"]]);
  await relay.close();
});

test("close() of one relay leaves the subscription to the others on the same client of ioredis", async () => {
  const [redis, deps] = [new FakeRedis(), [new Rooms(), new Rooms()]];
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
  const [redis, deps] = [new FakeRedis(), new Rooms()];
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
