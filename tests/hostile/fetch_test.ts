/**
 * Hostile requests before the fetch handler of servers that are made in different ways, in this very process.
 *
 * @module
 */
import assert from "node:assert/strict";
import fc from "fast-check";
import type { RealityServerOptions } from "../../mod.ts";
import { test } from "../harness.ts";
import { soon } from "../http/client.ts";
import { type Field, type HostileRequest, REQUESTS } from "./corpus.ts";
import { requests } from "./inputs.ts";
import { HostileScene } from "./scene.ts";
import { toRequest } from "./web_request.ts";

/** An unreachable peer. */
const away = () => Promise.reject(new TypeError("connection refused"));

/** Servers by what they were given. */
const SERVERS: ReadonlyMap<string, Partial<RealityServerOptions>> = new Map<
  string,
  Partial<RealityServerOptions>
>([
  ["as it comes", {}],
  ["with a secret", {
    meshSecret: "a secret that no peer guesses",
    meshPeers: ["http://b"],
    mesh: { fetch: away },
  }],
  ["with peers and no secret", { meshPeers: ["http://b", "http://c"], mesh: { fetch: away, timeout: 20 } }],
  ["with groups", { groups: (key) => key.startsWith("left-alone:") ? [] : ["hostile:*"] }],
  ["with low limits", {
    limits: { maxBodyBytes: 300, maxKeys: 4, maxKeyBytes: 16, maxHashBytes: 8, maxWait: 5, maxWaiters: 1 },
  }],
  ["behind a proxy, with a limit for each client", {
    trustProxy: 1,
    rateLimit: { limit: 1_000_000, window: 1_000, key: (_, { address }) => address },
  }],
  ["with hooks that say nothing but no", {
    writeTokens: [],
    authorize: () => false,
    authorizeWrite: () => false,
  }],
]);

for (const [name, options] of SERVERS) {
  test(`createFetchHandler() of a server ${name} answers each request of the corpus, and none with a failure`, async () => {
    await withHandler(options, async (ask) => {
      for (const request of REQUESTS) {
        for (const isDeclared of [false, true]) {
          const status = await ask(request, isDeclared);
          assert.ok(status < 500, `${request.name}: ${status}`);
        }
      }
    });
  });

  test(`createFetchHandler() of a server ${name} answers requests at random, and none with a failure`, async () => {
    await withHandler(options, async (ask) => {
      await fc.assert(
        fc.asyncProperty(requests, fc.boolean(), async (request, isDeclared) => {
          assert.ok(await ask(request, isDeclared) < 500);
        }),
        { numRuns: 1_000 },
      );
    });
  });
}

test("createFetchHandler() reads headers of any length in linear time", async () => {
  const proxied = { trustProxy: 1, rateLimit: { limit: 1_000_000, window: 1_000, key: () => "anybody" } };
  await withHandler(proxied, async (ask) => {
    for (const name of READ) {
      for (const [start, fill, end] of FILLS) {
        const headers = [["Content-Type", "application/json"], [
          name,
          start + fill.repeat(500_000 / fill.length) + end,
        ]];
        for (const [method, path] of [["POST", "sync"], ["POST", "update"], ["GET", "events?keys=a"]]) {
          const fields = headers.filter(([other], i) => i > 0 || other !== name) as unknown as Field[];
          const request = { name, method: method!, target: `/reality/${path}`, headers: fields, body: "{}" };
          assert.ok(await ask(request) < 500);
        }
      }
    }
  });
});

/** The headers that are read. */
const READ: readonly string[] = [
  "Content-Type",
  "Content-Length",
  "Content-Encoding",
  "Authorization",
  "Origin",
  "Last-Event-ID",
  "X-Forwarded-For",
  "Forwarded",
];

/** Values on which a careless pattern backtracks: their start, the repeated part, and their end. */
const FILLS: readonly (readonly [start: string, fill: string, end: string])[] = [
  ["application/", "+", "x"],
  ["application/json", " ", "x"],
  ["Bearer ", " ", "x y"],
  ["Bearer ", "x", " y"],
  ["for=", " ", "x y"],
  ["for=", ";", '"'],
  ["", "for=a,", "x"],
  ["", '","', '"'],
  ["a", "%2", ":1"],
  ["https://", "a.", "/"],
];

async function withHandler(
  options: Partial<RealityServerOptions>,
  run: (ask: (request: HostileRequest, isDeclared?: boolean) => Promise<number>) => Promise<void>,
): Promise<void> {
  const scene = await HostileScene.open(options);
  const handler = scene.server.getFetchHandler(scene.handler);
  try {
    await run(async (hostile, isDeclared = false) => {
      const request = toRequest(hostile, isDeclared);
      if (request === null) return 0;
      const response = await soon(handler(request), `an answer to ${hostile.name}`);
      await response.body?.cancel();
      return response.status;
    });
    if (options.authorize === undefined) {
      await scene.assertUnharmed(async (body) => {
        const headers = { "content-type": "application/json" };
        const request = new Request("http://localhost/reality/sync", { method: "POST", headers, body });
        const response = await handler(request);
        return { status: response.status, body: await response.text() };
      });
    }
    scene.assertNoFault();
  } finally {
    await scene.close();
  }
}
