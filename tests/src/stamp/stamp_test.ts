import { deepEqual, equal, match, notEqual, rejects, throws } from "node:assert/strict";
import fc from "fast-check";
import { parseStamp } from "../../../client/mod.ts";
import { joinStamps, MemoryStorage, RealityServer, type RealityServerOptions } from "../../../mod.ts";
import { formatField, MAX_FIELD_BYTES } from "../../../src/stamp/field.ts";
import { keyFault } from "../../../src/store/node.ts";
import { FakeClock } from "../../clock.ts";
import { test } from "../../harness.ts";

function setUp(options: Partial<RealityServerOptions> = {}) {
  const storage = new MemoryStorage({ counter: "sequential" });
  return new RealityServer({ storage, clock: new FakeClock(), ...options });
}

const withTag = (etag: string | null, method = "GET") =>
  new Request("http://localhost/", { method, headers: { "if-none-match": etag ?? "" } });

test("formatField() writes strings, display strings and versions as PROTOCOL 17 has them", () => {
  const versions = { "a": 5, 'say "hi" \\': 0, "café": Number.MAX_SAFE_INTEGER, '€"%': 1 };
  equal(
    formatField({ epoch: "e-1", versions }),
    String.raw`epoch="e-1", keys=("a";v="5" "say \"hi\" \\";v="0" ` +
      '%"caf%c3%a9";v="9007199254740991" %"%e2%82%ac%22%25";v="1")',
  );
  equal(formatField({ epoch: "e", versions: {} }), 'epoch="e", keys=()');
});

test("what formatField() writes is what the client reads, for every set of keys", () => {
  const key = fc.string({ unit: "binary", maxLength: 20 }).filter((text) => keyFault(text) === undefined);
  const part = fc.oneof(key, fc.constantFrom("__proto__", 'epoch="x"', '%"', '";v="1', "\\", "%e9", 'é"'));
  const version = fc.oneof(fc.constant(0), fc.maxSafeNat());
  fc.assert(fc.property(fc.array(fc.tuple(part, version), { maxLength: 8 }), (entries) => {
    const versions = Object.fromEntries(entries);
    const field = formatField({ epoch: "0lqx1k2p3-x1y2z3w4", versions });
    equal(/^[ -~]*$/.test(field), true);
    deepEqual(parseStamp(field), { epoch: "0lqx1k2p3-x1y2z3w4", versions });
    equal(new Headers({ "reality-stamp": field }).get("reality-stamp"), field);
  }));
});

test("a stamp that is too long for a header has its versions as JSON alone", async () => {
  const server = setUp();
  const keys = Array.from({ length: 500 }, (_, i) => `some:key:${i}`);
  const stamp = await server.stamp(keys);
  throws(() => stamp.headers, {
    name: "RangeError",
    message: new RegExp(`MAX_FIELD_BYTES \\(${MAX_FIELD_BYTES}\\)`),
  });
  throws(() => stamp.json(1), RangeError);
  equal(Object.keys(stamp.toJSON().versions).length, 500);
  equal(stamp.etag.length < 40, true);
  equal(stamp.isFresh(withTag((await server.stamp(keys)).etag)), true);
  await server.close();
});

test("a stamp has the versions of the storage, 0 for a key without a node", async () => {
  const server = setUp();
  await server.updateMany([{ key: "a", hash: "1" }, { key: "b", hash: "1" }]);
  const { epoch } = await server.handleSync({ known: {} });
  const stamp = await server.stamp(["b", "none", "a", "a"]);
  deepEqual(JSON.parse(JSON.stringify(stamp)), { epoch, versions: { b: 2, none: 0, a: 1 } });
  deepEqual({ ...stamp.headers, etag: "" }, {
    "reality-stamp": `epoch="${epoch}", keys=("b";v="2" "none";v="0" "a";v="1")`,
    "etag": "",
    "cache-control": "private, no-cache",
    "vary": "Authorization, Cookie, Origin",
  });
  const { changed } = await server.handleSync({ epoch, known: { ...stamp.toJSON().versions } });
  deepEqual(Object.keys(changed), []);
  await server.close();
});

