/**
 * Express and the handler of `node:http` in AWS Lambda, behind serverless-http and serverless-express.
 *
 * @module
 */
import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import serverlessExpress from "@codegenie/serverless-express";
import express from "express";
import serverlessHttp from "serverless-http";
import { createExpressAdapter } from "../../adapters/express.ts";
import { createNodeHandler } from "../../adapters/node.ts";
import { type Authorize, MemoryStorage, RealityServer } from "../../mod.ts";
import { test } from "../harness.ts";
import { soon, until } from "../http/client.ts";

/** What a function of Lambda answers. */
interface Answer {
  readonly statusCode: number;
  readonly headers?: Readonly<Record<string, unknown>>;
  readonly body: string;
}

type Lambda = (event: object, context: object) => Promise<Answer>;

/** A request, as a gateway puts it into an event. */
interface Asked {
  readonly method: string;
  readonly path: string;
  readonly body?: string;
}

const HEADERS = { "content-type": "application/json", "host": "api.example", "x-user": "ana" };

/** What AWS sends: from an HTTP API, a REST API and a load balancer. */
const gateways: Readonly<Record<string, (asked: Asked) => object>> = {
  "an HTTP API": ({ method, path, body }) => ({
    version: "2.0",
    routeKey: "$default",
    rawPath: path,
    rawQueryString: "",
    headers: { ...HEADERS, ...lengthOf(body) },
    requestContext: {
      http: { method, path, protocol: "HTTP/1.1", sourceIp: "192.0.2.1", userAgent: "test" },
      stage: "$default",
      requestId: "1",
    },
    body,
    isBase64Encoded: false,
  }),
  "a REST API": ({ method, path, body }) => ({
    resource: "/{proxy+}",
    path,
    httpMethod: method,
    headers: HEADERS,
    multiValueHeaders: Object.fromEntries(Object.entries(HEADERS).map(([name, value]) => [name, [value]])),
    queryStringParameters: null,
    multiValueQueryStringParameters: null,
    requestContext: { identity: { sourceIp: "192.0.2.1" }, stage: "prod", requestId: "1", path },
    body: body === undefined ? null : Buffer.from(body).toString("base64"),
    isBase64Encoded: body !== undefined,
  }),
};

const bridges: Readonly<Record<string, (server: RealityServer) => Lambda>> = {
  "createExpressAdapter() in serverless-http": (server) => serverlessHttp(createApp(server, false)) as Lambda,
  "createExpressAdapter() behind express.json() in serverless-http": (server) =>
    serverlessHttp(createApp(server, true)) as Lambda,
  "createNodeHandler() in serverless-http": (server) => serverlessHttp(createNodeHandler(server)) as Lambda,
  "createExpressAdapter() in serverless-express": (server) => createBridge(createApp(server, false)),
  "createExpressAdapter() behind express.json() in serverless-express": (server) =>
    createBridge(createApp(server, true)),
};

for (const [gateway, createEvent] of Object.entries(gateways)) {
  for (const [name, create] of Object.entries(bridges)) {
    test(`${name} answers requests of ${gateway}`, async () => {
      const authorize: Authorize = (request) => request.headers.get("x-user") === "ana";
      const server = new RealityServer({ storage: new MemoryStorage(), authorize });
      await server.updateNode("é", "1");
      const lambda = create(server);
      const ask = (method: string, path: string, body?: unknown) =>
        lambda(
          createEvent({ method, path, ...(body === undefined ? {} : { body: JSON.stringify(body) }) }),
          {},
        );

      const answer = await ask("POST", "/reality/sync", { known: { "é": 0 } });
      assert.equal(answer.statusCode, 200, answer.body);
      assert.equal(JSON.parse(answer.body).changed["é"].hash, "1");
      assert.equal((await ask("POST", "/reality/sync", { known: [] })).statusCode, 400);
      assert.equal((await ask("GET", "/reality/health")).statusCode, 200);

      const waiting = ask("POST", "/reality/sync", { known: { b: 0 }, wait: 20_000 });
      await until(async () => (await server.getStats()).waiters === 1, "it waits");
      await server.updateNode("b", "1");
      assert.equal(JSON.parse((await soon(waiting, "the answer")).body).changed.b.hash, "1");
      await server.close();
    });
  }
}

test("a client behind an AWS gateway is identified by its address", async () => {
  for (const create of Object.values(bridges)) {
    const server = new RealityServer({
      storage: new MemoryStorage(),
      rateLimit: { limit: 1, window: 60_000 },
    });
    const lambda = create(server);
    const event = gateways["an HTTP API"]?.({ method: "POST", path: "/reality/sync", body: '{"known":{}}' });
    const statuses = [];
    for (let i = 0; i < 2; i++) statuses.push((await lambda({ ...event }, {})).statusCode);
    assert.deepEqual(statuses, [200, 429]);
    await server.close();
  }
});

function createApp(server: RealityServer, parses: boolean): express.Express {
  const app = express();
  app.set("env", "test");
  if (parses) app.use(express.json());
  app.use(createExpressAdapter(server));
  return app;
}

function createBridge(app: express.Express): Lambda {
  // Its types are those of a module of another kind than it is.
  const create = serverlessExpress as unknown as (options: { app: unknown }) => (
    event: object,
    context: object,
    callback: () => void,
  ) => Promise<Answer>;
  const bridge = create({ app });
  return (event, context) => bridge(event, context, () => {});
}

function lengthOf(body: string | undefined): Record<string, string> {
  return body === undefined ? {} : { "content-length": String(new TextEncoder().encode(body).byteLength) };
}
