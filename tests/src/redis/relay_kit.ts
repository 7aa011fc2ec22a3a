/**
 * A relay on a fake Redis, for tests.
 *
 * @module
 */
import assert from "node:assert/strict";
import type { RelayError } from "../../../src/errors.ts";
import { Relay, type RelayDeps, type RelayOptions } from "../../../src/redis/relay.ts";
import { FakeClock, settle } from "../../clock.ts";
import { test } from "../../harness.ts";
import { FakeIORedis, FakeNodeRedis, FakeRedis } from "./fake_redis.ts";

export const CHANNEL = "reality:updates";

/** A relay with the objects around it, for tests. */
export class RecordingDeps implements RelayDeps {
  readonly clock: FakeClock = new FakeClock();
  /** The pending messages. Each is composed once. */
  readonly pending: string[] = [];
  readonly composed: boolean[] = [];
  readonly received: string[] = [];
  readonly reports: string[] = [];
  invalidations = 0;
  /** While it is set, received messages wait. */
  gate: Promise<void> | undefined;

  compose(missed: boolean): Promise<string | null> {
    this.composed.push(missed);
    const text = this.pending.length > 0 ? this.pending.splice(0).join("+") : null;
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
    this.invalidations++;
  }

  report(error: RelayError): void {
    assert.equal(error.code, "ERR_REALITY_RELAY");
    this.reports.push(error.recovered ? "well" : error.message);
  }
}

export type Client = FakeIORedis | FakeNodeRedis;

export interface Scene {
  redis: FakeRedis;
  deps: RecordingDeps;
  publisher: Client;
  subscriber: Client;
  relay: Relay;
  /** Announces pending messages, and waits until they are published. */
  announce(text: string): Promise<void>;
  /** Another server publishes, and the message is delivered. */
  publishByOther(...texts: string[]): Promise<void>;
}

/** Registers a test for the clients of either library. */
export function scene(
  name: string,
  play: (scene: Scene) => Promise<void>,
  options: Partial<RelayOptions> & { connected?: boolean } = {},
): void {
  for (const Client of [FakeIORedis, FakeNodeRedis]) {
    test(`${name}, with ${Client === FakeIORedis ? "ioredis" : "node-redis"}`, async () => {
      const { connected = true, ...rest } = options;
      const [redis, deps] = [new FakeRedis(), new RecordingDeps()];
      const [publisher, subscriber] = [new Client(redis, connected), new Client(redis, connected)];
      const relay = new Relay({ publisher, subscriber, channel: CHANNEL, ...rest }, deps);
      const announce = async (text: string) => {
        deps.pending.push(text);
        relay.publish();
        await settle();
      };
      const publishByOther = async (...texts: string[]) => {
        for (const text of texts) redis.publish(CHANNEL, text);
        await settle();
      };
      relay.start();
      await settle();
      await play({ redis, deps, publisher, subscriber, relay, announce, publishByOther });
      redis.release();
      await relay.close();
      assert.equal(deps.clock.timers, 0, "timers that the relay left");
      assert.deepEqual([publisher.listenersInAll, subscriber.listenersInAll], [0, 0]);
      assert.equal(redis.subscribers(CHANNEL), 0);
    });
  }
}
