import { deepEqual, equal, match, throws } from "node:assert/strict";
import type { HandlerOptions } from "../../../src/http/handler.ts";
import type { RealityServerOptions } from "../../../src/options.ts";
import { RealityServer } from "../../../src/server.ts";
import { FakeClock } from "../../clock.ts";
import { test } from "../../harness.ts";
import { HeldStorage } from "../../storages.ts";

const token = "write-token-0123456789";

function setUp(options: Partial<RealityServerOptions> = {}, mounting: HandlerOptions = {}) {
  const storage = new HeldStorage();
  const reports: Error[] = [];
  const server = new RealityServer({
    storage,
    clock: new FakeClock(),
    onError: (e) => reports.push(e),
    ...options,
  });
  const handler = server.getFetchHandler(mounting);
  const call = async (method: string, path: string, body?: unknown, headers: Record<string, string> = {}) => {
    const response = await handler(
      new Request(`http://localhost${path}`, {
        method,
        headers: { ...(body === undefined ? {} : { "content-type": "application/json" }), ...headers },
        ...(body === undefined ? {} : { body: typeof body === "string" ? body : JSON.stringify(body) }),
      }),
    );
    const text = await response.text();
    return {
      status: response.status,
      headers: response.headers,
      body: text === "" ? undefined : JSON.parse(text),
    };
  };
  const sync = (body: unknown, headers?: Record<string, string>) =>
    call("POST", "/reality/sync", body, headers);
  return { storage, server, reports, handler, call, sync };
}

test("the handler answers a sync with a response that no cache may store", async () => {
  const { server, sync } = setUp();
  await server.updateNode("a", "1");
  const { status, headers, body } = await sync({ known: { a: 0 } });
  equal(status, 200);
  equal(headers.get("content-type"), "application/json");
  equal(headers.get("cache-control"), null);
  equal(body.changed.a.version, 1);
});

test("the handler answers every failure with its status, code and message", async () => {
  const { storage, call, sync } = setUp({ limits: { maxBodyBytes: 100, maxKeys: 2 } });
  const cases: [Promise<{ status: number; body: unknown }>, number, string, RegExp][] = [
    [call("POST", "/reality/sink", {}), 404, "NOT_FOUND", /basePath "\/reality"/],
    [call("POST", "/", {}), 404, "NOT_FOUND", /reality\/sync/],
    [call("GET", "/reality/sync"), 405, "METHOD", /allowed is POST/],
    [
      call("POST", "/reality/sync", "{}", { "content-type": "text/plain" }),
      415,
      "MEDIA_TYPE",
      /"text\/plain"/,
    ],
    [sync("{"), 400, "BAD_REQUEST", /expected JSON in UTF-8/],
    [sync(""), 400, "BAD_REQUEST", /expected JSON/],
    [sync({ known: 7 }), 400, "BAD_REQUEST", /"known": expected an object, got the number 7/],
    [sync({ known: { a: 0, b: 0, c: 0 } }), 413, "TOO_MANY_KEYS", /maxKeys \(2\)/],
    [sync({ known: { ["x".repeat(200)]: 0 } }), 413, "BODY_TOO_LARGE", /maxBodyBytes \(100\)/],
    [call("GET", "/reality/events"), 400, "BAD_REQUEST", /"keys"/],
    [call("GET", "/reality/events?keys=%0A"), 400, "BAD_REQUEST", /"keys\[0\]"/],
    [call("POST", "/reality/update", {}), 403, "FORBIDDEN", /writeTokens/],
    [call("DELETE", "/reality/nodes/a"), 403, "FORBIDDEN", /writeTokens/],
  ];
  for (const [reply, status, code, message] of cases) {
    const { body, status: found } = await reply;
    const { error } = body as { error: { code: string; message: string } };
    deepEqual([found, error.code], [status, `ERR_REALITY_${code}`]);
    match(error.message, message);
    deepEqual(Object.keys(error), ["code", "message"]);
  }
  storage.failure = new Error("password=secret");
  const down = await sync({ known: {} });
  equal(down.status, 503);
  equal(Number(down.headers.get("retry-after")) >= 1, true);
  deepEqual(down.body, { error: { code: "ERR_REALITY_STORAGE", message: "The storage does not answer" } });
});

