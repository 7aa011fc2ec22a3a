import assert from "node:assert/strict";
import { type CheckReport, checkServer } from "../../../cli/check/mod.ts";
import { runCheck } from "../../../cli/check/command.ts";
import { createNodeHandler } from "../../../adapters/node.ts";
import { createFetchHandler, MemoryStorage, RealityServer } from "../../../mod.ts";
import { test } from "../../harness.ts";
import { Child } from "../../runtimes/child.ts";
import { listenFetch } from "../../runtimes/fetch.ts";
import { listenNode } from "../../runtimes/node.ts";

const TOKEN = "token-of-the-check-01";

test("the command prints each rule and the totals, and ends with 0", async () => {
  await withServer(async (origin) => {
    const { code, lines, errors } = await run(`${origin}/reality`);
    assert.equal(code, 0);
    assert.deepEqual(errors, []);
    assert.match(lines[0] ?? "", /^2\.1 {3}ok {11}A body declared as application\/json is accepted/);
    const last = lines.at(-1) ?? "";
    const [, url, ok, failed, left] = /^\n(\S+): (\d+) ok, (\d+) failed, (\d+) not checked$/.exec(last) ?? [];
    assert.deepEqual([url, failed], [`${origin}/reality`, "0"]);
    assert.equal(Number(ok) + Number(left), lines.length - 1);
    assert.ok(
      lines.some((line) => line.startsWith("4.4   not checked  ") && line.endsWith("(needs --write-token)")),
    );
    assert.ok(
      lines.some((line) => line.startsWith("17.1  not checked  ") && line.endsWith("(needs --stamped)")),
    );
  });
});

test("the command prints a broken rule and what was found, and ends with 1", async () => {
  await withServer(async (origin) => {
    const { code, lines } = await run(origin);
    assert.equal(code, 1);
    assert.match(lines.at(-1) ?? "", /: \d+ ok, 1 failed, /);
    const line = lines.find((line) => line.includes("FAILED"));
    assert.equal(
      line,
      "8     FAILED       HEAD /health answers without a body\n" +
        "                   found: HEAD /health was answered with 500",
    );
  }, (request) => request.method === "HEAD" && request.url.endsWith("/health"));
});

test("--json prints only the report", async () => {
  await withServer(async (origin) => {
    const { code, lines } = await run(origin, "--json");
    assert.equal(code, 0);
    const report: CheckReport = JSON.parse(lines.join("\n"));
    assert.equal(report.url, `${origin}/reality`);
    assert.equal(report.results.length, report.ok + report.failed + report.notChecked);
    assert.deepEqual(report.leftBehind, []);
    assert.deepEqual(Object.keys(report.results[0] ?? {}), ["rule", "sentence", "outcome"]);
  });
});

test("--header is sent with every request, and --write-token with writes", async () => {
  const strangers: string[] = [];
  await withServer(async (origin) => {
    const { code } = await run(
      origin,
      "--header",
      "X-Tenant: 7",
      "--header",
      "x-more: a b",
      "--write-token",
      TOKEN,
    );
    assert.equal(code, 0);
    assert.deepEqual(strangers, []);
  }, ({ method, url, headers }) => {
    if (headers.get("x-tenant") !== "7" || headers.get("x-more") !== "a b") {
      strangers.push(`${method} ${url}`);
    }
    return false;
  });
});

test("the command ends with 2 if an argument is wrong, and prints the help text", async () => {
  const cases: [args: string[], error: RegExp][] = [
    [[], /expected one URL, got none/],
    [["http://localhost:1", "http://localhost:2"], /expected one URL, got http:\/\/localhost:1 http/],
    [["http://localhost:1", "--loud"], /"--loud": no such option/],
    [["http://localhost:1", "--timeout"], /--timeout: expected a value/],
    [["http://localhost:1", "--timeout", "soon"], /--timeout: expected milliseconds.*"soon"/],
    [["http://localhost:1", "--timeout", "1"], /--timeout: expected milliseconds/],
    [["http://localhost:1", "--write-token", ""], /--write-token: expected a value/],
    [["http://localhost:1", "--header", "secret"], /--header: expected "Name: value"$/m],
  ];
  for (const [args, error] of cases) {
    const { code, lines, errors } = await run(...args);
    assert.equal(code, 2, args.join(" "));
    assert.deepEqual(lines, []);
    assert.match(errors.join("\n"), error);
    assert.match(errors.join("\n"), /reality-server check URL/);
  }
});

