/**
 * The OpenAPI document, and that servers do what it says.
 *
 * @module
 */
import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { Validator } from "@seriousme/openapi-schema-validator";
import { createFetchHandler, MemoryStorage, RealityServer } from "../../../mod.ts";
import { test } from "../../harness.ts";
import { TOKENS } from "../../http/scenes.ts";
import { listenFetch } from "../../runtimes/fetch.ts";
import {
  checkAnswer,
  checkExchange,
  type Content,
  copy,
  createChecker,
  createValidator,
  type Document,
  document,
  escape,
  exchanges,
  JSON_TYPE,
  METHODS,
  TOKEN,
  withScene,
} from "./openapi_kit.ts";

test("createOpenAPI() creates a valid OpenAPI 3.1 document", async () => {
  const { valid, errors } = await new Validator().validate({ ...copy() });
  assert.deepEqual({ valid, errors }, { valid: true, errors: undefined });
  assert.equal(document.openapi, "3.1.0");
  assert.equal(document.info.version, JSON.parse(readFileSync("deno.json", "utf8")).version);
});

test("src/openapi.json is the result of createOpenAPI(): `deno task build:openapi` writes it", () => {
  assert.deepEqual(JSON.parse(readFileSync("src/openapi.json", "utf8")), document);
});

test("every example of the document matches its schema", () => {
  const check = createChecker();
  let count = 0;
  const walk = (value: unknown, path: string) => {
    if (typeof value !== "object" || value === null) return;
    const { schema, example, examples } = value as Content & { schema?: unknown };
    if (schema !== undefined) {
      const values = Object.values(examples ?? {}).map((one) => one.value);
      for (const one of example === undefined ? values : [example, ...values]) {
        check(`${path}/schema`, one);
        count++;
      }
    }
    for (const [name, part] of Object.entries(value)) walk(part, `${path}/${escape(name)}`);
  };
  walk(document, "#");
  assert.ok(count > 20, `${count} examples were found`);
});

test("every route of the handler is in the document", () => {
  const files = readdirSync("src/http").map((name) => readFileSync(`src/http/${name}`, "utf8"));
  const routes = files.flatMap((text) => [...text.matchAll(/`\$\{basePath\}(\/[\w.]+\/?)`/g)])
    .map(([, path = ""]) => path.endsWith("/") ? `${path}{key}` : path);
  assert.deepEqual([...new Set(routes)].sort(), Object.keys(document.paths).sort());
});

test("the handler has every path and method of the document, and no others", async () => {
  await withScene("cached", async (origin) => {
    for (const [path, operations] of Object.entries(document.paths)) {
      const methods = Object.keys(operations).map((method) => method.toUpperCase());
      for (const method of METHODS) {
        const response = await fetch(`${origin}/reality${path}`, { method });
        await response.body?.cancel();
        assert.equal(response.status === 405, !methods.includes(method), `${method} ${path}`);
        assert.notEqual(response.status, 404, `${method} ${path}`);
        if (response.status === 405) assert.equal(response.headers.get("allow"), methods.join(", "), path);
      }
    }
  });
});

test("every error code that a client can receive is in the document", () => {
  const codes = readFileSync("src/errors.ts", "utf8").matchAll(/^ {2}\| "(ERR_REALITY_\w+)"/gm);
  // Servers report these to their own `onError`; clients never receive them.
  const reported = /_PEER_|_RELAY$/;
  const answered = [...codes].map(([, code = ""]) => code).filter((code) => !reported.test(code));
  const { responses, schemas } = document.components;
  const described = JSON.stringify([responses, schemas.SyncResponse]).match(/ERR_REALITY_\w+/g);
  assert.deepEqual([...new Set(described)].sort(), answered.sort());
});

test("every answer of a server matches the document, and every status occurs", async () => {
  const check = createChecker();
  const seen = new Set<string>();
  for (const exchange of exchanges) {
    await withScene(exchange.scene, (origin) => checkExchange(origin, exchange, check));
    seen.add(`${exchange.operation} ${exchange.status}`);
  }
  const described = Object.entries(document.paths).flatMap(([path, operations]) =>
    Object.entries(operations).flatMap(([method, { responses }]) =>
      Object.keys(responses).map((status) => `${method.toUpperCase()} ${path} ${status}`)
    )
  );
  // Covered by the tests below: a server with a secret, a rate limit, and a body that does not arrive.
  const elsewhere = described.filter((one) => /^POST \/sync 401$| 408$| 429$/.test(one));
  assert.deepEqual([...seen, ...elsewhere].sort(), described.sort());
});

test("a server with a secret answers an unproven request as the document says", async () => {
  const server = new RealityServer({ storage: new MemoryStorage(), meshSecret: "a secret of the mesh" });
  const { origin, close } = await listenFetch(createFetchHandler(server));
  const body = { known: {}, gossip: { form: 1, to: "nobody", nonce: "n", message: "{}", proofs: ["x"] } };
  const exchange = { scene: "plain", operation: "POST /sync", body, status: 401 } as const;
  await checkExchange(origin, exchange, createChecker());
  await server.close();
  await close();
});

