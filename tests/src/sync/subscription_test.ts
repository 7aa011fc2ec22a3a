import { deepEqual, equal } from "node:assert/strict";
import type { ChangeListener } from "../../../src/store/contract.ts";
import { settle } from "../../clock.ts";
import { test } from "../../harness.ts";
import { setUp, SharedStorage } from "./change_poller_kit.ts";

/** A storage whose subscriptions behave as a test says. */
class TroubledStorage extends SharedStorage {
  attempts = 0;
  ended = 0;
  listener: ChangeListener | undefined;
  onSubscribe: () => Promise<void> | void = () => {};
  onUnsubscribe: () => Promise<void> | void = () => {};

  subscribe(listener: ChangeListener): Promise<() => Promise<void>> {
    this.attempts++;
    const end = async () => {
      this.ended++;
      await this.onUnsubscribe();
    };
    // An exception here is thrown by the call itself.
    const subscribed = this.onSubscribe();
    return Promise.resolve(subscribed).then(() => {
      this.listener = listener;
      return end;
    });
  }
}

const never = () => new Promise<void>(() => {});

test("a subscription that fails or throws is retried with growing delays while a client waits", async () => {
  const { clock, server, storage, wait, errors } = setUp(new TroubledStorage());
  storage.onSubscribe = () => {
    throw new Error("no LISTEN here");
  };
  const sync = wait({ a: 0 });
  await settle();
  equal(storage.attempts, 1);
  await clock.advance(500);
  equal(storage.attempts, 2);
  storage.onSubscribe = () => Promise.reject(new Error("no LISTEN here"));
  await clock.advance(1_000);
  equal(storage.attempts, 3);
  await clock.advance(2_000);
  equal(storage.attempts, 4);
  storage.onSubscribe = () => {};
  await clock.advance(4_000);
  equal(storage.attempts, 5);
  equal(sync.answer, undefined);
  equal(errors.filter((message) => /LISTEN/.test(message)).length, 1);
  // From now on announcements wake waiters, and polls are rare.
  await clock.advance(10_000);
  await storage.changeElsewhere("a");
  storage.listener?.(["a"]);
  await settle();
  deepEqual(sync.answer, { a: 1 });
  await server.close();
  equal(storage.ended, 1);
  equal(clock.timers, 0);
});

test("a failed subscription is not retried when no client waits any more", async () => {
  const { clock, server, storage, wait } = setUp(new TroubledStorage());
  storage.onSubscribe = () => Promise.reject(new Error("no"));
  const client = new AbortController();
  wait({ a: 0 }, client.signal);
  await clock.advance(1_000);
  client.abort();
  await clock.advance(1_000);
  const { attempts } = storage;
  await clock.advance(120_000);
  equal(storage.attempts, attempts);
  equal(clock.timers, 0);
  await server.close();
});

test("a subscription that is not established in time is given up, and ended once it is established", async () => {
  const { clock, server, storage, wait } = setUp(new TroubledStorage());
  let arrive = () => {};
  storage.onSubscribe = () => new Promise((resolve) => arrive = resolve);
  wait({ a: 0 });
  await clock.advance(10_000);
  equal(storage.attempts, 1);
  storage.onSubscribe = () => {};
  await clock.advance(500);
  equal(storage.attempts, 2);
  equal(storage.ended, 0);
  arrive();
  await settle();
  equal(storage.ended, 1);
  await server.close();
  equal(storage.ended, 2);
});

test("an unsubscribe that rejects is ignored, and close() does not wait for one that hangs", async () => {
  for (const onUnsubscribe of [() => Promise.reject(new Error("no")), never]) {
    const { clock, server, storage, wait, errors } = setUp(new TroubledStorage());
    storage.onUnsubscribe = onUnsubscribe;
    const client = new AbortController();
    wait({ a: 0 }, client.signal);
    await settle();
    client.abort();
    await clock.advance(10_100);
    equal(storage.ended, 1);
    equal(errors.length, 1);
    const sync = wait({ a: 0 });
    await settle();
    await storage.changeElsewhere("a");
    await clock.advance(600);
    deepEqual(sync.answer, { a: 1 });
    let isClosed = false;
    void server.close().then(() => isClosed = true);
    await clock.advance(10_000);
    equal(isClosed, true);
    equal(clock.timers, 0);
  }
});
