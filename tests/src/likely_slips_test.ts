/*
 * Calls that are easily written wrong. Each is refused with a message that names the right call. TypeScript refuses most of
 * them as well; these tests stand for JavaScript and for values of type `any`.
 */

import assert from "node:assert/strict";
import {
  createExpressAdapter,
  createFetchHandler,
  createHash,
  joinStamps,
  MemoryStorage,
  RealityServer,
} from "../../mod.ts";
import { createNodeHandler } from "../../adapters/node.ts";
import { test } from "../harness.ts";

// deno-lint-ignore no-explicit-any
type Untyped = any;

const storage = new MemoryStorage();
const server: Untyped = new RealityServer({ storage });
const Server: Untyped = RealityServer;
const request = new Request("http://localhost/reality/sync", { method: "POST" });
const nodeRequest = { method: "GET", url: "/", headers: {}, socket: { once() {} }, on() {} };
const application = Object.assign(() => {}, { use() {} });

/** Each slip, and what the message must contain. */
const slips: Record<string, readonly [slip: () => unknown, message: string]> = {
  "invalidate([…])": [
    () => server.invalidate(["a", "b"]),
    "got an array; several nodes: updateMany([{ key, hash }]), invalidateMany([key])",
  ],
  "invalidate(a, b)": [() => server.invalidate("a", "b"), "2 keys at once: call invalidateMany"],
  "invalidateMany(a)": [() => server.invalidateMany("ab"), "expected an array of keys, got a string"],
  "invalidateMany(a, b)": [() => server.invalidateMany("a", "b"), "expected an array of keys, got a string"],
  "invalidateMany(set)": [() => server.invalidateMany(new Set(["a"])), "got an object (Set)"],
  "deleteNode([…])": [() => server.deleteNode(["a"]), "expected a string, got an array"],
  "deleteNode(a, b)": [() => server.deleteNode("a", "b"), "2 keys at once: call deleteNode for each"],
  "a key that was not awaited": [() => server.invalidate(Promise.resolve("a")), "got a promise; await it"],
  "updateNode(key)": [() => server.updateNode("a"), "got nothing; without a hash, call invalidate(key)"],
  "updateNode(key, data)": [() => server.updateNode("a", { b: 1 }), "createHash(JSON.stringify(data))"],
  "updateNode(key, 12)": [() => server.updateNode("a", 12), "got the number 12; write String(hash)"],
  "updateNode({ key, hash })": [() => server.updateNode({ key: "a", hash: "1" }), "updateMany"],
  "updateMany({ key, hash })": [
    () => server.updateMany({ key: "a", hash: "1" }),
    "an array of { key, hash }",
  ],
  "updateMany(map)": [() => server.updateMany(new Map([["a", "1"]])), "got an object (Map)"],
  "updateMany([key])": [() => server.updateMany(["a"]), "several nodes: updateMany([{ key, hash }])"],
  "updateMany([[key, hash]])": [
    () => server.updateMany([["a", "1"]]),
    "several nodes: updateMany([{ key, hash }])",
  ],
  "updateMany with a promise": [
    () => server.updateMany([{ key: "a", hash: Promise.resolve("1") }]),
    "await it",
  ],
  "updateNodes(…)": [() => server.updateNodes([]), "There is no updateNodes(): call updateMany()"],
  "invalidateNodes(…)": [() => server.invalidateNodes([]), "call invalidateMany()"],
  "handleSync with an array": [() => server.handleSync({ known: ["a"] }), '"known": expected an object'],
  "handleSync with a map": [() => server.handleSync({ known: new Map([["a", 0]]) }), "got an object (Map)"],
  "handleSync(promise)": [
    () => server.handleSync(request.text()),
    "expected an object",
  ],
  "stamp(a)": [() => server.stamp("a"), "expected an array of keys, got a string"],
  "stamp(…).isFresh": [() => server.stamp(["a"]).isFresh(request), "Cannot read isFresh of a promise: await"],
  "stamp(…).json": [() => server.stamp(["a"]).json([]), "await server.stamp(keys) first"],
  "stamp(…).headers": [() => server.stamp(["a"]).headers, "await server.stamp(keys) first"],
  "joinStamps(promise)": [() => joinStamps(server.stamp(["a"])), "got a promise; await it"],
  "joinStamps([…])": [async () => joinStamps([await server.stamp(["a"])] as Untyped), "got an array"],
  "createFetchHandler(application)": [
    () => createFetchHandler(application as Untyped),
    "expected a RealityServer, got a function",
  ],
  "createFetchHandler(promise)": [() => createFetchHandler(Promise.resolve(server) as Untyped), "await it"],
  "createFetchHandler()": [() => (createFetchHandler as Untyped)(), "expected a RealityServer, got nothing"],
  "createExpressAdapter(application)": [
    () => createExpressAdapter(application as Untyped),
    "expected a RealityServer, got a function",
  ],
  "createExpressAdapter(storage)": [
    () => createExpressAdapter(storage as Untyped),
    "expected a RealityServer",
  ],
  "createNodeHandler(promise)": [() => createNodeHandler(Promise.resolve(server) as Untyped), "await it"],
  "a fetch handler for node:http": [
    () => createFetchHandler(server)(nodeRequest as Untyped),
    "got a request of node:http: use createNodeHandler or createExpressAdapter",
  ],
  "a Node handler for fetch": [
    () => createNodeHandler(server)(request as Untyped, {} as Untyped),
    "got a Request: use createFetchHandler",
  ],
  "new RealityServer(storage)": [() => new Server(storage), "write `new RealityServer({ storage })`"],
  "a storage that was not awaited": [
    () => new Server({ storage: Promise.resolve(storage) }),
    '"storage" is wrong: expected a storage, got a promise; await it',
  ],
  "a storage's class": [() => new Server({ storage: MemoryStorage }), "got a function"],
  "options that were not awaited": [
    () => new Server(Promise.resolve({ storage })),
    "got a promise; await it",
  ],
  "Redis that was not awaited": [() => new Server({ storage, redis: Promise.resolve({}) }), "await it"],
  "the option store": [() => new Server({ store: storage }), '; did you mean "storage"?'],
  "the option peers": [() => new Server({ storage, peers: [] }), '; did you mean "meshPeers"?'],
  "the option onerror": [() => new Server({ storage, onerror() {} }), '; did you mean "onError"?'],
  "the option storageTimout": [() => new Server({ storage, storageTimout: 1 }), 'mean "storageTimeout"?'],
  "the option authorise": [() => new Server({ storage, authorise() {} }), '; did you mean "authorize"?'],
  "the limit maxwait": [() => new Server({ storage, limits: { maxwait: 1 } }), '; did you mean "maxWait"?'],
  "cors of the server": [
    () => new Server({ storage, cors: {} }),
    "; give it to the handler",
  ],
  "basePath of the server": [
    () => new Server({ storage, basePath: "/" }),
    "; give it to the handler",
  ],
  "the option path of a handler": [() => createFetchHandler(server, { path: "/" } as Untyped), '"basePath"?'],
  "createHash(data)": [() => createHash({ a: 1 } as Untyped), "createHash(JSON.stringify(data))"],
};

for (const [name, [slip, message]] of Object.entries(slips)) {
  test(`${name} is refused, and the message names the right call`, async () => {
    const error: Untyped = await Promise.resolve().then(slip).then(() => undefined, (error) => error);
    assert.ok(error instanceof Error, "there was no error");
    assert.ok(error.message.includes(message), error.message);
  });
}

test("a stamp that was not awaited is a promise like any other", async () => {
  const promise = server.stamp(["a"]);
  assert.ok(promise instanceof Promise);
  assert.equal(promise.constructor, Promise);
  assert.equal(typeof (await promise.then((stamp: Untyped) => stamp.etag)), "string");
  assert.equal("isFresh" in promise.then(), false);
});

test("a message suggests no option that is not similar", () => {
  assert.throws(
    () => new Server({ storage, color: 1 }),
    (error: Error) => !/did you mean/.test(error.message),
  );
});
