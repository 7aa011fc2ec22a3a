/**
 * What every door must do, status by status: one list of requests and what is to come back, and what must happen when
 * clients wait, stream and hang up. Asked over real sockets.
 *
 * @module
 */
import assert from "node:assert/strict";
import type { ServerStats, SyncResponse } from "../../mod.ts";
import { DEFAULT_LIMITS } from "../../src/options.ts";
import type { Test } from "../harness.ts";
import { EventReader, RawClient, soon, until } from "./client.ts";
import { corsExchanges, testCors } from "./cors.ts";
import { testAdmission, testStalledReader } from "./limits.ts";
import { testReadingRights, testWritingRights } from "./rights.ts";
import { testWatching } from "./telemetry.ts";
import { type Operation, type SceneName, SMALL, TOKENS } from "./scenes.ts";

/** A door, and what differs about it. */
export interface Door {
  /** What the tests are called after. */
  readonly name: string;
  /** Opens it before a new server of this scene. */
  open(scene: SceneName): Promise<OpenDoor>;
  /** A framework in front reads the bodies, and refuses by itself what is no JSON: the status is the same. */
  readonly parsesBodies?: boolean;
  /** A framework in front answers for all paths that are not ours. */
  readonly ownNotFound?: boolean;
  /** A framework in front takes no media type but `application/json`. */
  readonly onlyPlainJSON?: boolean;
  /** The runtime decides by itself which connections it keeps. */
  readonly ownConnections?: boolean;
  /** The runtime finds out that a client is gone only when it next sends something to it. */
  readonly noticesLate?: boolean;
  /** What hooks get from it, as the scene `readers` names it; a user is the one whom a middleware in front has found. */
  readonly host: string;
  /** The runtime takes up the next request of a connection only when the one before is answered. */
  readonly answersInTurn?: boolean;
  /** The host does not read the body of a GET, and then does not hear that its connection closes. */
  readonly leavesBodies?: boolean;
  /** The runtime does not tell that a stream of HTTP/2 was reset together with its head. */
  readonly missesEarlyResets?: boolean;
  /** The runtime does not tell the address that connected. */
  readonly tellsNoAddress?: boolean;
  /** Requests that follow one on its connection before it is answered are lost, and the answer with them. */
  readonly losesPipelined?: boolean;
  /** The runtime keeps the connection of a body that was refused until the client leaves it. */
  readonly keepsConnection?: boolean;
}

/** A door with a server behind it. */
export interface OpenDoor {
  /** The address of a path under the server's base path. */
  url(path: string): string;
  /** Does something to the server from behind. */
  operate(operation: Operation): Promise<unknown>;
  /** Closes door and server, and everything that was opened with them. */
  close(): Promise<void>;
}

/** A request, and what is to come back. */
export interface Exchange {
  readonly title: string;
  readonly scene?: SceneName;
  readonly method?: string;
  /** Under the base path, unless `whole`. @default {"/sync"} */
  readonly path?: string;
  /** The path is not under the base path. */
  readonly whole?: true;
  readonly headers?: Record<string, string>;
  /** Sent as it is when text or bytes, else as JSON. */
  readonly body?: unknown;
  readonly status: number;
  /** The code of the refusal, without its prefix. */
  readonly code?: string;
  /** What the refusal's message says. */
  readonly message?: RegExp;
  /** What headers are to be; `null` for none. */
  readonly answers?: Record<string, string | RegExp | null>;
  /** What the body is to be, as JSON; `""` for none. */
  readonly json?: unknown;
  /** The refusal is about the bytes of the body, which a framework in front may make by itself. */
  readonly bytes?: true;
}

const JSON_TYPE = { "content-type": "application/json" };
const AUTHORIZED = { authorization: `Bearer ${TOKENS[0]}` };
const WRITE = { ...JSON_TYPE, ...AUTHORIZED };
const NO_STORE = { "content-type": /^application\/json/, "cache-control": "no-store" };
const LEGACY = { clientId: "c1", mode: "native", hint: "focus", timestamp: 1 };

/** Keys that break what takes them for more than text. */
const STRANGE_KEYS: readonly string[] = [
  "__proto__",
  "constructor",
  "hasOwnProperty",
  "toString",
  "then",
  `"quoted" and \\ back`,
  "emoji 🙂 ключ",
  "a/b?c=d&e#f%25+g",
  " edges ",
  "x".repeat(512),
  "é".repeat(256),
  "'; DROP TABLE nodes; --",
];

const bad = { status: 400, code: "BAD_REQUEST" } as const;
const noBody = { status: 405, code: "METHOD", body: undefined } as const;