test("a tag changes with the versions, the keys, the epoch and the variant, and with nothing else", async () => {
  const storage = new MemoryStorage();
  const server = setUp({ storage });
  await server.updateMany(["a", "b", "other"].map((key) => ({ key, hash: "1" })));
  const tags = new Set<string>();
  const isNew = async (keys: string[], variant = "") => {
    const { etag } = await server.stamp(keys, { variant });
    equal(/^W\/"[\x21\x23-\x7e]+"$/.test(etag), true, etag);
    return tags.size !== tags.add(etag).size;
  };
  equal(await isNew(["a", "b"]), true);
  await server.updateNode("other", "2");
  equal(await isNew(["b", "a"]), false);
  equal(await isNew(["a"]), true);
  equal(await isNew(["a"], "b"), true);
  equal(await isNew(["none"]), true);
  equal(await isNew(["none either"]), true);
  equal(await isNew(["a"], "x".repeat(200)), true);
  await server.updateNode("a", "2");
  equal(await isNew(["a", "b"]), true);
  await server.updateNode("a", "1");
  equal(await isNew(["a", "b"]), true);
  await storage.newEpoch();
  equal(await isNew(["a", "b"]), true);
  await server.close();
});

test("a tag of a key without a node is not used again after the node was created and deleted", async () => {
  const server = setUp();
  const before = await server.stamp(["a"]);
  equal((await server.stamp(["a"])).isFresh(withTag(before.etag)), true);
  await server.updateNode("a", "1");
  const first = await server.stamp(["a"]);
  await server.deleteNode("a");
  const after = await server.stamp(["a"]);
  await server.updateNode("a", "1");
  const second = await server.stamp(["a"]);
  equal(new Set([before, first, after, second].map(({ etag }) => etag)).size, 4);
  equal(second.toJSON().versions.a! > first.toJSON().versions.a!, true);
  await server.close();
});

test("isFresh() compares weakly with each tag of If-None-Match, for GET and HEAD alone", async () => {
  const server = setUp();
  await server.updateNode("a", "1");
  const stamp = await server.stamp(["a"]);
  const { etag } = stamp;
  for (const text of [etag, etag.slice(2), `"x", ${etag}`, `W/"x,y",${etag} , "z"`]) {
    equal(stamp.isFresh(withTag(text)), true, text);
    equal(stamp.isFresh(withTag(text, "HEAD")), true);
    equal(stamp.isFresh(withTag(text, "POST")), false);
    equal(stamp.isFresh(new Headers({ "if-none-match": text })), true);
    equal(stamp.isFresh({ headers: { "if-none-match": text } }), true);
    equal(stamp.isFresh({ req: { raw: withTag(text) } }), true);
  }
  for (const text of [null, "*", '"x"', etag.slice(0, -1), etag.slice(3, -1)]) {
    equal(stamp.isFresh(withTag(text)), false, String(text));
  }
  equal(stamp.isFresh({ headers: {} }), false);
  for (const wrong of [null, {}, "x"]) throws(() => stamp.isFresh(wrong as never), TypeError);
  await server.close();
});

test("json() and notModified() make responses whose headers can be replaced", async () => {
  const server = setUp();
  await server.updateNode("a", "1");
  const stamp = await server.stamp(["a"], { cacheControl: "private, max-age=5", vary: "Cookie" });
  const headers = { "Cache-Control": "no-store", "x-own": "1" };
  const response = stamp.json({ b: [1] }, { status: 201, headers });
  equal(response.status, 201);
  deepEqual(await response.json(), { b: [1] });
  const { "content-type": type, ...all } = Object.fromEntries(response.headers);
  match(type!, /^application\/json\b/);
  deepEqual(all, {
    ...stamp.headers,
    "cache-control": "no-store",
    "x-own": "1",
  });
  const empty = stamp.notModified();
  equal(empty.status, 304);
  deepEqual(Object.fromEntries(empty.headers), stamp.headers);
  equal(stamp.headers["cache-control"], "private, max-age=5");
  await server.close();
});

