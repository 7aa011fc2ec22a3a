/**
 * Limits of requests: how many at once, how often, how slowly, and what refused clients receive.
 *
 * @module
 */
import { deepEqual, equal, match } from "node:assert/strict";
import {
  type FetchHandler,
  type HandlerOptions,
  RealityServer,
  type RealityServerOptions,
} from "../../../mod.ts";
import type { RealityError } from "../../../src/errors.ts";
import { FakeClock, settle } from "../../clock.ts";
import { test } from "../../harness.ts";
import { HeldStorage } from "../../storages.ts";

const TOKEN = "write-token-0123456789";
const MINUTE = { limit: 2, window: 60_000 };
const CLIENT_INFO = { remoteAddr: { hostname: "192.0.2.1" } };

test("a request over maxRequests is refused before its body is read, with Retry-After", async () => {
  const { clock, storage, handler, sync } = setUp({ limits: { maxRequests: 2 } });
  const release = storage.hold();
  const first = [sync({ known: { a: 0 } }), sync({ known: { b: 0 } })];
  await settle();
  const body = new ReadableStream<Uint8Array>({ pull: () => new Promise(() => {}) }, { highWaterMark: 0 });
  clock.randomValue = 0.99;
  const refused = await handler(postOf("/sync", body));
  equal(refused.status, 503);
  equal(refused.headers.get("retry-after"), "5");
  equal(refused.headers.get("connection"), null);
  const { error } = await refused.json();
  equal(error.code, "ERR_REALITY_OVERLOADED");
  match(error.message, /maxRequests \(2\)/);
  release();
  for (const answer of first) equal((await answer).status, 200);
  equal((await sync({ known: { a: 0 } })).status, 200);
});

test("health, readiness, metrics and the OpenAPI document are answered under any load", async () => {
  const { storage, handler, sync } = setUp({
    limits: { maxRequests: 1 },
    rateLimit: { limit: 1, window: 60_000 },
  });
  const release = storage.hold();
  const first = sync({ known: { a: 0 } });
  await settle();
  for (const path of ["/health", "/metrics", "/openapi.json"]) {
    for (let i = 0; i < 3; i++) {
      const answer = await handler(new Request(`http://localhost/reality${path}`), CLIENT_INFO);
      equal(answer.status, 200, path);
      equal(answer.headers.get("ratelimit"), null);
      await answer.body?.cancel();
    }
  }
  release();
  await first;
});

test("a stream over maxRequests is told to reconnect, and nothing else", async () => {
  const { clock, storage, handler, sync } = setUp({ limits: { maxRequests: 1 } });
  const release = storage.hold();
  const first = sync({ known: { a: 0 } });
  await settle();
  clock.randomValue = 0.5;
  const events = await handler(new Request("http://localhost/reality/events?keys=a"));
  equal(events.status, 200);
  equal(events.headers.get("content-type"), "text/event-stream");
  equal(await events.text(), "retry: 1750\n\n");
  release();
  await first;
});

test("waiting requests are not counted, and none is refused when all are woken", async () => {
  const { clock, server, sync } = setUp({ limits: { maxRequests: 1 } });
  const waiting = [];
  for (let i = 0; i < 20; i++) {
    waiting.push(sync({ known: { crowd: 0 }, wait: 20_000 }));
    await settle();
  }
  equal((await server.getStats()).waiters, 20);
  await server.updateNode("crowd", "1");
  equal((await sync({ known: { crowd: 0 } })).status, 200);
  for (const answer of waiting) equal((await (await answer).json()).changed.crowd.hash, "1");
  const last = sync({ known: { quiet: 0 }, wait: 1_000 });
  await settle();
  equal((await sync({ known: { a: 0 } })).status, 200);
  await clock.advance(1_000);
  equal((await last).status, 200);
  equal((await sync({ known: { a: 0 } })).status, 200);
});

test("a request that fails, is refused or disconnects frees its slot", async () => {
  const { handler, sync, storage } = setUp({ limits: { maxRequests: 1 } });
  for (let i = 0; i < 3; i++) {
    equal((await sync({ known: 7 })).status, 400);
    equal((await handler(postOf("/sync", "{"))).status, 400);
    equal((await handler(postOf("/update", "{}"))).status, 401);
    const controller = new AbortController();
    const gone = handler(postOf("/sync", '{"known":{"a":0},"wait":9000}', { signal: controller.signal }));
    await settle();
    controller.abort();
    await (await gone).body?.cancel();
  }
  storage.failure = new Error("down");
  equal((await sync({ known: { a: 0 } })).status, 503);
  storage.failure = undefined;
  equal((await sync({ known: { a: 0 } })).status, 200);
});