/** Every request that one answer settles. */
const exchanges: readonly Exchange[] = [
  // A sync.
  { title: "a sync is answered", body: { known: {} }, status: 200, answers: NO_STORE },
  {
    title: "a sync may name the encoding",
    headers: { "content-type": "application/json; charset=utf-8" },
    body: { known: {} },
    status: 200,
  },
  { title: "a sync may have fields that nobody knows", body: { known: {}, later: [1] }, status: 200 },
  {
    title: "a sync waits no longer than maxWait",
    scene: "small",
    body: { known: { a: 0 }, wait: 6e7 },
    status: 200,
  },
  {
    title: "a field that is null counts as left out",
    body: { known: {}, epoch: null, wait: null, clientId: null, mode: null, hint: null, timestamp: null },
    status: 200,
  },
  {
    title: "a slash at the end of the path does no harm",
    path: "/reality/sync/",
    whole: true,
    body: { known: {} },
    status: 200,
  },
  { title: "a sync without keys does not wait", body: { known: {}, wait: 20_000 }, status: 200 },
  { title: "a door mounted elsewhere answers there", scene: "elsewhere", body: { known: {} }, status: 200 },
  // What is no sync.
  { ...bad, title: "a body that is no JSON is refused", body: "{", message: /JSON/, bytes: true },
  { ...bad, title: "an empty body is refused", body: "", message: /JSON/, bytes: true },
  {
    ...bad,
    title: "a list is refused",
    body: [],
    message: /^Cannot read the body: expected an object, got an array$/,
  },
  { ...bad, title: "a sync without known is refused", body: {}, message: /"known".*nothing/ },
  { ...bad, title: "a list of known is refused", body: { known: ["a"] }, message: /"known".*an array/ },
  { ...bad, title: "a version below 0 is refused", body: { known: { a: -1 } }, message: /"a".*2\^53/ },
  { ...bad, title: "a fraction of a version is refused", body: { known: { a: 1.5 } }, message: /"a"/ },
  { ...bad, title: "a version past 2^53 - 1 is refused", body: { known: { a: 2 ** 53 } }, message: /"a"/ },
  { ...bad, title: "a version as text is refused", body: { known: { a: "1" } }, message: /"a".*a string/ },
  { ...bad, title: "a version of null is refused", body: { known: { a: null } }, message: /"a".*null/ },
  { ...bad, title: "an empty key is refused", body: { known: { "": 0 } }, message: /empty/ },
  { ...bad, title: "a control character is refused", body: { known: { "a\nb": 0 } }, message: /control/ },
  { ...bad, title: "a NUL is refused", body: '{"known":{"a\\u0000":0}}', message: /control/ },
  { ...bad, title: "a lone surrogate is refused", body: '{"known":{"\\ud800":0}}', message: /surrogate/ },
  {
    ...bad,
    title: "a key over the limit is refused",
    body: { known: { ["x".repeat(513)]: 0 } },
    message: /maxKeyBytes \(512\)/,
  },
  { ...bad, title: "a wait below 0 is refused", body: { known: {}, wait: -1 }, message: /"wait"/ },
  { ...bad, title: "a wait as text is refused", body: { known: {}, wait: "1" }, message: /"wait"/ },
  { ...bad, title: "an epoch as number is refused", body: { known: {}, epoch: 1 }, message: /"epoch"/ },
  {
    ...bad,
    title: "a clientId as number is refused",
    body: { known: {}, clientId: 1 },
    message: /"clientId"/,
  },
  {
    title: "gossip without proof is refused",
    body: { known: {}, gossip: {} },
    status: 403,
    code: "FORBIDDEN",
    message: /"gossip"/,
  },
  {
    title: "more keys than maxKeys are refused",
    scene: "small",
    body: { known: { a: 0, b: 0, c: 0, d: 0 } },
    status: 413,
    code: "TOO_MANY_KEYS",
    message: /maxKeys \(3\)/,
  },
  {
    title: "a body over maxBodyBytes is refused",
    scene: "small",
    body: { known: {}, more: "x".repeat(SMALL.maxBodyBytes) },
    status: 413,
    code: "BODY_TOO_LARGE",
    message: /maxBodyBytes \(2000\)/,
    bytes: true,
  },
  ...["text/plain", "application/x-www-form-urlencoded", "text/json", "application/jsonx"].map((type) => ({
    title: `${type} is refused`,
    headers: { "content-type": type },
    body: '{"known":{}}',
    status: 415,
    code: "MEDIA_TYPE",
    message: /expected application\/json/,
    bytes: true as const,
  })),
  // Paths and methods.
  ...[
    "/reality",
    "/reality/",
    "/reality/nope",
    "/reality/sync//",
    "/reality/sync/x",
    "/realitysync",
    "/",
    "/sync",
  ]
    .map((path) => ({
      title: `${path} is not there`,
      path,
      whole: true as const,
      body: { known: {} },
      status: 404,
      code: "NOT_FOUND",
    })),
  ...["GET", "HEAD", "PUT", "PATCH", "DELETE", "OPTIONS"].map((method) => ({
    ...noBody,
    title: `${method} /sync is not allowed`,
    method,
    answers: { allow: "POST" },
  })),
  {
    ...noBody,
    title: "POST /events is not allowed",
    path: "/events",
    method: "POST",
    answers: { allow: "GET" },
  },
  {
    ...noBody,
    title: "GET /update is not allowed",
    path: "/update",
    method: "GET",
    answers: { allow: "POST" },
  },
  {
    ...noBody,
    title: "GET /invalidate is not allowed",
    path: "/invalidate",
    method: "GET",
    answers: { allow: "POST" },
  },
  {
    ...noBody,
    title: "GET /nodes/a is not allowed",
    path: "/nodes/a",
    method: "GET",
    answers: { allow: "DELETE" },
  },
  {
    ...noBody,
    title: "POST /health is not allowed",
    path: "/health",
    method: "POST",
    answers: { allow: "GET, HEAD" },
  },
  // Health.
  {
    title: "health is answered",
    path: "/health",
    method: "GET",
    status: 200,
    json: { status: "ok" },
    answers: NO_STORE,
  },
  {
    title: "health is answered without a body to HEAD",
    path: "/health",
    method: "HEAD",
    status: 200,
    json: "",
  },
  {
    title: "health is answered while the storage fails",
    scene: "broken",
    path: "/health",
    method: "GET",
    status: 200,
  },
  // Readiness and numbers.
  {
    title: "a server that is ready says so",
    path: "/ready",
    method: "GET",
    status: 200,
    json: { status: "ready" },
    answers: NO_STORE,
  },
  {
    title: "readiness is answered without a body to HEAD",
    path: "/ready",
    method: "HEAD",
    status: 200,
    json: "",
  },
  {
    title: "a server is not ready while its storage is not well",
    scene: "unwell",
    path: "/ready",
    method: "GET",
    status: 503,
    json: { status: "storage" },
    answers: NO_STORE,
  },
  {
    ...noBody,
    title: "POST /ready is not allowed",
    path: "/ready",
    method: "POST",
    answers: { allow: "GET, HEAD" },
  },
  {
    title: "the numbers are answered as Prometheus has it",
    path: "/metrics",
    method: "GET",
    status: 200,
    answers: { "content-type": "text/plain; version=0.0.4; charset=utf-8", "cache-control": "no-store" },
  },
  {
    title: "the numbers are answered without a body to HEAD",
    path: "/metrics",
    method: "HEAD",
    status: 200,
    json: "",
  },
  {
    ...noBody,
    title: "POST /metrics is not allowed",
    path: "/metrics",
    method: "POST",
    answers: { allow: "GET, HEAD" },
  },
  {
    title: "the numbers are nowhere where they were taken away",
    scene: "closed",
    path: "/metrics",
    method: "GET",
    status: 404,
    code: "NOT_FOUND",
  },
  {
    title: "the numbers are refused to whom the application turns down",
    scene: "hook",
    path: "/metrics",
    method: "GET",
    status: 403,
    code: "FORBIDDEN",
  },
  {
    title: "the numbers are given to whom the application lets in",
    scene: "hook",
    path: "/metrics",
    method: "GET",
    headers: { "x-user": "scraper" },
    status: 200,
  },
  // Event streams that are none.
  { ...bad, title: "a stream of nothing is refused", path: "/events", method: "GET", message: /"keys"/ },
  {
    ...bad,
    title: "a stream of a key that is none is refused",
    path: "/events?keys=%00",
    method: "GET",
    message: /"keys\[0\]"/,
  },
  {
    title: "a stream of too many keys is refused",
    scene: "small",
    path: "/events?keys=a&keys=b&keys=c&keys=d",
    method: "GET",
    status: 413,
    code: "TOO_MANY_KEYS",
  },
  // The write routes.
  ...[["POST", "/update"], ["POST", "/invalidate"], ["DELETE", "/nodes/a"]].flatMap(
    ([method = "", path = ""]) => {
      const route = {
        method,
        path,
        ...(method === "POST" ? { body: { key: "a", hash: "1", keys: ["a"] } } : {}),
      };
      const type: Record<string, string> = method === "POST" ? JSON_TYPE : {};
      return [
        {
          ...route,
          title: `${method} ${path} is closed to all where nobody was given a way`,
          scene: "closed" as const,
          headers: { ...type, ...AUTHORIZED },
          status: 403,
          code: "FORBIDDEN",
          message: /writeTokens nor authorizeWrite/,
        },
        {
          ...route,
          title: `${method} ${path} without a token is refused`,
          headers: type,
          status: 401,
          code: "UNAUTHORIZED",
          answers: { "www-authenticate": "Bearer" },
        },
        {
          ...route,
          title: `${method} ${path} with a wrong token is refused`,
          headers: { ...type, authorization: `Bearer ${TOKENS[0]}x` },
          status: 401,
          code: "UNAUTHORIZED",
        },
      ];
    },
  ),
  {
    title: "another scheme than Bearer is refused",
    path: "/update",
    headers: { ...JSON_TYPE, authorization: `Basic ${TOKENS[0]}` },
    body: { key: "a", hash: "1" },
    status: 401,
    code: "UNAUTHORIZED",
  },
  {
    ...bad,
    title: "an update of nothing is refused",
    path: "/update",
    headers: WRITE,
    body: {},
    message: /"key"/,
  },
  {
    ...bad,
    title: "an update without a hash is refused",
    path: "/update",
    headers: WRITE,
    body: { key: "a" },
    message: /"hash"/,
  },
  {
    ...bad,
    title: "a hash over the limit is refused",
    path: "/update",
    headers: WRITE,
    body: { key: "a", hash: "x".repeat(257) },
    message: /maxHashBytes \(256\)/,
  },
  {
    ...bad,
    title: "an update in a list is refused by its place",
    path: "/update",
    headers: WRITE,
    body: { updates: [{ key: "a", hash: "1" }, { key: "", hash: "1" }] },
    message: /"updates\[1\]\.key"/,
  },
  {
    title: "more updates than maxKeys are refused",
    scene: "small",
    path: "/update",
    headers: WRITE,
    body: { updates: Array.from({ length: 4 }, (_, i) => ({ key: `${i}`, hash: "1" })) },
    status: 413,
    code: "TOO_MANY_KEYS",
  },
  {
    ...bad,
    title: "an invalidation without keys is refused",
    path: "/invalidate",
    headers: WRITE,
    body: { key: "a" },
    message: /"keys"/,
  },
  {
    ...bad,
    title: "a deletion of nothing is refused",
    path: "/nodes/",
    method: "DELETE",
    headers: AUTHORIZED,
    message: /empty/,
  },
  {
    ...bad,
    title: "a deletion of a key that is none is refused, and splits no header",
    path: "/nodes/a%0d%0aset-cookie:%20b=c",
    method: "DELETE",
    headers: AUTHORIZED,
    message: /control/,
    answers: { "set-cookie": null },
  },
  {
    title: "a deletion of what is not there is done",
    path: "/nodes/never",
    method: "DELETE",
    headers: AUTHORIZED,
    status: 204,
    json: "",
  },
  {
    title: "authorizeWrite says no",
    scene: "hook",
    path: "/update",
    body: { key: "POST:a", hash: "1" },
    status: 403,
    code: "FORBIDDEN",
    message: /authorizeWrite/,
  },
  {
    title: "authorizeWrite says no to one of the keys",
    scene: "hook",
    path: "/invalidate",
    headers: { ...JSON_TYPE, "x-user": "writer" },
    body: { keys: ["POST:a", "other"] },
    status: 403,
    code: "FORBIDDEN",
  },
  {
    title: "authorizeWrite says yes",
    scene: "hook",
    path: "/invalidate",
    headers: { ...JSON_TYPE, "x-user": "writer" },
    body: { keys: ["POST:a"] },
    status: 200,
  },
  {
    title: "authorizeWrite says yes to a deletion",
    scene: "hook",
    path: "/nodes/DELETE%3Aa",
    method: "DELETE",
    headers: { "x-user": "writer" },
    status: 204,
    json: "",
  },
  {
    title: "authorizeWrite that fails is a failure that tells nothing",
    scene: "hook",
    path: "/update",
    headers: { ...JSON_TYPE, "x-user": "broken" },
    body: { key: "POST:a", hash: "1" },
    status: 500,
    code: "INTERNAL",
    message: /^The server failed at this request$/,
  },
  // What fails.
  {
    title: "a storage that fails is unavailable, and tells nothing of itself",
    scene: "broken",
    body: { known: { a: 0 } },
    status: 503,
    code: "STORAGE",
    message: /^The storage does not answer$/,
    answers: { "retry-after": /^[1-5]$/, "cache-control": "no-store" },
  },
  ...corsExchanges,
];