test("the command ends with 2 if the server cannot be checked, and prints why", async () => {
  const listening = await listenNode((_, response) => response.writeHead(404).end("Not Found"));
  const silent = await listenNode(() => {});
  const cases: [args: string[], error: RegExp][] = [
    [["localhost"], /Cannot check "localhost": expected a URL/],
    [["ftp://localhost/"], /expected a URL/],
    [["http://127.0.0.1:1/live/"], /^Cannot check http:\/\/127\.0\.0\.1:1\/live: POST \/sync failed: /],
    [[`${listening.origin}/sync`], /: POST \/sync was answered with 404$/],
    [[silent.origin, "--timeout", "50"], /: POST \/sync was not answered within 50 ms$/],
  ];
  for (const [args, error] of cases) {
    const { code, lines, errors } = await run(...args);
    assert.equal(code, 2, args.join(" "));
    assert.deepEqual(lines, []);
    assert.match(errors.join("\n"), error);
  }
  await listening.close();
  await silent.close();
  await withServer(async (origin) => {
    const { code, errors } = await run(origin, "--write-token", "a-token-that-is-unknown");
    assert.equal(code, 2);
    assert.match(errors.join("\n"), /^Cannot write to .*: POST \/update was answered with 401 UNAUTHORIZED/);
  });
});

test("--help prints the help text and ends with 0", async () => {
  const { code, lines } = await run("--help");
  assert.equal(code, 0);
  assert.match(lines.join("\n"), /--write-token TOKEN/);
});

test("every request has a timeout, on a server that stops answering", async () => {
  let asked = 0;
  const server = new RealityServer({ storage: new MemoryStorage() });
  const handler = createNodeHandler(server);
  const { origin, close } = await listenNode((request, response) => {
    if (asked++ === 0) handler(request, response);
  });
  const report = await checkServer(origin, { timeout: 50 });
  assert.ok(report.failed > 20);
  for (const { outcome, found } of report.results) {
    if (outcome === "failed") assert.match(found ?? "", /was not answered within \d+ ms$/);
  }
  await server.close();
  await close();
});

test("after a 429 the check waits and tries again, or skips the rule", async () => {
  const server = new RealityServer({ storage: new MemoryStorage() });
  const handler = createFetchHandler(server);
  let asked = 0;
  const { origin, close } = await listenFetch(async (request) => {
    const isHealth = request.url.endsWith("/health") && request.method === "GET";
    if (isHealth && asked++ === 0) return new Response("", { status: 429, headers: { "retry-after": "1" } });
    if (!request.url.endsWith("/openapi.json")) return await handler(request);
    return new Response("", { status: 429, headers: { "retry-after": "600" } });
  });
  const { failed, results } = await checkServer(origin);
  assert.equal(failed, 0);
  assert.equal(asked, 2);
  const [health, document] = ["GET /health", "GET /openapi"].map((name) =>
    results.find(({ sentence }) => sentence.startsWith(name))
  );
  assert.equal(health?.outcome, "ok");
  assert.equal(document?.outcome, "not checked");
  assert.match(document?.found ?? "", /429: too many requests/);
  await server.close();
  await close();
});

test("reality-server serves in one process, and reality-server check checks it in another", async () => {
  const env = {
    PORT: "0",
    HOST: "127.0.0.1",
    REALITY_STORAGE: "memory:",
    REALITY_BASE_PATH: "/live",
    REALITY_WRITE_TOKEN: TOKEN,
  };
  const server = Child.run("cli/bin.ts", env, ".");
  try {
    const [, url = ""] = await server.printed(/ is at (http:\S+)\n/);
    const args = ["check", url, "--write-token", TOKEN];
    const check = Child.run("cli/bin.ts", {}, ".", args);
    try {
      assert.equal(await check.ended(), 0, check.output);
      assert.match(check.output, /\/live: \d+ ok, 0 failed, \d+ not checked\n$/);
    } finally {
      await check.kill();
    }
    const wrong = Child.run("cli/bin.ts", {}, ".", ["check"]);
    assert.equal(await wrong.ended(), 2);
    assert.match(wrong.output, /expected one URL, got none/);
  } finally {
    await server.kill();
  }
});

async function run(...args: string[]): Promise<{ code: number; lines: string[]; errors: string[] }> {
  const lines: string[] = [];
  const errors: string[] = [];
  const output = { log: (line: string) => lines.push(line), error: (line: string) => errors.push(line) };
  return { code: await runCheck(args, output), lines, errors };
}

/** Runs a test with the origin of a server, which fails the matching requests. */
async function withServer(
  use: (origin: string) => Promise<void>,
  fails: (request: Request) => boolean = () => false,
): Promise<void> {
  const server = new RealityServer({ storage: new MemoryStorage(), writeTokens: [TOKEN] });
  const handler = createFetchHandler(server);
  const { origin, close } = await listenFetch(async (request) =>
    fails(request) ? new Response(null, { status: 500 }) : await handler(request)
  );
  try {
    await use(origin);
  } finally {
    await server.close();
    await close();
  }
}