test("a body that does not arrive is refused after bodyTimeout, and nothing of it is kept", async () => {
  const { clock, handler, sync } = setUp({ limits: { bodyTimeout: 1_000 } });
  for (const headers of [{}, { "content-length": "20" }, { "content-length": "100000" }]) {
    let isCancelled = false;
    const body = new ReadableStream<Uint8Array>({
      start: (controller) => controller.enqueue(new TextEncoder().encode('{"known"')),
      cancel: () => void (isCancelled = true),
    });
    const answer = handler(postOf("/sync", body, { headers }));
    await clock.advance(999);
    equal(clock.timers, 1);
    await clock.advance(1);
    const refused = await answer;
    equal(refused.status, 408);
    equal(refused.headers.get("connection"), "close");
    equal((await refused.json()).error.code, "ERR_REALITY_TIMEOUT");
    equal(clock.timers, 0);
    // A body with a small declared length is read in one piece, which only the runtime can stop.
    if (headers["content-length"] !== "20") equal(isCancelled, true);
  }
  equal((await sync({ known: {} })).status, 200);
});

test("bodies that hold too many bytes together are refused while or before they are read", async () => {
  const { handler, sync } = setUp({ limits: { maxReadingBytes: 1_000, maxRequests: 10 } });
  let send: (text: string) => void = () => {};
  const body = new ReadableStream<Uint8Array>({
    start(controller) {
      send = (text) => controller.enqueue(new TextEncoder().encode(text));
    },
  });
  const first = handler(postOf("/sync", body));
  send(`{"known":{},"x":"${"x".repeat(800)}`);
  await settle();
  for (const headers of [{}, { "content-length": "500" }]) {
    const text = JSON.stringify({ known: {}, x: "x".repeat(480) });
    const refused = await handler(postOf("/sync", text, { headers }));
    equal(refused.status, 503);
    equal(refused.headers.get("connection"), "close");
    match((await refused.json()).error.message, /maxReadingBytes \(1000\)/);
  }
  equal((await sync({ known: {} })).status, 200);
  send("y".repeat(300));
  equal((await first).status, 503);
  const whole = JSON.stringify({ known: {}, x: "x".repeat(900) });
  equal((await handler(postOf("/sync", whole))).status, 200);
});

test("a body that was read in one piece frees its bytes, whether it is accepted or refused", async () => {
  const { clock, handler } = setUp({ limits: { maxReadingBytes: 1_000, maxRequests: 10 } });
  const invalid = new Uint8Array([
    ...new TextEncoder().encode('{"known":{"'),
    0xff,
    0x22,
    0x3a,
    0x31,
    0x7d,
    0x7d,
  ]);
  const bodies: [string | Uint8Array<ArrayBuffer>, number][] = [
    ['{"known":{"a":1}}', 200],
    ['{"known":{"\ufffd":1}}', 200],
    ['{"known":', 400],
    [invalid, 400],
  ];
  for (let round = 0; round < 30; round++) {
    for (const [body, status] of bodies) {
      const length = String(typeof body === "string" ? new TextEncoder().encode(body).length : body.length);
      const answer = await handler(postOf("/sync", body, { headers: { "content-length": length } }));
      equal(answer.status, status, `${body}`);
      equal(clock.timers, 0);
    }
  }
});

test("a body in one piece is read if it contains U+FFFD, and refused if it is not UTF-8", async () => {
  const { handler } = setUp();
  const bodyOf = (...key: number[]) =>
    new Uint8Array([
      ...new TextEncoder().encode('{"known":{"a'),
      ...key,
      ...new TextEncoder().encode('":0}}'),
    ]);
  const BOM = [0xef, 0xbb, 0xbf];
  const cases: [Uint8Array<ArrayBuffer>, number][] = [
    [bodyOf(0xef, 0xbf, 0xbd), 200],
    [bodyOf(0xef, 0xbf, 0xbd, 0xc3, 0xa9, 0xf0, 0x9f, 0x98, 0x80), 200],
    [new Uint8Array([...BOM, ...bodyOf(0x61)]), 200],
    [new Uint8Array([...BOM, ...bodyOf(0xef, 0xbf, 0xbd)]), 200],
    [bodyOf(0xff), 400],
    [bodyOf(0xc3), 400],
    [bodyOf(0xe2, 0x82), 400],
    [bodyOf(0xf0, 0x9f), 400],
    [bodyOf(0xed, 0xa0, 0x80), 400],
    [bodyOf(0xc0, 0x80), 400],
    [bodyOf(0xef, 0xbf, 0xbd, 0xff), 400],
  ];
  for (const [body, status] of cases) {
    const headers = { "content-length": String(body.length) };
    equal((await handler(postOf("/sync", body, { headers }))).status, status, `${body}`);
  }
});