/**
 * Registers all tests of a door.
 *
 * @param test The runner's.
 * @param door What is tested.
 */
export function testDoor(test: Test, door: Door): void {
  const onDoor = registerOn(test, door);
  for (const exchange of exchanges) {
    onDoor(exchange.title, exchange.scene ?? "plain", (client) => check(door, client, exchange));
  }
  if (!door.onlyPlainJSON) {
    onDoor("a type that ends in +json is JSON, too", "plain", async (client) => {
      const headers = { "content-type": "application/vnd.reality+json" };
      const response = await client.post("/sync", { known: {} }, headers);
      assert.equal(response.status, 200);
      await response.body?.cancel();
    });
  }
  if (!door.parsesBodies) {
    onDoor("bytes that are no UTF-8 are refused", "plain", async (client) => {
      const response = await client.post("/sync", new Uint8Array([0x7b, 0x22, 0xff, 0x22, 0x7d]));
      assert.equal(response.status, 400);
      assert.match(await response.text(), /UTF-8/);
    });
  }
  testAnswers(onDoor);
  if (!door.ownConnections) testConnections(onDoor);
  testWatching(onDoor, door.noticesLate);
  testBodies(onDoor);
  // Who reads bodies in front may read them to their end first.
  if (!door.parsesBodies) testLargeBodies(onDoor);
  testWaiting(onDoor);
  if (!door.noticesLate) testHangingUp(onDoor, door);
  testStreams(onDoor);
  testReadingRights(onDoor, door);
  testWritingRights(onDoor);
  testAdmission(onDoor, door);
  testCors(onDoor);
}

