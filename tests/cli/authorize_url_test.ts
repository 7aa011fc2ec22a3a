import assert from "node:assert/strict";
import type { IncomingHttpHeaders } from "node:http";
import { authorizeByURL, type AuthorizeRequest, type AuthorizeURLOptions } from "../../cli/authorize_url.ts";
import type { RealityError } from "../../mod.ts";
import { settle } from "../clock.ts";
import { test } from "../harness.ts";
import { listenNode } from "../runtimes/node.ts";

/** An application that answers as the test sets it. */
interface Application {
  readonly url: string;
  readonly asked: { method: string; headers: IncomingHttpHeaders; body: string }[];
  status: number;
  answer: unknown;
  /** Answers wait for this. */
  hold: Promise<void>;
  /** Milliseconds by which time went on. */
  elapsed: number;
}

async function withApplication(
  run: (
    app: Application,
    create: (options?: Partial<AuthorizeURLOptions>) => AuthorizeRequest,
  ) => Promise<void>,
): Promise<void> {
  let app: Application | undefined;
  const { origin, close } = await listenNode((request, response) => {
    let body = "";
    request.on("data", (chunk) => body += chunk).on("end", async () => {
      app?.asked.push({ method: request.method ?? "", headers: request.headers, body });
      await app?.hold;
      if (app?.status === 0) return;
      if (request.url === "/elsewhere") return void response.end('{"keys":true}');
      response.writeHead(app?.status ?? 500, { location: "/elsewhere" });
      response.end(typeof app?.answer === "string" ? app.answer : JSON.stringify(app?.answer));
    });
  });
  const made: Application = app = {
    url: `${origin}/rights`,
    asked: [],
    status: 200,
    answer: { keys: true },
    hold: Promise.resolve(),
    elapsed: 0,
  };
  try {
    await run(
      made,
      (options) => authorizeByURL({ url: made.url, headers: [], now: () => made.elapsed, ...options }),
    );
  } finally {
    await close();
  }
}

function request(headers: Record<string, string> = {}): Request {
  return new Request("http://localhost/reality/sync", { method: "POST", headers });
}

test("authorizeByURL() sends the keys and only the headers that identify the client", async () => {
  await withApplication(async (app, create) => {
    const sent = { authorization: "Bearer a", cookie: "a=1; b=2", origin: "https://a", "x-api-key": "k" };
    const other = { "x-tenant": "7", "user-agent": "someone", "content-type": "text/plain", "x-other": "1" };
    app.answer = { keys: ["a"] };
    assert.deepEqual(await create({ headers: ["x-tenant"] })(request({ ...sent, ...other }), ["a", "b"]), [
      "a",
    ]);
    const [{ method, headers, body }] = app.asked as [Application["asked"][0]];
    assert.deepEqual([method, body], ["POST", '{"keys":["a","b"]}']);
    for (const [name, value] of Object.entries({ ...sent, "x-tenant": "7" })) {
      assert.equal(headers[name], value);
    }
    assert.equal(headers["content-type"], "application/json");
    assert.equal(headers["x-other"], undefined);
    assert.notEqual(headers["user-agent"], "someone");
  });
});

test("authorizeByURL() caches an answer until it expires, for the same headers and keys", async () => {
  await withApplication(async (app, create) => {
    const authorize = create();
    app.answer = { keys: ["a"], expiresIn: 60 };
    const ana = { authorization: "Bearer ana" };
    for (let i = 0; i < 3; i++) assert.deepEqual(await authorize(request(ana), ["a", "b"]), ["a"]);
    assert.equal(app.asked.length, 1);
    await authorize(request(ana), ["a"]);
    await authorize(request({ authorization: "Bearer bob" }), ["a", "b"]);
    await authorize(request({ cookie: "Bearer ana" }), ["a", "b"]);
    assert.equal(app.asked.length, 4);
    app.elapsed = 60_000;
    app.answer = { keys: false };
    assert.equal(await authorize(request(ana), ["a", "b"]), false);
    // Without expiresIn, no answer is cached.
    assert.equal(await authorize(request(ana), ["a", "b"]), false);
    assert.equal(app.asked.length, 6);
  });
});

test("authorizeByURL() sends one request for equal questions at the same time", async () => {
  await withApplication(async (app, create) => {
    const authorize = create();
    let release = () => {};
    app.hold = new Promise((resolve) => release = resolve);
    const answers = [1, 2, 3].map(() => authorize(request(), ["a"]));
    // Each question is digested first, on threads that take their time.
    await settle();
    release();
    await Promise.all(answers);
    assert.equal(app.asked.length, 1);
  });
});

test("authorizeByURL() has a bounded cache that keeps the most recently used answers", async () => {
  await withApplication(async (app, create) => {
    const authorize = create({ maxCacheBytes: 1_000 });
    app.answer = { keys: true, expiresIn: 60 };
    for (const key of ["a", "b", "a", "c", "a"]) await authorize(request(), [key]);
    assert.equal(app.asked.length, 3, "b went, a stayed");
    await authorize(request(), ["b"]);
    assert.equal(app.asked.length, 4);
    app.answer = { keys: ["x".repeat(1_000)], expiresIn: 60 };
    for (let i = 0; i < 2; i++) await authorize(request(), ["large"]);
    assert.equal(app.asked.length, 6);
  });
});

test("authorizeByURL() forwards 401 and 403, and treats every other failure as 503", async () => {
  await withApplication(async (app, create) => {
    const authorize = create({ timeout: 200 });
    const cases: [number, unknown, string, RegExp][] = [
      [401, "", "ERR_REALITY_UNAUTHORIZED", /does not know this client/],
      [403, "", "ERR_REALITY_FORBIDDEN", /does not allow it/],
      [
        500,
        "",
        "ERR_REALITY_HOOK",
        /^Cannot ask http:\/\/127\.0\.0\.1:\d+\/rights who may read: it answered 500$/,
      ],
      [302, "", "ERR_REALITY_HOOK", /who may read/],
      [204, undefined, "ERR_REALITY_HOOK", /it answered 204/],
      [200, "yes", "ERR_REALITY_HOOK", /who may read/],
      [200, null, "ERR_REALITY_HOOK", /its answer is not/],
      [200, {}, "ERR_REALITY_HOOK", /its answer is not/],
      [200, { keys: "a" }, "ERR_REALITY_HOOK", /its answer is not/],
      [200, { keys: [1] }, "ERR_REALITY_HOOK", /its answer is not/],
      [200, { keys: true, expiresIn: "60" }, "ERR_REALITY_HOOK", /its answer is not/],
      [200, { keys: true, expiresIn: -1 }, "ERR_REALITY_HOOK", /its answer is not/],
      [0, "", "ERR_REALITY_HOOK", /who may read/],
    ];
    for (const [status, answer, code, message] of cases) {
      [app.status, app.answer] = [status, answer];
      await assert.rejects(async () => await authorize(request(), ["a"]), (error: RealityError) => {
        assert.equal(error.code, code, `${status} ${error.message}`);
        assert.match(error.message, message);
        return true;
      });
    }
    [app.status, app.answer] = [200, { keys: true }];
    assert.equal(await authorize(request(), ["a"]), true, "nothing of a failure is kept");
  });
  const gone = authorizeByURL({ url: "http://127.0.0.1:1/rights", headers: [] });
  await assert.rejects(async () => await gone(request(), ["a"]), { code: "ERR_REALITY_HOOK" });
});
