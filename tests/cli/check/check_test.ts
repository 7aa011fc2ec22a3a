import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import express from "express";
import { type CheckReport, checkServer } from "../../../cli/check/mod.ts";
import { RULES } from "../../../cli/check/rules.ts";
import { createNodeHandler } from "../../../adapters/node.ts";
import type { NodeChange } from "../../../src/store/contract.ts";
import {
  createExpressAdapter,
  createFetchHandler,
  type HandlerOptions,
  MemoryStorage,
  RealityServer,
  type RealityServerOptions,
} from "../../../mod.ts";
import { test } from "../../harness.ts";
import { listenFetch, serverName } from "../../runtimes/fetch.ts";
import { type Listening, listenNode } from "../../runtimes/node.ts";

const TOKEN = "token-of-the-check-01";

/**
 * Rules that may be skipped on our servers: no heartbeat, Express reads bodies, no CORS, no peers, no rate limit, no stamped
 * answer, no public keys, no groups.
 */
const PERHAPS_UNCHECKED = [
  ...["6.3", "2.7", "2.8", "9", "11.1", "16.4", "3.7", "3.8", "6.8"],
  ...RULES.map(({ number }) => number).filter((number) => /^1[78]\./.test(number)),
];

test("the check has every numbered rule of the protocol except those for clients", () => {
  const text = readFileSync("src/PROTOCOL.md", "utf8");
  const numbers = text.split(/^## /m).slice(1).flatMap((chapter) => {
    const number = /^\d+/.exec(chapter)?.[0] ?? "";
    const body = chapter.slice(chapter.indexOf("\n"));
    const rules = [...body.matchAll(/^(?:\| )?(\d+)(?:\.| \|) /gm)].map(([, rule]) => `${number}.${rule}`);
    return rules.length > 0 ? rules : [number];
  }).filter((number) => number !== "1" && !/^10\./.test(number));
  // In chapter 2 the lines of the table of statuses also begin with a number.
  const expected = [...new Set(numbers)].filter((number) => !/^2\.[45]\d\d$/.test(number));
  assert.deepEqual([...new Set(RULES.map(({ number }) => number))], expected);
});

test("checkServer() finds no broken rule behind node:http", async () => {
  await withServer({}, (server) => listenNode(createNodeHandler(server)), mustHold);
});

test(`checkServer() finds nothing at ${serverName}, behind another base path and with CORS`, async () => {
  const handler = { basePath: "/api/live", cors: { origin: "*" as const } };
  const listen = (server: RealityServer) => listenFetch(createFetchHandler(server, handler));
  const groups = { of: () => [], isGroup: () => false, detail: true };
  await withServer({ public: () => true, groups }, listen, async (origin) => {
    const report = await mustHold(`${origin}/api/live/`);
    assert.equal(report.url, `${origin}/api/live`);
    const preflight = report.results.find(({ sentence }) => sentence.startsWith("A preflight"));
    assert.equal(preflight?.outcome, "ok");
    const refusals = report.results.filter(({ rule }) => ["3.7", "3.8", "6.8"].includes(rule));
    assert.deepEqual(refusals.map(({ outcome }) => outcome), Array(5).fill("ok"));
    const cached = report.results.filter(({ rule }) => rule.startsWith("18.") && rule !== "18.3");
    assert.deepEqual(new Set(cached.map(({ outcome }) => outcome)), new Set(["ok"]));
  });
});

test("checkServer() skips a rule if a proxy in front refuses its request", async () => {
  const page = (status: number) =>
    new Response("<html>Not here</html>", { status, headers: { "content-type": "text/html" } });
  const listen = (server: RealityServer) => {
    const handler = createFetchHandler(server);
    return listenFetch(async (request: Request) => {
      const { pathname } = new URL(request.url);
      if (pathname.startsWith("/reality/nodes/")) return page(400);
      return pathname.endsWith("/nope") ? page(403) : await handler(request);
    });
  };
  await withServer({}, listen, async (origin) => {
    const { results } = await checkServer(origin);
    assert.deepEqual(results.filter(({ outcome }) => outcome === "failed"), []);
    for (const [rule, request] of [["2.6", "POST /nope"], ["7.1", "DELETE /nodes/"]] as const) {
      const found = results.filter((result) => result.rule === rule).map(({ found = "" }) => found);
      assert.ok(
        found.some((text) => text.startsWith(`refused by a proxy in front: ${request}`)),
        `${rule}: ${found}`,
      );
    }
  });
});