/**
 * Registers what takes a while: a stream whose reader is slow. Once for each way that streams go is enough.
 *
 * @param test The runner's.
 * @param door What is tested.
 */
export function testSlowReader(test: Test, door: Door): void {
  if (!door.noticesLate) testStalledReader(registerOn(test, door));
  registerOn(test, door)("a slow reader gets the newest state, not a backlog", "plain", async (client) => {
    const keys = Array.from({ length: 60 }, (_, i) => `${i}-`.padEnd(200, "k"));
    const hash = "h".repeat(250);
    const rounds = 600;
    const raw = await RawClient.connect(client.url(""));
    try {
      const { pathname } = new URL(client.url("/events"));
      raw.send(`GET ${pathname}?keys=${keys.join("&keys=")} HTTP/1.1\r\nHost: a\r\n\r\n`);
      await raw.receive((text) => text.includes("retry: 500"));
      raw.pause();
      await client.operate({ do: "update again and again", keys, hash, rounds });
      await client.operate({ do: "update", key: keys[0] ?? "", hash: "the newest" });
      await raw.resumeUntil("the newest");
      // Whatever the two systems hold between them is not ours to bound, but it is far from everything.
      const everything = rounds * keys.length * (200 + hash.length);
      assert.ok(raw.bytes < everything * 0.7, `${raw.bytes} of at least ${everything} bytes were sent`);
    } finally {
      await raw.close();
    }
    await client.isLeft(keys[0] ?? "");
  });
}

function registerOn(test: Test, door: Door): OnDoor {
  return (title, scene, run) =>
    test(`${door.name}: ${title}`, async () => {
      const open = await door.open(scene);
      try {
        await run(new Client(open, door.noticesLate));
      } finally {
        await open.close();
      }
    });
}

/** Registers a test of a door, before a server of this scene. */
export type OnDoor = (title: string, scene: SceneName, run: (client: Client) => Promise<void>) => void;