test("the handler refuses a body over the limit, whatever length it declares", async () => {
  const { sync } = setUp({ limits: { maxBodyBytes: 100 } });
  const body = JSON.stringify({ known: { [`k${"x".repeat(100)}`]: 0 } });
  const declarations: Record<string, string>[] = [
    {},
    { "content-length": String(body.length) },
    { "content-length": "20" },
    { "content-length": "20", "content-encoding": "identity" },
  ];
  for (const headers of declarations) {
    const answer = await sync(body, headers);
    equal(answer.status, 413);
    match(answer.body.error.message, /maxBodyBytes \(100\)/);
  }
  const small = JSON.stringify({ known: { k: 0 } });
  for (const headers of [{}, { "content-length": String(small.length) }]) {
    equal((await sync(small, headers)).status, 200);
  }
});

test("the handler names the allowed methods of a path", async () => {
  const { call } = setUp();
  equal((await call("PUT", "/reality/sync", {})).headers.get("allow"), "POST");
  equal((await call("POST", "/reality/health", {})).headers.get("allow"), "GET, HEAD");
  equal((await call("GET", "/reality/nodes/a")).headers.get("allow"), "DELETE");
});

test("the handler accepts JSON under each of its media types", async () => {
  const { sync } = setUp();
  for (const type of ["application/json", "Application/JSON; charset=utf-8", "application/vnd.api+json"]) {
    equal((await sync({ known: {} }, { "content-type": type })).status, 200, type);
  }
  for (
    const type of [
      "application/jsonx",
      "text/json",
      "multipart/form-data",
      "application/x-www-form-urlencoded",
    ]
  ) {
    equal((await sync({ known: {} }, { "content-type": type })).status, 415, type);
  }
});

test("the handler serves its routes under the given base path", async () => {
  const root = setUp({}, { basePath: "" });
  equal((await root.call("POST", "/sync", { known: {} })).status, 200);
  const deep = setUp({}, { basePath: "/api/v1/live" });
  equal((await deep.call("POST", "/api/v1/live/sync?x=1", { known: {} })).status, 200);
  equal((await deep.call("POST", "/reality/sync", { known: {} })).status, 404);
  for (const basePath of ["reality", "/reality/", "/a b", 7]) {
    throws(() => setUp({}, { basePath: basePath as string }), {
      name: "TypeError",
      message: /"basePath" is wrong/,
    });
  }
  throws(() => setUp({}, { path: "/" } as HandlerOptions), {
    name: "TypeError",
    message: /Unknown option "path"/,
  });
});

test("the write routes change nodes for requests with the token", async () => {
  const { server, call } = setUp({ writeTokens: [token] });
  const authorization = { authorization: `Bearer ${token}` };
  const { epoch } = await server.getStats();
  const one = await call("POST", "/reality/update", { key: "a", hash: "1" }, authorization);
  deepEqual([one.status, one.body], [200, { versions: { a: 1 }, epoch }]);
  const two = await call("POST", "/reality/update", {
    updates: [{ key: "a", hash: "2" }, { key: "__proto__", hash: "1" }],
  }, authorization);
  deepEqual(Object.entries(two.body.versions), [["a", 2], ["__proto__", 3]]);
  const three = await call("POST", "/reality/invalidate", { keys: ["a"] }, authorization);
  deepEqual(three.body.versions, { a: 4 });
  const four = await call(
    "DELETE",
    `/reality/nodes/${encodeURIComponent("__proto__")}`,
    undefined,
    authorization,
  );
  equal(four.status, 204);
  equal(await server.getNode("__proto__"), null);
  const strange = 'a/b?c#d "👋"';
  await server.updateNode(strange, "1");
  equal(
    (await call("DELETE", `/reality/nodes/${encodeURIComponent(strange)}`, undefined, authorization)).status,
    204,
  );
  equal(await server.getNode(strange), null);
  equal((await call("DELETE", "/reality/nodes/%ff", undefined, authorization)).status, 400);
  equal((await call("DELETE", "/reality/nodes/", undefined, authorization)).status, 400);
});