test("answers to a client with a rate limit match the document, before and after it is used up", async () => {
  const check = createChecker();
  const rateLimit = { limit: 1, window: 60_000, key: () => "somebody" };
  const operations = Object.entries(document.paths).flatMap(([path, operations]) =>
    Object.entries(operations).filter(([, { responses }]) => responses[429] !== undefined)
      .map(([method]) => `${method.toUpperCase()} ${path}`)
  );
  assert.equal(operations.length, 6);
  for (const operation of operations) {
    const server = new RealityServer({
      storage: new MemoryStorage(),
      writeTokens: TOKENS,
      public: () => true,
      rateLimit,
    });
    const { origin, close } = await listenFetch(createFetchHandler(server));
    const good = exchanges.find((one) => one.operation === operation && one.status < 300) ?? assert.fail();
    for (const exchange of [good, { ...good, status: 429 }]) {
      const headers = await checkExchange(origin, exchange, check);
      // Caches give the answer to other clients, who have quotas of their own.
      const isShared = /^(?:GET|HEAD) \/sync$/.test(operation) && exchange === good;
      assert.equal(headers.has("ratelimit") && headers.has("ratelimit-policy"), !isShared, operation);
    }
    await server.close();
    await close();
  }
});

test("the answer to a body that does not arrive matches the document", async () => {
  const check = createChecker();
  const limits = { bodyTimeout: 10 };
  for (const path of ["/sync", "/update", "/invalidate"]) {
    const server = new RealityServer({ storage: new MemoryStorage(), writeTokens: TOKENS, limits });
    const body = new ReadableStream<Uint8Array>({ pull: () => new Promise(() => {}) });
    const headers = { ...JSON_TYPE, ...TOKEN };
    const request = { method: "POST", headers, body, duplex: "half" } as RequestInit;
    const response = await createFetchHandler(server)(
      new Request(`http://localhost/reality${path}`, request),
    );
    assert.equal(response.status, 408);
    await checkAnswer(response, `#/paths/${escape(path)}/post/responses/408`, check);
    await server.close();
  }
});

test("the answers to an unknown path and to a wrong method match the document", async () => {
  const check = createChecker();
  await withScene("plain", async (origin) => {
    for (const [path, status] of [["/nope", 404], ["/sync", 405]] as const) {
      const response = await fetch(`${origin}/reality${path}`);
      assert.equal(response.status, status);
      await checkAnswer(response, `#/components/responses/Refusal${status}`, check);
    }
  });
});

test("every request that the document allows is accepted", async () => {
  await withScene("plain", async (origin) => {
    for (const [path, { post }] of Object.entries(document.paths)) {
      for (const content of Object.values(post?.requestBody?.content ?? {})) {
        for (const [name, { value }] of Object.entries(content.examples ?? {})) {
          const response = await fetch(`${origin}/reality${path}`, {
            method: "POST",
            headers: { ...JSON_TYPE, ...TOKEN },
            // No request should wait here.
            body: JSON.stringify({ ...value as object, wait: 0 }),
          });
          await response.body?.cancel();
          assert.equal(response.status, 200, `${path} ${name}`);
        }
      }
    }
  });
});

test("a request whose shape the document does not allow is refused", async () => {
  const { validate } = createValidator(copy());
  const bodies: [path: string, body: unknown][] = [
    ...[
      {},
      [],
      null,
      { known: [] },
      { known: { a: -1 } },
      { known: { a: 1.5 } },
      { known: { a: "1" } },
      { known: { a: 2 ** 53 } },
      { known: {}, wait: -1 },
      { known: {}, wait: "1" },
      { known: {}, epoch: 1 },
      { known: {}, epoch: "x".repeat(129) },
      { known: {}, mode: 7 },
      { known: {}, hint: "x".repeat(257) },
      { known: {}, timestamp: "now" },
    ].map((body): [string, unknown] => ["/sync", body]),
    ...[{}, { key: "a" }, { key: 1, hash: "1" }, { updates: {} }, { updates: [{ key: "", hash: "1" }] }]
      .map((body): [string, unknown] => ["/update", body]),
    ...[{}, { keys: "a" }, { keys: [1] }].map((body): [string, unknown] => ["/invalidate", body]),
  ];
  await withScene("plain", async (origin) => {
    for (const [path, body] of bodies) {
      const what = `${path} ${JSON.stringify(body).slice(0, 60)}`;
      const pointer = `#/paths/${escape(path)}/post/requestBody/content/application~1json/schema`;
      assert.notEqual(validate(pointer, body), "", what);
      const headers = { ...JSON_TYPE, ...TOKEN };
      const response = await fetch(`${origin}/reality${path}`, {
        method: "POST",
        headers,
        body: JSON.stringify(body),
      });
      await response.body?.cancel();
      assert.equal(response.status, 400, what);
    }
  });
});

test("the document names the base path under which it is served", async () => {
  for (const [basePath, url] of [["", "/"], ["/api/live", "/api/live"]] as const) {
    const server = new RealityServer({ storage: new MemoryStorage() });
    const { origin, close } = await listenFetch(createFetchHandler(server, { basePath }));
    for (let i = 0; i < 2; i++) {
      const response = await fetch(`${origin}${basePath}/openapi.json`);
      assert.equal(response.headers.get("content-type"), "application/json");
      const found: Document = await response.json();
      assert.deepEqual(found.servers, [{ url }]);
      assert.deepEqual(found.paths, document.paths);
    }
    await server.close();
    await close();
  }
});

test("every event of a stream matches the document", async () => {
  const check = createChecker();
  const server = new RealityServer({ storage: new MemoryStorage() });
  const { origin, close } = await listenFetch(createFetchHandler(server));
  await server.updateNode("a", "1");
  const stream = await fetch(`${origin}/reality/events?keys=a&keys=b`, {
    headers: { "last-event-id": "garbage" },
  });
  const text = stream.text();
  await server.close();
  const names: Record<string, string> = { update: "Node", resync: "Resync" };
  const found = [...(await text).matchAll(/^event: (\w+)\ndata: (.*)$/gm)];
  assert.deepEqual(found.map(([, name]) => name), ["resync", "update", "update"]);
  for (const [, name = "", data = ""] of found) {
    check(`#/components/schemas/${names[name]}`, JSON.parse(data));
  }
  await close();
});