/** What syncs and writes bring about. */
function testAnswers(onDoor: OnDoor): void {
  onDoor("a sync tells what changed, and only that", "plain", async (client) => {
    await client.operate({ do: "update", key: "a", hash: "1" });
    await client.operate({ do: "update", key: "b", hash: "2" });
    const before = await client.sync({ known: { a: 0, b: 0, c: 0 } });
    assert.deepEqual(Object.keys(before.changed), ["a", "b"]);
    const { a, b } = before.changed;
    assert.ok(a !== undefined && b !== undefined && b.version > a.version);
    assert.deepEqual(Object.keys(a).sort(), ["hash", "key", "updatedAt", "version"]);
    assert.equal(a.hash, "1");
    assert.deepEqual(before.mesh, { peers: [], serverVersion: b.version });
    const { epoch } = before;
    const known = { a: a.version, b: b.version, c: 0 };
    assert.deepEqual((await client.sync({ known, epoch })).changed, {});
    assert.deepEqual((await client.sync({ known })).changed, {});

    const other = await client.sync({ known, epoch: "another life" });
    assert.deepEqual(Object.keys(other.changed), ["a", "b"]);
    const ahead = await client.sync({ known: { a: a.version + 1000 }, epoch });
    assert.deepEqual(ahead.changed, { a });
  });

  onDoor("a sync tells that a node is gone", "plain", async (client) => {
    await client.operate({ do: "update", key: "gone", hash: "1" });
    const { changed } = await client.sync({ known: { gone: 0 } });
    const known = { gone: changed.gone?.version ?? 0 };
    await client.operate({ do: "delete", key: "gone" });
    assert.deepEqual((await client.sync({ known })).changed.gone, absent("gone"));
    assert.deepEqual((await client.sync({ known: { gone: 0 } })).changed, {});
  });

  onDoor("a client of the 1.x line gets the answer that it checks for", "plain", async (client) => {
    const answer = await client.sync({ known: {}, ...LEGACY });
    assert.deepEqual(answer.mesh.peers, {});
    assert.equal(typeof answer.serverTime, "number");
    const half = await client.sync({ known: {}, clientId: "c1", mode: "native" });
    assert.deepEqual(half.mesh.peers, []);
  });

  onDoor("every key is a key, however strange", "plain", async (client) => {
    for (const key of STRANGE_KEYS) {
      const update = await client.post("/update", { key, hash: "1" }, WRITE);
      assert.equal(update.status, 200, key);
      const { versions, epoch } = await update.json();
      assert.deepEqual(Object.keys(versions), [key]);
      const answer = await client.sync({ known: { [key]: 0 }, epoch });
      assert.deepEqual(Object.keys(answer.changed), [key]);
      const meta = Object.getOwnPropertyDescriptor(answer.changed, key)?.value;
      assert.equal(meta.key, key);
      const { [key]: version } = versions;
      assert.equal(meta.version, version);
      assert.deepEqual((await client.sync({ known: { [key]: version } })).changed, {});
      const deletion = await client.send(
        "DELETE",
        `/nodes/${encodeURIComponent(key)}`,
        undefined,
        AUTHORIZED,
      );
      assert.equal(deletion.status, 204, key);
      await deletion.body?.cancel();
      const after = await client.sync({ known: { [key]: version } });
      assert.equal(Object.getOwnPropertyDescriptor(after.changed, key)?.value.deleted, true, key);
    }
  });

  onDoor("the write routes take one change and many, with either token", "plain", async (client) => {
    const scheme = { ...JSON_TYPE, authorization: `bearer ${TOKENS[1]}` };
    const one = await (await client.post("/update", { key: "one", hash: "1" }, scheme)).json();
    assert.deepEqual(Object.keys(one), ["versions", "epoch"]);
    const updates = [{ key: "one", hash: "2" }, { key: "two", hash: "" }];
    const many = await (await client.post("/update", { updates }, WRITE)).json();
    assert.deepEqual(Object.keys(many.versions), ["one", "two"]);
    assert.ok(many.versions.one > one.versions.one);
    const again = await (await client.post("/invalidate", { keys: ["one", "two"] }, WRITE)).json();
    const { changed } = await client.sync({ known: { one: 0, two: 0 } });
    for (const key of ["one", "two"]) {
      assert.ok(again.versions[key] > many.versions[key]);
      assert.equal(changed[key]?.version, again.versions[key]);
    }
    assert.notEqual(changed.one?.hash, changed.two?.hash);
  });

  onDoor("one connection serves many requests, refusals among them", "plain", async (client) => {
    const raw = await RawClient.connect(client.url(""));
    try {
      const ask = (body: string) => raw.send(syncHead(client, `Content-Length: ${body.length}`) + body);
      ask('{"known":{}}');
      assert.equal((await raw.receiveAnswer()).status, 200);
      ask('{"known":7}');
      assert.equal((await raw.receiveAnswer()).status, 400);
      ask('{"known":{}}');
      const { status, head, body } = await raw.receiveAnswer();
      assert.equal(status, 200);
      assert.equal(Number(/content-length: *(\d+)/i.exec(head)?.[1]), body.length);
      assert.doesNotMatch(head, /transfer-encoding|connection: *close/i);
    } finally {
      await raw.close();
    }
  });

  onDoor("a failure is reported once, and a refusal never", "broken", async (client) => {
    for (let i = 0; i < 3; i++) {
      const response = await client.post("/sync", { known: { a: 0 } });
      assert.equal(response.status, 503);
      await response.body?.cancel();
    }
    await (await client.post("/sync", {})).body?.cancel();
    assert.deepEqual(await client.reports(), ["ERR_REALITY_STORAGE"]);
  });

  onDoor("a server that is closed says so, and health still answers", "plain", async (client) => {
    await client.operate({ do: "close" });
    // It is not even looked at what is sent.
    for (const body of [{ known: {} }, { known: 7 }]) {
      const response = await client.post("/sync", body);
      assert.equal(response.status, 503);
      assert.match(response.headers.get("retry-after") ?? "", /^[1-5]$/);
      assert.equal((await response.json()).error.code, "ERR_REALITY_CLOSED");
    }
    await client.isWell();
  });
}

/** What a server that closes does about connections. */
function testConnections(onDoor: OnDoor): void {
  onDoor("a server that closes tells with each answer to leave the connection", "plain", async (client) => {
    const connect = () => RawClient.connect(client.url(""));
    const [waiting, late] = [await connect(), await connect()];
    const ask = (raw: RawClient, body: string) =>
      raw.send(`${syncHead(client, `Content-Length: ${body.length}`)}${body}`);
    const isAnswered = (text: string) => text.includes("\r\n\r\n");
    try {
      ask(waiting, '{"known":{"a":0},"wait":20000}');
      await client.hasWaiters(1);
      await client.operate({ do: "close" });
      assert.match(
        await waiting.receive(isAnswered),
        /^HTTP\/1\.1 200 [\s\S]*\r\nconnection: close\r\n/i,
      );
      ask(late, '{"known":{}}');
      assert.match(await late.receive(isAnswered), /^HTTP\/1\.1 503 [\s\S]*\r\nconnection: close\r\n/i);
    } finally {
      await waiting.close();
      await late.close();
    }
  });
}

