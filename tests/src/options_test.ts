import { equal, throws } from "node:assert/strict";
import { MemoryStorage, RealityServer, type RealityServerOptions } from "../../mod.ts";
import { checkOptions } from "../../src/options.ts";
import { test } from "../harness.ts";

const storage = new MemoryStorage();

function refused(options: unknown, name: string, message: RegExp): void {
  throws(() => new RealityServer(options as RealityServerOptions), { name, message });
}

test("RealityServer says what to write when storage is left out", () => {
  refused({}, "TypeError", /"storage" is missing: write `storage: new MemoryStorage\(\)`/);
  refused(undefined, "TypeError", /expected an object, got nothing/);
});

test("RealityServer names the method that a storage lacks", () => {
  refused({ storage: { getNode() {} } }, "TypeError", /no method "setNode"/);
});

test("RealityServer names an unknown option, at the top and in limits", () => {
  refused(
    { storage, serverID: "a" },
    "TypeError",
    /Unknown option "serverID" of RealityServer: known are storage/,
  );
  refused({ storage, limits: { maxkeys: 1 } }, "TypeError", /Unknown option "maxkeys" of limits/);
});

test("RealityServer names a wrong option", () => {
  refused({ storage, serverId: 7 }, "TypeError", /"serverId" is wrong: expected a string, got the number 7/);
  refused({ storage, serverId: "" }, "RangeError", /"serverId" is out of range/);
  refused({ storage, onError: true }, "TypeError", /"onError" is wrong/);
  refused({ storage, writeTokens: "secret" }, "TypeError", /"writeTokens" is wrong: expected an array/);
  refused({ storage, writeTokens: ["short"] }, "RangeError", /"writeTokens" is out of range/);
  refused({ storage, authorizeWrite: {} }, "TypeError", /"authorizeWrite" is wrong/);
  refused({ storage, storageTimeout: 0 }, "RangeError", /"storageTimeout" is out of range/);
  refused(
    { storage, limits: { maxKeyBytes: 513 } },
    "RangeError",
    /"maxKeyBytes" is out of range: expected 1 to 512/,
  );
  refused({ storage, limits: { maxWait: 1.5 } }, "TypeError", /"maxWait" is wrong: expected an integer/);
  refused({ storage, clock: {} }, "TypeError", /"clock" is wrong/);
});

test("RealityServer does not pretend to have peers yet", () => {
  refused({ storage, meshPeers: ["http://server-2:3000"] }, "TypeError", /"meshPeers" is not supported yet/);
  new RealityServer({ storage, meshPeers: [], redis: undefined });
});

test("RealityServer says what is wrong with its Redis clients", () => {
  const connection = { on() {}, off() {} };
  const publisher = { ...connection, publish() {} };
  const subscriber = { ...connection, subscribe() {}, unsubscribe() {} };
  const cases: [unknown, string, RegExp][] = [
    ["redis://localhost", "TypeError", /options of redis: expected an object, got a string/],
    [{}, "TypeError", /"redis.publisher" is wrong: expected a client of ioredis or node-redis, got nothing/],
    [{ publisher: subscriber, subscriber }, "TypeError", /"redis.publisher" .* no method "publish"$/],
    [{ publisher, subscriber: publisher }, "TypeError", /"redis.subscriber" .* no method "subscribe"$/],
    [{ publisher: { publish() {} }, subscriber }, "TypeError", /"redis.publisher" .* no method "on"$/],
    [{ publisher, subscriber, url: "" }, "TypeError", /Unknown option "url" of redis/],
    [{ publisher, subscriber, channel: 1 }, "TypeError", /"redis.channel" is wrong: expected a string/],
    [{ publisher, subscriber, channel: "" }, "RangeError", /"redis.channel" .* 1 to 512 characters, got 0$/],
    [{ publisher, subscriber, channel: "x".repeat(513) }, "RangeError", /"redis.channel" .* got 513$/],
  ];
  for (const [redis, name, message] of cases) refused({ storage, redis }, name, message);
});

test("RealityServer refuses to publish and subscribe by the same Redis client", () => {
  const client = { on() {}, off() {}, publish() {}, subscribe() {}, unsubscribe() {} };
  refused(
    { storage, redis: { publisher: client, subscriber: client } },
    "TypeError",
    /publisher and subscriber are one client; a connection that subscribes may not publish/,
  );
});

test("checkOptions() takes Redis clients, and meets others at the documented channel", () => {
  const client = () => ({
    ...{ on() {}, off() {}, publish: () => Promise.resolve() },
    ...{ subscribe: () => Promise.resolve(), unsubscribe: () => Promise.resolve() },
  });
  const [publisher, subscriber] = [client(), client()];
  equal(checkOptions({ storage }).redis, undefined);
  equal(checkOptions({ storage, redis: { publisher, subscriber } }).redis?.channel, "reality:updates");
  const named = checkOptions({ storage, redis: { publisher, subscriber, channel: "mine" } }).redis;
  equal(named?.publisher, publisher);
  equal(named?.subscriber, subscriber);
  equal(named?.channel, "mine");
});

test("checkOptions() fills in every default of the documentation", () => {
  const config = checkOptions({ storage });
  equal(config.storageTimeout, 10_000);
  equal(
    JSON.stringify(config.limits),
    JSON.stringify({
      maxBodyBytes: 1_048_576,
      maxKeys: 10_000,
      maxKeyBytes: 512,
      maxHashBytes: 256,
      maxWait: 25_000,
      maxWaiters: 50_000,
    }),
  );
});

test("RealityServer makes up a serverId of its own", () => {
  const [a, b] = [new RealityServer({ storage }), new RealityServer({ storage })];
  equal(/^server-[a-z0-9]{10}$/.test(a.serverId), true);
  equal(a.serverId === b.serverId, false);
});