test("the write routes refuse a request without a token before they read its body", async () => {
  const { call } = setUp({ writeTokens: [token] });
  const { status, headers } = await call("POST", "/reality/update", "not read", {
    "content-type": "text/plain",
  });
  equal(status, 401);
  equal(headers.get("www-authenticate"), "Bearer");
});

test("authorizeWrite decides on the request and all of its keys", async () => {
  const { server, call } = setUp({
    authorizeWrite: (request, keys) =>
      request.headers.get("x-user") === "me" && keys.every((key) => key.startsWith("mine:")),
  });
  const update = (key: string, user: string) =>
    call("POST", "/reality/update", { key, hash: "1" }, { "x-user": user });
  equal((await update("mine:a", "me")).status, 200);
  equal((await update("mine:a", "you")).status, 403);
  equal((await update("yours:a", "me")).status, 403);
  equal((await call("DELETE", "/reality/nodes/mine:a", undefined, { "x-user": "me" })).status, 204);
  equal(await server.getNode("mine:a"), null);
});

test("a hook that throws is reported and answered with a 500 without details", async () => {
  const { call, reports } = setUp({
    authorizeWrite() {
      throw new Error("secret");
    },
  });
  const { status, body } = await call("POST", "/reality/update", { key: "a", hash: "1" });
  equal(status, 500);
  deepEqual(body.error, { code: "ERR_REALITY_INTERNAL", message: "The server failed at this request" });
  equal((reports[0]?.cause as Error).message, "secret");
});

test("GET /health says that the server is alive and names nothing", async () => {
  const { storage, call } = setUp();
  storage.failure = new Error("away");
  deepEqual((await call("GET", "/reality/health")).body, { status: "ok" });
  const head = await call("HEAD", "/reality/health");
  deepEqual([head.status, head.body], [200, undefined]);
});

test("a closed server answers 503 and asks to close the connection", async () => {
  const { server, sync } = setUp();
  await server.close();
  const { status, headers, body } = await sync({ known: {} });
  deepEqual([status, headers.get("connection"), body.error.code], [503, "close", "ERR_REALITY_CLOSED"]);
});

test("CORS is off by default", async () => {
  const { sync, call } = setUp();
  const { headers } = await sync({ known: {} }, { origin: "https://app.example" });
  equal(headers.get("access-control-allow-origin"), null);
  equal((await call("OPTIONS", "/reality/sync")).status, 405);
});

test("CORS allows the listed origins and answers their preflights", async () => {
  const { sync, call } = setUp({}, { cors: { origin: ["https://app.example"], credentials: true } });
  const allowed = await sync({ known: {} }, { origin: "https://app.example" });
  equal(allowed.headers.get("access-control-allow-origin"), "https://app.example");
  equal(allowed.headers.get("access-control-allow-credentials"), "true");
  equal(allowed.headers.get("vary"), "Origin");
  const other = await sync({ known: {} }, { origin: "https://evil.example" });
  equal(other.headers.get("access-control-allow-origin"), null);
  equal(other.headers.get("vary"), "Origin");
  const preflight = await call("OPTIONS", "/reality/sync", undefined, {
    origin: "https://app.example",
    "access-control-request-method": "POST",
  });
  equal(preflight.status, 204);
  equal(preflight.headers.get("access-control-allow-methods"), "GET, POST, DELETE");
  match(preflight.headers.get("access-control-allow-headers") ?? "", /content-type/);
  equal(
    (await sync("{", { origin: "https://app.example" })).headers.get("access-control-allow-origin") !== null,
    true,
  );
});

test("CORS accepts a function and a wildcard, but no wildcard with credentials", async () => {
  const asked = setUp({}, { cors: { origin: (origin) => origin.endsWith(".example") } });
  const { headers } = await asked.sync({ known: {} }, { origin: "https://a.example" });
  equal(headers.get("access-control-allow-origin"), "https://a.example");
  const wild = setUp({}, { cors: { origin: "*" } });
  equal((await wild.sync({ known: {} })).headers.get("access-control-allow-origin"), "*");
  for (
    const cors of [
      { origin: "*", credentials: true },
      { origin: ["https://app.example/"] },
      { origin: ["*"] },
      { origin: 7 },
      { origin: "*", allowMethods: ["GET"] },
    ]
  ) throws(() => setUp({}, { cors: cors as never }), { name: "TypeError" });
});