/** Bodies that nobody should read to their end. */
function testLargeBodies(onDoor: OnDoor): void {
  onDoor("a body that says it is too large is refused before it comes", "small", async (client) => {
    const raw = await RawClient.connect(client.url(""));
    try {
      raw.send(syncHead(client, "Content-Length: 100000000"));
      const received = await raw.receive((text) => text.includes("\r\n\r\n"));
      assert.match(received, /^HTTP\/1\.1 413 /);
    } finally {
      await raw.close();
    }
    await client.isWell();
  });

  onDoor("a body that does not say how large it is, is counted", "small", async (client) => {
    const raw = await RawClient.connect(client.url(""));
    try {
      raw.send(syncHead(client, "Transfer-Encoding: chunked"));
      const chunk = `3e8\r\n${"x".repeat(1000)}\r\n`;
      raw.send(chunk + chunk + chunk);
      // The end never comes: only who counts can answer.
      const received = await raw.receive((text) => text.includes("maxBodyBytes (2000)"));
      assert.match(received, /^HTTP\/1\.1 413 /);
    } finally {
      await raw.close();
    }
    await client.isWell();
  });
}

/** The head of a sync whose body is sent by hand. */
function syncHead(client: Client, header: string): string {
  return `POST ${new URL(client.url("/sync")).pathname} HTTP/1.1\r\nHost: a\r\n` +
    `Content-Type: application/json\r\n${header}\r\n\r\n`;
}

/** Bodies in pieces, broken off or broken. */
function testBodies(onDoor: OnDoor): void {
  onDoor("a body in small pieces is read like any other", "small", async (client) => {
    const raw = await RawClient.connect(client.url(""));
    try {
      raw.send(syncHead(client, "Transfer-Encoding: chunked"));
      for (const character of '{"known":{}}') raw.send(`1\r\n${character}\r\n`);
      raw.send("0\r\n\r\n");
      const received = await raw.receive((text) => text.includes("serverTime"));
      assert.match(received, /^HTTP\/1\.1 200 /);
    } finally {
      await raw.close();
    }
  });

  onDoor("a client that hangs up in the middle of its body does no harm", "plain", async (client) => {
    for (const header of ["Content-Length: 1000", "Transfer-Encoding: chunked"]) {
      const raw = await RawClient.connect(client.url(""));
      raw.send(`${syncHead(client, header)}5\r\n{"kno`);
      await client.isWell();
      await raw.close();
    }
    await client.isWell();
    assert.deepEqual(await client.reports(), []);
  });

  onDoor("broken framing is refused or cut off, and does no harm", "plain", async (client) => {
    for (
      const rubbish of [`${syncHead(client, "Transfer-Encoding: chunked")}zz\r\n`, "\x00\x01\x02\r\n\r\n"]
    ) {
      const raw = await RawClient.connect(client.url(""));
      raw.send(rubbish);
      const received = await raw.receive((text) => text.includes("\r\n\r\n"));
      assert.match(received, /^(HTTP\/1\.1 (4|501)|$)/);
      await raw.close();
    }
    await client.isWell();
  });
}

/** Who waits, and who goes away meanwhile. */
function testWaiting(onDoor: OnDoor): void {
  onDoor("a waiting sync is answered by a change, through whichever way in", "plain", async (client) => {
    const ways: ((key: string) => Promise<unknown>)[] = [
      (key) => client.operate({ do: "update", key, hash: "2" }),
      (key) => client.operate({ do: "delete", key }),
      async (key) => await (await client.post("/update", { key, hash: "2" }, WRITE)).json(),
      async (key) => await (await client.post("/invalidate", { keys: ["other", key] }, WRITE)).json(),
      (key) => client.send("DELETE", `/nodes/${key}`, undefined, AUTHORIZED),
    ];
    for (const [i, change] of ways.entries()) {
      const key = `awaited-${i}`;
      await client.operate({ do: "update", key, hash: "1" });
      const { changed } = await client.sync({ known: { [key]: 0 } });
      const version = changed[key]?.version ?? 0;
      const waiting = client.sync({ known: { [key]: version }, wait: 20_000 });
      await client.hasWaiters(1);
      await client.operate({ do: "update", key: "something else", hash: "1" });
      await change(key);
      const answer = await soon(waiting, "the answer to a waiting sync");
      assert.deepEqual(Object.keys(answer.changed), [key]);
      assert.notEqual(answer.changed[key]?.version, version);
      await client.hasWaiters(0);
    }
  });

  onDoor("a waiting sync is answered at its time, with nothing", "plain", async (client) => {
    assert.deepEqual((await client.sync({ known: { quiet: 0 }, wait: 30 })).changed, {});
    await client.hasWaiters(0);
  });

  onDoor("a waiting sync is answered when the server stops", "plain", async (client) => {
    const waiting = client.sync({ known: { quiet: 0 }, wait: 20_000 });
    await client.hasWaiters(1);
    await client.operate({ do: "close" });
    assert.deepEqual((await soon(waiting, "the answer")).changed, {});
  });

  onDoor("a sync is answered at once when there is no place to wait", "full", async (client) => {
    const first = client.sync({ known: { a: 0 }, wait: 20_000 });
    await client.hasWaiters(1);
    const second = await soon(client.sync({ known: { a: 0 }, wait: 20_000 }), "the second answer");
    assert.deepEqual(second.changed, {});
    await client.operate({ do: "update", key: "a", hash: "1" });
    assert.equal((await first).changed.a?.hash, "1");
  });

  onDoor("many wait and all are woken", "plain", async (client) => {
    const waiting = Array.from({ length: 30 }, () => client.sync({ known: { crowd: 0 }, wait: 20_000 }));
    await client.hasWaiters(30);
    await client.operate({ do: "update", key: "crowd", hash: "1" });
    for (const { changed } of await soon(Promise.all(waiting), "thirty answers")) {
      assert.equal(changed.crowd?.hash, "1");
    }
    await client.hasWaiters(0);
  });
}