test("a body in one piece is measured in bytes, also if it is longer than its declared length", async () => {
  const { handler } = setUp({ limits: { maxBodyBytes: 100 } });
  const headers = { "content-length": "10" };
  for (
    const [text, status] of [["é".repeat(40), 200], ["é".repeat(41), 413], ["e".repeat(82), 413]] as const
  ) {
    const answer = await handler(postOf("/sync", `{"known":{},"x":"${text}"}`, { headers }));
    equal(answer.status, status, text);
  }
});

test("a compressed body is refused with the accepted encoding", async () => {
  const { handler } = setUp();
  for (const encoding of ["gzip", "br", "deflate", "gzip, identity", "x".repeat(1_000)]) {
    const refused = await handler(
      postOf("/sync", '{"known":{}}', { headers: { "content-encoding": encoding } }),
    );
    equal(refused.status, 415);
    equal(refused.headers.get("accept-encoding"), "identity");
    const { error } = await refused.json();
    equal(error.code, "ERR_REALITY_MEDIA_TYPE");
    equal(error.message.length < 200, true);
  }
  for (const encoding of ["identity", "Identity", ""]) {
    const answer = await handler(
      postOf("/sync", '{"known":{}}', { headers: { "content-encoding": encoding } }),
    );
    equal(answer.status, 200);
  }
});

test("answers of limited routes, refusals included, have the rate limit fields, and 429 has Retry-After", async () => {
  const { clock, handler, call } = setUp({ rateLimit: { limit: 3, window: 60_000 } });
  const found = [];
  for (let i = 0; i < 5; i++) {
    const answer = await handler(postOf("/sync", i === 1 ? "{" : '{"known":{}}'), CLIENT_INFO);
    found.push([answer.status, answer.headers.get("ratelimit")]);
    equal(answer.headers.get("ratelimit-policy"), '"default";q=3;w=60');
    await answer.body?.cancel();
  }
  deepEqual(found, [
    [200, '"default";r=2;t=20'],
    [400, '"default";r=1;t=20'],
    [200, '"default";r=0;t=20'],
    [429, '"default";r=0;t=20'],
    [429, '"default";r=0;t=20'],
  ]);
  clock.randomValue = 0.5;
  const stream = await call("GET", "/events?keys=a");
  equal(stream.headers.get("ratelimit"), '"default";r=0;t=20');
  equal(await stream.text(), "retry: 21250\n\n");
  const refused = await call("POST", "/sync");
  equal(refused.status, 429);
  // Never before the moment that the header fields name.
  equal(refused.headers.get("retry-after"), "22");
  const { error } = await refused.json();
  equal(error.code, "ERR_REALITY_RATE_LIMITED");
  match(error.message, /^Cannot take the request: rateLimit is used up, try again in 20 s$/);
  await clock.advance(20_000);
  equal((await call("GET", "/events?keys=a")).status, 200);
  equal(
    (await handler(postOf("/sync", '{"known":{}}'), { remoteAddr: { hostname: "192.0.2.2" } })).status,
    200,
  );
});

test("every route that does work is limited, failed tokens included, and no other", async () => {
  const routes = [
    ["POST", "/sync"],
    ["GET", "/events?keys=a"],
    ["POST", "/update"],
    ["POST", "/invalidate"],
    [
      "DELETE",
      "/nodes/a",
    ],
  ] as const;
  for (const [method, path] of routes) {
    const { call } = setUp({ rateLimit: MINUTE });
    for (const expected of [false, false, true]) {
      const answer = await call(method, path);
      if (!expected || method !== "GET") {
        equal(answer.status === 429, expected, `${method} ${path}`);
        await answer.body?.cancel();
      } else {
        // An EventSource would not reconnect after a 429.
        equal(answer.status, 200);
        match(await answer.text(), /^retry: \d+\n\n$/);
      }
    }
  }
  const { call } = setUp({ rateLimit: MINUTE }, { cors: { origin: "*" } });
  for (let i = 0; i < 5; i++) {
    equal((await call("GET", "/nope")).status, 404);
    equal((await call("GET", "/sync")).status, 405);
    equal((await call("OPTIONS", "/sync", { "access-control-request-method": "POST" })).status, 204);
  }
  equal((await call("GET", "/events?keys=a")).status, 200);
});

