/**
 * The relay on a real Redis, with the real clients of both libraries in every version.
 *
 * @module
 */
import assert from "node:assert/strict";
import { Redis } from "ioredis";
import { test } from "../harness.ts";
import { testOnEngine } from "../storage/engines.ts";
import { episodes, newChannel, Party, sharedRedis } from "./kit.ts";
import { libraries } from "./libraries.ts";

const url = sharedRedis();
/** Each library receives what the others publish. */
const counterpart = libraries[0]!;
const LIMIT = 1_048_576;

for (const library of libraries) {
  // The others have timers of their own that outlive a connection.
  const register = library === counterpart ? test : testOnEngine;
  const scene = (name: string, play: (a: Party, b: Party, channel: string) => Promise<void>) => {
    register(`${name}, with ${library.name}`, async () => {
      const channel = newChannel();
      const a = await Party.create(library, url, channel);
      const b = await Party.create(counterpart, url, channel);
      try {
        await play(await a.connect(), await b.connect(), channel);
      } finally {
        await a.end();
        await b.end();
      }
    });
  };

  scene("messages are delivered in both directions, and none to its own sender", async (a, b) => {
    a.tell("from a ☂ 🌧");
    await b.hears("from a ☂ 🌧");
    b.tell("from b");
    await a.hears("from b");
    assert.deepEqual([a.received, b.received], [["from b"], ["from a ☂ 🌧"]]);
    assert.deepEqual([a.reports, b.reports], [[], []]);
  });

  scene("announcements of one moment are one message", async (a, b) => {
    for (let i = 0; i < 1_000; i++) a.tell("x");
    await b.until(() => b.received.length > 0, "what was told");
    assert.equal(b.received[0]?.length, 1_999);
  });

  scene("a subscription that Redis ends is made again, and all keys are invalidated", async (a, b) => {
    const looks = a.looks;
    await withAdmin((admin) => admin.call("CLIENT", "KILL", "ID", `${a.connection}`));
    await a.until(() => a.looks > looks && a.reports.length === 2, "a new subscription");
    b.tell("after");
    await a.hears("after");
    assert.equal(episodes(a), "down up");
    assert.equal(a.relay.healthy, true);
  });

  scene(
    "a flood of invalid messages is reported once, and valid ones are still delivered",
    async (a, b, channel) => {
      await withAdmin(async (admin) => {
        const pipeline = admin.pipeline();
        for (let i = 0; i < 20_000; i++) pipeline.publish(channel, `garbage ${i}`);
        await pipeline.exec();
      });
      // A message is delivered, or all keys are invalidated after it. During the flood it may be the latter.
      for (let i = 0; a.received.length === 0; i++) {
        const looks = a.looks;
        b.tell(`message ${i}`);
        await a.until(() => a.received.length > 0 || a.looks > looks, "the message, or a look at everything");
      }
      assert.equal(episodes(a), "down");
      assert.equal(a.relay.healthy, true);
      assert.ok(a.relay.refused > 0 && a.relay.refused <= 20_000);
    },
  );

  scene(
    "a message above the length limit is dropped, and one at the limit is delivered",
    async (a, b, channel) => {
      await withAdmin(async (admin) => {
        await admin.publish(channel, "x".repeat(8 * LIMIT));
        await admin.publish(channel, "y".repeat(LIMIT));
      });
      await a.hears("y".repeat(LIMIT));
      await b.hears("y".repeat(LIMIT));
      assert.match(
        a.reports[0]?.message ?? "",
        /a message has 8388608 characters, at most 1048576 are taken$/,
      );
      assert.deepEqual([a.received.length, a.relay.refused, episodes(a)], [1, 1, "down"]);
    },
  );

  register(`close() leaves clients as they were, and usable, with ${library.name}`, async () => {
    const channel = newChannel();
    const party = await Party.create(library, url, channel);
    const { publisher, subscriber } = party.clients;
    const listeners = () =>
      [publisher, subscriber].map((client) =>
        client.eventNames().map((event) => [String(event), client.listenerCount(event)]).sort()
      );
    try {
      await party.clients.connect();
      const before = listeners();
      await party.listen();
      assert.notDeepEqual(listeners(), before);
      await party.relay.close();
      assert.deepEqual(listeners(), before);
      await publisher.set(channel, "still here");
      // As bytes where node-redis 5 once had a subscription.
      assert.equal(`${await subscriber.get(channel)}`, "still here");
      await withAdmin(async (admin) => {
        assert.deepEqual(await admin.call("PUBSUB", "NUMSUB", channel), [channel, 0]);
        await admin.del(channel);
      });
    } finally {
      await party.end();
    }
  });

  register(`clients that connect late are used from then on, with ${library.name}`, async () => {
    const channel = newChannel();
    // Its patience ends ten times as soon.
    const late = await Party.create(library, url, channel, 10);
    const other = await Party.create(counterpart, url, channel);
    try {
      await other.connect();
      if (library.name.startsWith("node")) {
        late.tell("kept until then");
        await late.until(() => late.reports.length === 1, "the report that it is not connected");
      }
      await late.clients.connect();
      await late.listen();
      other.tell("hello");
      await late.hears("hello");
      late.tell("hello back");
      await other.until(() => other.received.join().includes("hello back"), "the answer");
    } finally {
      await late.end();
      await other.end();
    }
  });
}

test("a client of ioredis that connects at its first command connects when the relay starts", async () => {
  const channel = newChannel();
  const lazy = await Party.create(counterpart, url, channel);
  const other = await Party.create(counterpart, url, channel);
  try {
    await other.connect();
    lazy.tell("first");
    await other.hears("first");
    await lazy.until(() => lazy.relay.healthy, "a subscription");
    other.tell("second");
    await lazy.hears("second");
    assert.deepEqual(lazy.reports, []);
  } finally {
    await lazy.end();
    await other.end();
  }
});

async function withAdmin(play: (admin: Redis) => Promise<unknown>): Promise<void> {
  const admin = new Redis(url);
  try {
    await play(admin);
  } finally {
    const ended = new Promise<void>((resolve) => admin.once("end", resolve));
    admin.disconnect();
    await ended;
  }
}