/** Who goes away while the server has nothing to send. */
function testHangingUp(onDoor: OnDoor, door: Door): void {
  onDoor("a client that hangs up while it waits gives its place back", "plain", async (client) => {
    const controller = new AbortController();
    const waiting = client.sync({ known: { a: 0 }, wait: 20_000 }, controller.signal).catch(() => "hung up");
    const raw = await RawClient.connect(client.url(""));
    const body = '{"known":{"a":0},"wait":20000}';
    raw.send(syncHead(client, `Content-Length: ${body.length}`) + body);
    await client.hasWaiters(2);
    controller.abort();
    assert.equal(await waiting, "hung up");
    await client.hasWaiters(1);
    await raw.close();
    await client.hasWaiters(0);
    assert.deepEqual(await client.reports(), []);
  });

  if (!door.leavesBodies) {
    onDoor("a client that hangs up within a body that its stream has no use for", "plain", async (client) => {
      const raw = await RawClient.connect(client.url(""));
      const { pathname } = new URL(client.url("/events"));
      raw.send(`GET ${pathname}?keys=a HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n`);
      raw.send("x".repeat(300_000));
      await client.hasStreams(1);
      await raw.close();
      await client.isLeft("a");
    });
  }

  for (const kind of ["sync", "stream"] as const) {
    const title = `a connection that closes gives back the places of all its pipelined requests: ${kind}`;
    onDoor(title, "plain", async (client) => {
      const body = '{"known":{"a":0},"wait":20000}';
      const request = kind === "sync"
        ? syncHead(client, `Content-Length: ${body.length}`) + body
        : `GET ${new URL(client.url("/events")).pathname}?keys=a HTTP/1.1\r\nHost: a\r\n\r\n`;
      const raw = await RawClient.connect(client.url(""));
      raw.send(request.repeat(400));
      if (!door.losesPipelined) {
        await client.hasWaiters(door.answersInTurn ? 1 : DEFAULT_LIMITS.maxWaitersPerConnection);
      }
      await raw.close();
      await client.hasWaiters(0);
      await client.hasStreams(0);
      assert.deepEqual(await client.reports(), []);
    });
  }
}

/** Event streams, from opening to end. */
function testStreams(onDoor: OnDoor): void {
  onDoor("a stream tells the present, then each change, then the end of a node", "plain", async (client) => {
    await client.operate({ do: "update", key: "news", hash: "1" });
    const response = await client.get("/events?keys=news&keys=quiet");
    assert.equal(response.status, 200);
    assert.match(response.headers.get("content-type") ?? "", /^text\/event-stream/);
    assert.equal(response.headers.get("cache-control"), "no-store, no-transform");
    assert.equal(response.headers.get("x-accel-buffering"), "no");
    const events = new EventReader(response);
    const first = await events.nextEvent("update");
    assert.equal(JSON.parse(first.data ?? "").hash, "1");
    assert.ok(first.id);
    await client.operate({ do: "update", key: "news", hash: "2" });
    const second = await events.nextEvent("update");
    assert.equal(JSON.parse(second.data ?? "").hash, "2");
    assert.notEqual(second.id, first.id);
    await client.operate({ do: "delete", key: "news" });
    assert.deepEqual(JSON.parse((await events.nextEvent("update")).data ?? ""), absent("news"));
    await events.cancel();
    await client.isLeft("news");
    assert.deepEqual(await client.reports(), []);
  });

  onDoor("a stream resumes where it broke off", "plain", async (client) => {
    await client.operate({ do: "update", key: "a", hash: "1" });
    await client.operate({ do: "update", key: "b", hash: "1" });
    const before = new EventReader(await client.get("/events?keys=a&keys=b"));
    await before.nextEvent("update");
    const { id = "" } = await before.nextEvent("update");
    await before.cancel();
    await client.operate({ do: "update", key: "b", hash: "2" });
    // Some clients cannot send headers, and put it into the query.
    const query = `&lastEventId=${encodeURIComponent(id)}`;
    for (const [more, headers] of [["", { "last-event-id": id }], [query, {}]] as const) {
      const after = new EventReader(await client.get(`/events?keys=a&keys=b${more}`, headers));
      const { key, hash } = JSON.parse((await after.nextEvent("update")).data ?? "");
      assert.deepEqual([key, hash], ["b", "2"]);
      await after.cancel();
    }
    await client.isLeft("a");
  });

  onDoor("a stream that cannot be resumed says so and tells everything", "plain", async (client) => {
    await client.operate({ do: "update", key: "a", hash: "1" });
    for (const id of ["garbage", "another-life:1", "another-life:another-storage:0:1", "%:%:0:1"]) {
      const events = new EventReader(await client.get("/events?keys=a", { "last-event-id": id }));
      const { data = "" } = await events.nextEvent("resync");
      assert.deepEqual(Object.keys(JSON.parse(data)), ["epoch"]);
      assert.equal(JSON.parse((await events.nextEvent("update")).data ?? "").hash, "1");
      await events.cancel();
    }
    await client.isLeft("a");
  });

  onDoor(
    "a silent stream sends comments without an id, and ends after its lifetime",
    "fast",
    async (client) => {
      const events = new EventReader(await client.get("/events?keys=quiet"));
      let heartbeats = 0;
      let retry: string | undefined;
      for (let frame = await events.next(); frame !== null; frame = await events.next()) {
        if (frame.retry !== undefined) retry = frame.retry;
        if (frame.comment === undefined) continue;
        heartbeats++;
        assert.deepEqual(frame, { comment: "heartbeat" });
      }
      assert.ok(heartbeats > 0);
      assert.equal(retry, "1750");
      await client.hasWaiters(0);
    },
  );

  onDoor("streams end when the server stops", "plain", async (client) => {
    const events = new EventReader(await client.get("/events?keys=a"));
    await client.hasWaiters(1);
    await client.operate({ do: "close" });
    let last = await events.next();
    for (let frame = last; frame !== null; frame = await events.next()) last = frame;
    assert.ok(Number(last?.retry) >= 500);
  });

  onDoor("a client that hangs up ends its stream", "plain", async (client) => {
    const raw = await RawClient.connect(client.url(""));
    const { pathname } = new URL(client.url("/events"));
    raw.send(`GET ${pathname}?keys=a HTTP/1.1\r\nHost: a\r\n\r\n`);
    await raw.receive((text) => text.includes("retry: 500"));
    await client.hasStreams(1);
    await raw.close();
    await client.isLeft("a");
    assert.deepEqual(await client.reports(), []);
  });

  onDoor("a stream follows strange keys", "plain", async (client) => {
    const query = STRANGE_KEYS.map((key) => `keys=${encodeURIComponent(key)}`).join("&");
    const events = new EventReader(await client.get(`/events?${query}`));
    await client.hasWaiters(1);
    for (const key of STRANGE_KEYS) {
      await client.operate({ do: "update", key, hash: "1" });
      assert.equal(JSON.parse((await events.nextEvent("update")).data ?? "").key, key);
    }
    await events.cancel();
    await client.isLeft("then");
  });
}