test("checkServer() finds no broken rule behind Express that reads bodies itself", async () => {
  await withServer({}, (server) => {
    const app = express();
    // Express does not log errors in this environment.
    app.set("env", "test");
    app.use(express.json());
    app.use(createExpressAdapter(server));
    return listenNode(app);
  }, mustHold);
});

test("checkServer() finds no broken rule on a server with a secret, a rate limit and CORS", async () => {
  const handler: HandlerOptions = { cors: { origin: ["https://app.example"], credentials: true } };
  const listen = (server: RealityServer) => listenFetch(createFetchHandler(server, handler));
  const rateLimit = { limit: 1_000, window: 1_000, key: () => "everybody" };
  await withServer({ meshSecret: "a secret of the mesh", rateLimit }, listen, async (origin) => {
    const { results } = await mustHold(origin);
    assert.equal(results.find(({ rule }) => rule === "16.4")?.outcome, "ok");
    assert.deepEqual(results.filter(({ rule }) => rule === "11.1").map(({ outcome }) => outcome), [
      "ok",
      "ok",
    ]);
  });
});

test("checkServer() changes nothing without a token, and deletes its keys with one", async () => {
  const written = new Set<string>();
  class Recording extends MemoryStorage {
    override applyChanges(changes: readonly NodeChange[]): ReturnType<MemoryStorage["applyChanges"]> {
      for (const { key } of changes) written.add(key);
      return super.applyChanges(changes);
    }
  }
  const listen = (server: RealityServer) => listenNode(createNodeHandler(server));
  await withServer({ storage: new Recording() }, listen, async (origin, server) => {
    await server.updateNode("a", "1");
    const before = await server.getNode("a");
    const { failed } = await checkServer(origin);
    assert.equal(failed, 0);
    const stats = await server.getStats();
    assert.deepEqual([stats.changes, stats.storageWrites, stats.maxVersion], [1, 1, before?.version]);
    assert.deepEqual([...written], ["a"]);

    written.clear();
    await mustHold(origin);
    assert.ok(written.size > 20, `${written.size} keys were written`);
    const [prefix = ""] = /^reality-check:[\w-]+:/.exec([...written][0] ?? "") ?? [];
    for (const key of written) {
      assert.ok(key.startsWith(prefix) && prefix !== "", key);
      assert.equal(await server.getNode(key), null);
    }
    assert.deepEqual(await server.getNode("a"), before);
  });
});

test("checkServer() checks a server that mounts only POST /sync", async () => {
  await withServer({}, (server) => {
    const handler = createFetchHandler(server);
    return listenFetch(async (request) =>
      request.method === "POST" && new URL(request.url).pathname === "/reality/sync"
        ? await handler(request)
        : new Response("Not Found", { status: 404 })
    );
  }, async (origin) => {
    const { failed, results } = await checkServer(origin);
    assert.deepEqual(results.filter(({ outcome }) => outcome === "failed"), []);
    assert.equal(failed, 0);
    assert.equal(results.find(({ rule }) => rule === "8")?.found, "GET /health is not mounted");
  });
});

/** Checks with a token: no rule is broken, and only expected ones are skipped. */
async function mustHold(origin: string): Promise<CheckReport> {
  const report = await checkServer(origin, { writeToken: TOKEN });
  const failed = report.results.filter(({ outcome }) => outcome === "failed");
  assert.deepEqual(failed, []);
  assert.deepEqual(report.leftBehind, []);
  const always = RULES.filter(({ check }) => typeof check === "string").map(({ number }) => number);
  const expected = [...always, ...PERHAPS_UNCHECKED];
  const left = report.results.filter(({ outcome }) => outcome === "not checked");
  assert.deepEqual(left.filter(({ rule }) => !expected.includes(rule)), []);
  assert.equal(report.ok + report.notChecked, report.results.length);
  return report;
}

async function withServer(
  options: Partial<RealityServerOptions>,
  listen: (server: RealityServer) => Promise<Listening>,
  use: (origin: string, server: RealityServer) => Promise<unknown>,
): Promise<void> {
  const server = new RealityServer({ storage: new MemoryStorage(), writeTokens: [TOKEN], ...options });
  const { origin, close } = await listen(server);
  try {
    await use(origin, server);
  } finally {
    await server.close();
    await close();
  }
}
