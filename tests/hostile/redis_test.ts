/**
 * Hostile messages on Redis: a client with access to the channel publishes arbitrary messages.
 *
 * @module
 */
import assert from "node:assert/strict";
import fc from "fast-check";
import { SecretProof } from "../../src/mesh/secret_proof.ts";
import type { RealityNodeMeta } from "../../src/types.ts";
import { FakeClock, settle } from "../clock.ts";
import { test } from "../harness.ts";
import { FakeIORedis, FakeNodeRedis, FakeRedis } from "../src/redis/fake_redis.ts";
import { BODIES } from "./corpus.ts";
import { messages, texts } from "./inputs.ts";
import { HostileScene } from "./scene.ts";

const SECRET = "a secret of thirty-two characters";
const CHANNEL = "reality:updates";
const PEER = "http://b:3000";

/** What begins the keys that the tests themselves publish, to see that it came through. */
const OWN = "own:";

/** A server on a Redis, and what it did because of what was published there. */
interface Place {
  readonly scene: HostileScene;
  readonly redis: FakeRedis;
  readonly subscriber: FakeIORedis | FakeNodeRedis;
  readonly clock: FakeClock;
  readonly called: string[];
}

async function withRedis(secret: string | undefined, run: (place: Place) => Promise<void>): Promise<void> {
  for (const Client of [FakeIORedis, FakeNodeRedis]) {
    const [redis, clock] = [new FakeRedis(), new FakeClock()];
    const subscriber = new Client(redis);
    const called: string[] = [];
    const scene = await HostileScene.open({
      clock,
      redis: { publisher: new Client(redis), subscriber, channel: CHANNEL },
      meshPeers: [PEER],
      ...(secret === undefined ? {} : { meshSecret: secret }),
      mesh: {
        fetch(request) {
          called.push(request.url);
          return Promise.reject(new TypeError("connection refused"));
        },
      },
    });
    const sync = async (body: string) => {
      const answer = await scene.server.handleSync(JSON.parse(body));
      return { status: 200, body: JSON.stringify(answer) };
    };
    try {
      await settle();
      assert.equal(redis.subscribers(CHANNEL), 1);
      await run({ scene, redis, subscriber, clock, called });
      await scene.assertUnharmed(sync);
      assert.ok(called.every((url) => url.startsWith(PEER)), called.join());
      // Invalid messages are reported once, however many there were.
      const told = scene.reports.filter(({ code }) => code === "ERR_REALITY_RELAY");
      assert.ok(told.length <= 1, told.map(({ message }) => message).join());
    } finally {
      let isClosed = false;
      const closed = scene.close().finally(() => isClosed = true);
      // What is signed or checked meanwhile is so on a thread to which this clock means nothing.
      while (!isClosed) {
        await new Promise((resolve) => setTimeout(resolve, 1));
        await clock.advance(50);
      }
      await closed;
    }
  }
}

for (const [name, secret] of [["with a secret", SECRET], ["without a secret", undefined]] as const) {
  test(`a server ${name} survives every hostile message on Redis, and merges none`, async () => {
    await withRedis(secret, async (place) => {
      const { scene, redis, subscriber } = place;
      const before = await scene.storage.listChangedSince(0);
      for (const body of BODIES.values()) {
        redis.publish(CHANNEL, typeof body === "string" ? body : new TextDecoder().decode(body));
      }
      await settle();
      await fc.assert(
        fc.asyncProperty(fc.oneof(messages, texts, envelopes), async (text) => {
          redis.publish(CHANNEL, text);
          await settle();
        }),
        { numRuns: 200 },
      );
      // What a client that was set up otherwise hands over is no text.
      for (const odd of [new Uint8Array(8), null, undefined, {}, [], 7] as unknown as string[]) {
        subscriber.hear(CHANNEL, odd);
      }
      redis.publish(CHANNEL, "x".repeat(2_000_000));
      await settle();
      if (secret !== undefined) await letThrough(place);
      assert.deepEqual(await listOthers(place), before);
    });
  });

  test(`a server ${name} survives a flood of messages on Redis, and sends no more requests because of it`, async () => {
    await withRedis(secret, async ({ redis, called, scene }) => {
      await settle();
      const before = called.length;
      // They name an unknown storage, so that the server named in them would be asked.
      const message = JSON.stringify({
        id: "b",
        run: "r",
        origin: "elsewhere",
        epoch: "e",
        peers: {},
        seen: { x: 1 },
      });
      for (let i = 0; i < 5_000; i++) redis.publish(CHANNEL, `${message}${" ".repeat(i % 7)}`);
      await settle();
      const { changed } = await scene.server.handleSync({ known: { "never-there": 0 } });
      assert.deepEqual(Object.keys(changed), []);
      assert.ok(called.length - before <= 5, `${called.length - before} calls went out`);
    });
  });
}