test("pages of other origins may read the fields that say how old an answer is and when to retry", async () => {
  const names = "reality-time, ratelimit, ratelimit-policy, retry-after";
  for (const origins of ["*", ["https://app.example"]] as const) {
    const { call } = setUp({ rateLimit: MINUTE }, { cors: { origin: origins } });
    const answer = await call("POST", "/sync", { origin: "https://app.example" });
    equal(answer.headers.get("access-control-expose-headers"), names);
    await answer.body?.cancel();
    if (origins === "*") continue;
    const other = await call("POST", "/sync", { origin: "https://other.example" });
    equal(other.headers.get("access-control-expose-headers"), null);
    await other.body?.cancel();
  }
});

test("a rateLimit hook that throws is reported and answered with a 500", async () => {
  const { handler, reports } = setUp({
    rateLimit: {
      ...MINUTE,
      key: () => {
        throw new Error("password=secret");
      },
    },
  });
  const answer = await handler(postOf("/sync", '{"known":{}}'), CLIENT_INFO);
  equal(answer.status, 500);
  equal((await answer.text()).includes("secret"), false);
  equal(reports.length, 1);
});

test("the address is found in the values that runtimes and frameworks pass, and in no others", async () => {
  const request = () => postOf("/sync", '{"known":{}}');
  const cases: [unknown, unknown, string | null][] = [
    [undefined, undefined, null],
    [undefined, null, null],
    [undefined, "192.0.2.1", null],
    [undefined, { remoteAddr: { transport: "tcp", hostname: "192.0.2.1", port: 1 } }, "192.0.2.1"],
    [undefined, { remoteAddr: { transport: "unix", path: "/run/a" } }, null],
    [undefined, { remoteAddr: null }, null],
    [undefined, { requestIP: () => ({ address: "::1", family: "IPv6", port: 1 }) }, "::1"],
    [undefined, { requestIP: () => null }, null],
    [undefined, {
      requestIP: () => {
        throw new Error("Not a request of mine");
      },
    }, null],
    // The bindings of a Worker, and the next() of Hono.
    [undefined, { KV: { get() {} }, remoteAddr: "a binding", requestIP: "another" }, null],
    [undefined, () => {}, null],
    // The context of Hono.
    [{}, undefined, null],
    [{ env: undefined }, () => {}, null],
    [{ env: CLIENT_INFO }, () => {}, "192.0.2.1"],
    [{ env: { incoming: { socket: { remoteAddress: "192.0.2.1" } } } }, () => {}, "192.0.2.1"],
    [{ env: { incoming: {} } }, () => {}, null],
    [{ env: {} }, CLIENT_INFO, null],
  ];
  for (const [context, host, expected] of cases) {
    const seen: (string | null)[] = [];
    const { handler } = setUp({
      rateLimit: {
        ...MINUTE,
        key: (_, { address }) => {
          seen.push(address);
          return null;
        },
      },
    });
    const given = context === undefined ? request() : { req: { raw: request() }, ...context as object };
    equal((await handler(given, host)).status, 200);
    deepEqual(seen, [expected]);
  }
});

function postOf(
  path: string,
  body: string | Uint8Array<ArrayBuffer> | ReadableStream<Uint8Array>,
  { headers = {}, signal }: { headers?: Record<string, string>; signal?: AbortSignal } = {},
): Request {
  return new Request(`http://localhost/reality${path}`, {
    method: "POST",
    headers: { "content-type": "application/json", ...headers },
    body,
    ...(signal === undefined ? {} : { signal }),
    ...(body instanceof ReadableStream ? { duplex: "half" } : {}),
  });
}

function setUp(options: Partial<RealityServerOptions> = {}, mounting: HandlerOptions = {}) {
  const clock = new FakeClock();
  const storage = new HeldStorage();
  const reports: RealityError[] = [];
  const server = new RealityServer({
    storage,
    clock,
    writeTokens: [TOKEN],
    onError: (error) => reports.push(error),
    ...options,
  });
  const handler: FetchHandler = server.getFetchHandler(mounting);
  const sync = (body: unknown) => handler(postOf("/sync", JSON.stringify(body)), CLIENT_INFO);
  const call = (method: string, path: string, headers: Record<string, string> = {}) =>
    handler(new Request(`http://localhost/reality${path}`, { method, headers }), CLIENT_INFO);
  return { clock, storage, server, reports, handler, sync, call };
}
