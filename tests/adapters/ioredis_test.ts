import assert from "node:assert/strict";
import { connectRedis, type ConnectRedisOptions } from "../../adapters/ioredis.ts";
import { MemoryStorage, RealityServer } from "../../mod.ts";
import { checkOptions } from "../../src/check_options.ts";
import { test } from "../harness.ts";
import { soon } from "../http/client.ts";
import { newChannel, sharedRedis } from "../redis/kit.ts";
import { redisRecipe } from "../run/redis.ts";
import { PrivateServer } from "../run/server.ts";
import { testOnEngine } from "../storage/engines.ts";

const url = sharedRedis();

test("connectRedis() returns two open connections, and closes both", async () => {
  const connection = await connectRedis(url);
  const { publisher, subscriber } = connection;
  assert.deepEqual([publisher.status, subscriber.status], ["ready", "ready"]);
  const channel = newChannel();
  const heard = new Promise((resolve) => subscriber.on("message", (...message) => resolve(message)));
  await subscriber.subscribe(channel);
  await publisher.publish(channel, "hello");
  assert.deepEqual(await heard, [channel, "hello"]);
  await connection.close();
  assert.deepEqual([publisher.status, subscriber.status], ["end", "end"]);
  await connection.close();
});

test("connectRedis() returns a value for the server option, also with a channel", async () => {
  const connection = await connectRedis(url);
  try {
    const storage = new MemoryStorage();
    await new RealityServer({ storage, redis: connection }).close();
    const redis = { ...connection, channel: "mine" };
    assert.deepEqual(checkOptions({ storage, redis }).redis, redis);
    assert.equal(connection.publisher.status, "ready");
  } finally {
    await connection.close();
  }
});

test("connectRedis() waits a short time for an unreachable Redis, and uses it once it is connected", async () => {
  const server = await PrivateServer.start(redisRecipe());
  await server.crash();
  const connection = await connectRedis(server.address, { connectTimeout: 50 });
  const { publisher, subscriber } = connection;
  try {
    assert.ok(publisher.status !== "ready" && subscriber.status !== "ready");
    const ready = [publisher, subscriber].map((client) =>
      new Promise<void>((resolve) => client.on("ready", () => resolve()))
    );
    await server.restart();
    await Promise.all(ready);
    assert.equal(await publisher.publish(newChannel(), "hello"), 0);
  } finally {
    await connection.close();
    await server.stop();
  }
});

testOnEngine("close() of a connection ends also while Redis is away", async () => {
  const server = await PrivateServer.start(redisRecipe());
  const connection = await connectRedis(server.address);
  const { publisher, subscriber } = connection;
  const lost = [publisher, subscriber].map((client) =>
    new Promise<void>((resolve) => client.on("reconnecting", () => resolve()))
  );
  await server.stop();
  await Promise.all(lost);
  await soon(connection.close(), "the end");
});

test("connectRedis() does not wait with connectTimeout 0", async () => {
  const connection = await connectRedis(url, { connectTimeout: 0 });
  await connection.close();
});

test("connectRedis() refuses an invalid address without printing it, and wrong options", async () => {
  for (
    const wrong of ["localhost:6379", "http://me:secret@localhost", "redis://me:secret@[x", "", undefined]
  ) {
    await assert.rejects(connectRedis(wrong as string), (error: Error) => {
      assert.equal(error.name, "TypeError");
      assert.match(error.message, /^Cannot connect to Redis: expected an address such as redis:/);
      return !error.message.includes("secret");
    });
  }
  const cases: [unknown, string, RegExp][] = [
    [
      { connecttimeout: 1 },
      "TypeError",
      /Unknown option "connecttimeout" of connectRedis: known is connectTimeout/,
    ],
    [{ connectTimeout: "1" }, "TypeError", /"connectTimeout" is wrong: expected an integer/],
    [{ connectTimeout: -1 }, "RangeError", /"connectTimeout" is out of range: expected 0 to 600000, got -1/],
  ];
  for (const [options, name, message] of cases) {
    await assert.rejects(connectRedis(url, options as ConnectRedisOptions), { name, message });
  }
});