/** Asks a door. */
export class Client {
  readonly #door: OpenDoor;
  readonly #noticesLate: boolean;

  constructor(door: OpenDoor, noticesLate = false) {
    this.#door = door;
    this.#noticesLate = noticesLate;
  }

  url(path: string): string {
    return this.#door.url(path);
  }

  operate(operation: Operation): Promise<unknown> {
    return this.#door.operate(operation);
  }

  get(path: string, headers: Record<string, string> = {}): Promise<Response> {
    return this.send("GET", path, undefined, headers);
  }

  post(path: string, body: unknown, headers: Record<string, string> = JSON_TYPE): Promise<Response> {
    return this.send("POST", path, body, headers);
  }

  send(
    method: string,
    path: string,
    body: unknown,
    headers: Record<string, string>,
    signal?: AbortSignal,
  ): Promise<Response> {
    return fetch(this.url(path), toInit(method, body, headers, signal));
  }

  async sync(body: unknown, signal?: AbortSignal): Promise<SyncResponse> {
    const response = await this.send("POST", "/sync", body, JSON_TYPE, signal);
    assert.equal(response.status, 200);
    return await response.json();
  }

  async reports(): Promise<string[]> {
    return await this.operate({ do: "reports" }) as string[];
  }

  /** Waits until so many wait. */
  async hasWaiters(count: number): Promise<void> {
    await until(async () => (await this.stats()).waiters === count, `${count} wait`);
  }

  /** Waits until so many streams are open. */
  async hasStreams(count: number): Promise<void> {
    await until(async () => (await this.stats()).streams === count, `${count} streams are open`);
  }

  /** Waits until the server has noticed that nobody reads its streams of this key any more. */
  async isLeft(key: string): Promise<void> {
    const isOver = async () => {
      const { streams, waiters } = await this.stats();
      if (streams + waiters === 0) return true;
      if (this.#noticesLate) await this.operate({ do: "update", key, hash: String(Math.random()) });
      return false;
    };
    await until(isOver, "no stream is open");
  }

  /** Finds out that the server still answers. */
  async isWell(): Promise<void> {
    const response = await soon(this.get("/health"), "an answer");
    assert.equal(response.status, 200);
    await response.body?.cancel();
  }

  stats(): Promise<ServerStats> {
    return statsOf(this.#door);
  }
}

/** The numbers of the server behind a door. */
export async function statsOf(door: OpenDoor): Promise<ServerStats> {
  return await door.operate({ do: "stats" }) as ServerStats;
}

async function check(door: Door, client: Client, exchange: Exchange): Promise<void> {
  const { method = "POST", path = "/sync", headers = JSON_TYPE, body, status, code, message } = exchange;
  const url = exchange.whole ? new URL(path, client.url("")).href : client.url(path);
  const hasOwn = exchange.body === undefined && exchange.headers === undefined;
  const response = await fetch(url, toInit(method, body, hasOwn ? {} : headers));
  const text = await response.text();
  assert.equal(response.status, status, text);
  const theirs = (door.parsesBodies && exchange.bytes) || (door.ownNotFound && status === 404);
  if (theirs) return;
  for (const [name, expected] of Object.entries(exchange.answers ?? {})) {
    const found = response.headers.get(name);
    if (expected instanceof RegExp) assert.match(found ?? "", expected, name);
    else assert.equal(found, expected, name);
  }
  if (exchange.json === "") assert.equal(text, "");
  else if (exchange.json !== undefined) assert.deepEqual(JSON.parse(text), exchange.json);
  if (status < 400) return;
  assert.equal(response.headers.get("cache-control"), "no-store");
  if (method === "HEAD") return assert.equal(text, "");
  // Readiness is no refusal, and has a body of its own.
  if (exchange.json !== undefined) return;
  const { error, ...rest } = JSON.parse(text);
  assert.deepEqual([Object.keys(rest), Object.keys(error)], [[], ["code", "message"]]);
  if (code !== undefined) assert.equal(error.code, `ERR_REALITY_${code}`);
  if (message !== undefined) assert.match(error.message, message);
  assert.doesNotMatch(text, /password|\bat .*\.ts/);
}

function toInit(
  method: string,
  body: unknown,
  headers: Record<string, string>,
  signal?: AbortSignal,
): RequestInit {
  const raw = typeof body === "string" || body instanceof Uint8Array;
  return {
    method,
    headers,
    ...(body === undefined ? {} : { body: raw ? body as BodyInit : JSON.stringify(body) }),
    ...(signal === undefined ? {} : { signal }),
  };
}

function absent(key: string): unknown {
  return { key, version: 0, hash: "", updatedAt: 0, deleted: true };
}