test("a signed Redis message is invalid if it is altered, on another channel, or with another secret", async () => {
  await withRedis(SECRET, async (place) => {
    const { scene, redis, clock } = place;
    const proof = new SecretProof({ secrets: [SECRET], clock });
    const other = new SecretProof({ secrets: ["another secret, just as long as it"], clock });
    const signed = await proof.signBroadcast(CHANNEL, newsOf("forged"));
    const before = await scene.storage.listChangedSince(0);
    for (let i = 0; i < signed.length; i += 7) {
      redis.publish(CHANNEL, signed.slice(0, i) + (signed[i] === "a" ? "b" : "a") + signed.slice(i + 1));
    }
    redis.publish(CHANNEL, await proof.signBroadcast("another", newsOf("forged")));
    redis.publish(CHANNEL, await other.signBroadcast(CHANNEL, newsOf("forged")));
    redis.publish(CHANNEL, newsOf("forged"));
    await letThrough(place);
    assert.deepEqual(await listOthers(place), before);
  });
});

test("a signed Redis message that is repeated changes nothing", async () => {
  await withRedis(SECRET, async (place) => {
    const { redis, clock } = place;
    const signed = await new SecretProof({ secrets: [SECRET], clock }).signBroadcast(CHANNEL, newsOf("told"));
    redis.publish(CHANNEL, signed);
    await letThrough(place);
    const first = await listOthers(place);
    assert.equal(first.find(({ key }) => key === "told")?.hash, "1");
    for (let i = 0; i < 50; i++) redis.publish(CHANNEL, signed);
    await letThrough(place);
    assert.deepEqual(await listOthers(place), first);
  });
});

/** Settles when all that was published has been looked at: one after the other, and proofs on another thread. */
async function letThrough({ scene, redis, clock }: Place): Promise<void> {
  const key = OWN + crypto.randomUUID();
  const signed = await new SecretProof({ secrets: [SECRET], clock }).signBroadcast(CHANNEL, newsOf(key, key));
  redis.publish(CHANNEL, signed);
  while (await scene.storage.getNode(key) === null) await new Promise((resolve) => setTimeout(resolve, 5));
}

/** The history without what {@linkcode letThrough} has published. */
async function listOthers({ scene }: Place): Promise<RealityNodeMeta[]> {
  return (await scene.storage.listChangedSince(0)).filter(({ key }) => !key.startsWith(OWN));
}

/** Envelopes as they are signed for Redis, with anything in them. */
const envelopes: fc.Arbitrary<string> = fc.record({
  form: fc.constantFrom<unknown>(1, 1, 1, 2, "1", null),
  message: fc.oneof(messages, fc.constantFrom<unknown>(null, 7, {}, [])),
  proofs: fc.constantFrom<unknown>(
    ["x".repeat(43)],
    [],
    null,
    "x".repeat(43),
    [[["x"]]],
    Array(100).fill("x".repeat(43)),
  ),
}, { requiredKeys: [] }).map((envelope) => JSON.stringify(envelope));

function newsOf(key: string, origin: string = "peer-storage"): string {
  const stamp = 1_000;
  return JSON.stringify({
    id: "b",
    run: "run-b",
    origin,
    epoch: "zz",
    peers: {},
    seen: { [origin]: stamp },
    swept: {},
    delta: {
      base: {},
      full: false,
      after: null,
      next: null,
      nodes: [{ key, version: stamp, hash: "1", updatedAt: 1, origin }],
    },
  });
}