test("a stamp names only the keys that its request may read", async () => {
  const asked: unknown[] = [];
  const clock = new FakeClock();
  const server = setUp({
    clock,
    authorize: (request, keys, { context }) => {
      asked.push([keys, context]);
      const user = request.headers.get("x-user");
      return { keys: keys.filter((key) => key === user), expiresAt: clock.now() + 10 };
    },
  });
  await server.updateMany([{ key: "ana", hash: "1" }, { key: "bob", hash: "1" }]);
  const request = new Request("http://localhost/", { headers: { "x-user": "ana" } });
  const stamp = await server.stamp(["ana", "bob"], { request, context: 5 });
  deepEqual(asked, [[["ana", "bob"], 5]]);
  deepEqual(stamp.toJSON().versions, { ana: 1 });
  const node = { headers: { "x-user": "bob" }, url: "/", socket: { once() {}, off() {} } };
  deepEqual((await server.stamp(["ana", "bob"], { request: node })).toJSON().versions, { bob: 2 });
  deepEqual((await server.stamp(["ana", "bob"], { request: { raw: node } })).toJSON().versions, { bob: 2 });
  const context = { req: { raw: request }, get() {} };
  deepEqual((await server.stamp(["ana", "bob"], { request: context })).toJSON().versions, { ana: 1 });
  deepEqual((await server.stamp(["ana", "bob"])).toJSON().versions, { ana: 1, bob: 2 });
  await server.close();
});

test("stamp() rejects for wrong options and keys, and after close()", async () => {
  const server = setUp({ limits: { maxKeys: 2 } });
  for (
    const options of [{ variants: "" }, { variant: 5 }, { variant: "\ud800" }, { vary: 5 }, { request: {} }]
  ) {
    await rejects(server.stamp(["a"], options as never), TypeError);
  }
  await rejects(server.stamp("a" as never), TypeError);
  await rejects(server.stamp([""]), { code: "ERR_REALITY_BAD_REQUEST" });
  await rejects(server.stamp(["a", "b", "c"]), { code: "ERR_REALITY_TOO_MANY_KEYS" });
  await server.close();
  await rejects(server.stamp(["a"]), { code: "ERR_REALITY_CLOSED" });
});

test("a stamp works with requestScopedIO", async () => {
  const server = setUp({ requestScopedIO: true, storage: new MemoryStorage() });
  await server.updateNode("a", "1");
  equal((await server.stamp(["a"])).toJSON().versions.a! > 0, true);
  await server.close();
});

test("joinStamps() takes the lowest version of a key, and the tags and headers of all", async () => {
  const server = setUp();
  await server.updateMany([{ key: "a", hash: "1" }, { key: "b", hash: "1" }]);
  const first = await server.stamp(["a", "b"], { cacheControl: "no-cache" });
  await server.updateNode("a", "2");
  const second = await server.stamp(["none", "a"], { cacheControl: "no-cache, no-store" });
  const joined = joinStamps(second, first);
  deepEqual(joined.toJSON(), { epoch: first.toJSON().epoch, versions: { none: 0, a: 1, b: 2 } });
  equal(joined.headers["cache-control"], "no-cache, no-store");
  equal(joined.isFresh(withTag(joined.etag)), true);
  for (const { etag } of [first, second, joinStamps(first), joinStamps(second, second)]) {
    notEqual(etag, joined.etag);
  }
  deepEqual(joinStamps(joined, first).toJSON(), joined.toJSON());
  throws(() => joinStamps(), TypeError);
  throws(() => joinStamps({} as never), TypeError);
  await server.close();
});

test("a sync tells a client whose joined stamps fit no state, whatever was first", async () => {
  const storage = new MemoryStorage({ counter: "sequential" });
  const server = setUp({ storage });
  const tells = async ({ epoch, versions }: { epoch: string; versions: Readonly<Record<string, number>> }) =>
    Object.keys((await server.handleSync({ epoch, known: { ...versions } })).changed);
  const absent = await server.stamp(["a"]);
  await server.updateNode("a", "1");
  const present = await server.stamp(["a"]);
  deepEqual(await tells(joinStamps(absent, present).toJSON()), ["a"]);
  await server.deleteNode("a");
  const gone = await server.stamp(["a"]);
  deepEqual(await tells(joinStamps(present, gone).toJSON()), ["a"]);
  await server.updateNode("b", "1");
  const before = await server.stamp(["b"]);
  await storage.newEpoch();
  const after = await server.stamp(["b"]);
  deepEqual(before.toJSON().versions, after.toJSON().versions);
  deepEqual(await tells(joinStamps(before, after).toJSON()), ["b"]);
  deepEqual(await tells(joinStamps(after, before).toJSON()), ["b"]);
  deepEqual(await tells(after.toJSON()), []);
  await server.close();
});
