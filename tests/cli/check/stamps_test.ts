import assert from "node:assert/strict";
import { runCheck } from "../../../cli/check/command.ts";
import { checkServer } from "../../../cli/check/mod.ts";
import { checkRule, type RuleResult } from "../../../cli/check/rule.ts";
import { stampRules } from "../../../cli/check/rules/stamps.ts";
import { CheckedServer } from "../../../cli/check/server.ts";
import { createFetchHandler, joinStamps, MemoryStorage, RealityServer } from "../../../mod.ts";
import { test } from "../../harness.ts";
import { listenFetch } from "../../runtimes/fetch.ts";

const TOKEN = "token-of-the-check-01";

/** Keys of the answer: two with a node, and one without. */
const KEYS = ["messages:general", "café"];

/** What an application does. Each part can be replaced by a wrong one. */
interface Application {
  /** The keys of the answer. */
  readonly keys: readonly string[];
  /** Changes the answer. `server` is the one that made the stamp. */
  readonly change: (
    response: Response,
    request: Request,
    server: RealityServer,
  ) => Response | Promise<Response>;
  /** Makes the answer. */
  readonly answer: (request: Request, server: RealityServer, keys: readonly string[]) => Promise<Response>;
}

const CORS = { "access-control-allow-origin": "*", "access-control-expose-headers": "Reality-Stamp, ETag" };

const correct: Application = {
  keys: KEYS,
  change: (response) => response,
  async answer(request, server, keys) {
    const stamp = await server.stamp(keys, { request });
    return stamp.isFresh(request) ? stamp.notModified() : stamp.json(["hello"]);
  },
};

/** Replaces header fields; `null` removes one. */
function withFields(response: Response, fields: Record<string, string | null>): Response {
  const headers = new Headers(response.headers);
  for (const [name, value] of Object.entries(fields)) {
    if (value === null) headers.delete(name);
    else headers.set(name, value);
  }
  return new Response(response.body, { status: response.status, headers });
}

/** An application that changes the field. */
function onField(change: (field: string) => string): Partial<Application> {
  return {
    change: (response) =>
      withFields(response, { "reality-stamp": change(response.headers.get("reality-stamp")!) }),
  };
}

/** What applications do wrong, and the rule that finds it. */
const WRONG: readonly (readonly [does: string, rule: string, application: Partial<Application>])[] = [
  ["sends no stamp", "17.1", { change: (response) => withFields(response, { "reality-stamp": null }) }],
  ["answers with 500", "17.1", { answer: () => Promise.resolve(new Response("", { status: 500 })) }],
  ["writes a field that is not a dictionary", "17.1", onField((field) => `${field};`)],
  ["writes the epoch last", "17.1", onField((field) => field.replace(/^(epoch=[^,]*), (.*)$/, "$2, $1"))],
  ["writes the epoch as a token", "17.1", onField((field) => field.replace(/^epoch="[^"]*"/, "epoch=x"))],
  ["writes versions as integers", "17.1", onField((field) => field.replaceAll(/v="(\d+)"/g, "v=1"))],
  ["writes UTF-8 in upper case", "17.1", onField((field) => field.replace("%c3%a9", "%C3%A9"))],
  ["writes ASCII as a display string", "17.1", onField((field) => field.replace('("', '(%"'))],
  ["names another epoch", "17.2", onField((field) => field.replace(/^epoch="/, 'epoch="x'))],
  [
    "claims more than it has",
    "17.2",
    onField((field) => field.replace(/v="(\d+)"/, (_, version) => `v="${Number(version) + 1e6}"`)),
  ],
  [
    "names a key that the client may not read",
    "17.5",
    {
      keys: ["secret"],
      answer: async (request, server, keys) => {
        const stamp = await server.stamp(keys);
        return stamp.isFresh(request) ? stamp.notModified() : stamp.json(["hello"]);
      },
    },
  ],
  [
    "joins parts that do not fit, with a version 0",
    "17.6",
    onField((field) => field.replace(/^epoch="[^"]*"/, 'epoch="mixed"').replace(/v="\d+"/, 'v="0"')),
  ],
  ["sends no ETag", "17.7", { change: (response) => withFields(response, { etag: null }) }],
  [
    "sends a strong ETag",
    "17.7",
    { change: (response) => withFields(response, { etag: response.headers.get("etag")!.slice(2) }) },
  ],
  [
    "ignores If-None-Match",
    "17.7",
    { answer: async (_, server, keys) => (await server.stamp(keys)).json(["hello"]) },
  ],
  [
    "answers any tag with 304",
    "17.7",
    {
      answer: async (request, server, keys) => {
        const stamp = await server.stamp(keys);
        return request.headers.has("if-none-match") ? stamp.notModified() : stamp.json(["hello"]);
      },
    },
  ],
  [
    "has the same tag after a change",
    "17.7",
    {
      answer: async (request, server, keys) => {
        const stamp = await server.stamp(keys);
        const isFresh = request.headers.get("if-none-match") === 'W/"1"';
        return withFields(isFresh ? stamp.notModified() : stamp.json(["hello"]), { etag: 'W/"1"' });
      },
    },
  ],
  [
    "sends 304 without the stamp",
    "17.7",
    {
      change: (response) =>
        response.status === 304 ? withFields(response, { "reality-stamp": null }) : response,
    },
  ],
  [
    "sends a field that is too long",
    "17.8",
    onField((field) => field.replace(")", ` "${"x".repeat(500)}";v="0"`.repeat(9) + ")")),
  ],
  [
    "allows caches to answer without asking",
    "17.10",
    { change: (response) => withFields(response, { "cache-control": "public, max-age=60" }) },
  ],
  [
    "does not expose the stamp to other origins",
    "17.11",
    { change: (response) => withFields(response, { "access-control-expose-headers": "ETag" }) },
  ],
  [
    "exposes everything together with credentials",
    "17.11",
    {
      change: (response) =>
        withFields(response, {
          "access-control-allow-origin": "https://app.example",
          "access-control-expose-headers": "*",
          "access-control-allow-credentials": "true",
        }),
    },
  ],
  [
    "names the allowed origin without Vary",
    "17.11",
    {
      change: (response) =>
        withFields(response, { "access-control-allow-origin": "https://app.example", "vary": "Cookie" }),
    },
  ],
];

/** Serves an application, and checks its stamp. */
async function withApplication(
  parts: Partial<Application>,
  use: (origin: string, server: RealityServer) => Promise<void>,
): Promise<void> {
  const { keys, answer, change } = { ...correct, ...parts };
  const server = new RealityServer({
    storage: new MemoryStorage(),
    writeTokens: [TOKEN],
    authorize: (_request, keys) => ({ keys: keys.filter((key) => key !== "secret") }),
  });
  await server.updateMany([...KEYS, "secret"].map((key) => ({ key, hash: "1" })));
  const handler = createFetchHandler(server);
  const { origin, close } = await listenFetch(async (request) => {
    if (new URL(request.url).pathname !== "/api/messages") return await handler(request);
    return await change(withFields(await answer(request, server, keys), CORS), request, server);
  });
  try {
    await use(origin, server);
  } finally {
    await server.close();
    await close();
  }
}

async function checkStamps(origin: string): Promise<RuleResult[]> {
  const server = new CheckedServer(`${origin}/reality`, {
    writeToken: TOKEN,
    stamped: `${origin}/api/messages`,
    headers: {},
    timeout: 3_000,
  });
  const results = [];
  for (const rule of stampRules) results.push(await checkRule(rule, server));
  return results;
}

test("the check finds each application that breaks a rule of stamps", async () => {
  await Promise.all(WRONG.map(([does, rule, application]) =>
    withApplication(application, async (origin) => {
      const failed = (await checkStamps(origin)).filter(({ outcome }) => outcome === "failed");
      const found = [...new Set(failed.map(({ rule }) => rule))];
      assert.deepEqual(found, [rule], `${does}: ${JSON.stringify(failed)}`);
    })
  ));
});

test("the check finds nothing at a correct application, and leaves its keys", async () => {
  await withApplication({}, async (origin, server) => {
    const before = await server.getNode(KEYS[0]!);
    const { results, failed } = await checkServer(origin, { stamped: "/api/messages", writeToken: TOKEN });
    assert.deepEqual(results.filter(({ outcome }) => outcome === "failed"), []);
    assert.equal(failed, 0);
    const left = results.filter(({ rule, outcome }) => rule.startsWith("17.") && outcome !== "ok");
    assert.deepEqual(left.map(({ rule }) => rule), ["17.3", "17.4", "17.6", "17.9"]);
    assert.ok((await server.getNode(KEYS[0]!))!.version > before!.version, "a key was invalidated");
  });
});

test("a joined stamp is checked by rule 17.6 alone while its parts do not fit", async () => {
  const answer: Application["answer"] = async (_, server) => {
    const before = await server.stamp(["new"]);
    await server.updateNode("new", "1");
    const stamp = joinStamps(before, await server.stamp(["new"]));
    await server.deleteNode("new");
    return stamp.json([]);
  };
  await withApplication({ answer }, async (origin) => {
    const results = await checkStamps(origin);
    assert.deepEqual(results.filter(({ outcome }) => outcome === "failed"), []);
    assert.equal(results.find(({ rule }) => rule === "17.6")?.outcome, "ok");
    assert.equal(results.find(({ rule }) => rule === "17.2")?.found, 'the epoch is "mixed"');
  });
});

test("a header Origin of the options is that of the page whose rights are checked", async () => {
  const change: Application["change"] = (response, request) =>
    withFields(response, {
      "access-control-allow-origin": request.headers.get("origin") === "https://app.example"
        ? "https://app.example"
        : null,
      "access-control-expose-headers": "ETag",
    });
  await withApplication({ change }, async (origin) => {
    const options = { writeToken: undefined, stamped: `${origin}/api/messages`, timeout: 3_000 };
    const outcomes = [];
    for (const headers of [{}, { Origin: "https://app.example" }]) {
      const server = new CheckedServer(`${origin}/reality`, { ...options, headers });
      const rule = stampRules.find(({ number }) => number === "17.11")!;
      outcomes.push((await checkRule(rule, server)).outcome);
    }
    assert.deepEqual(outcomes, ["not checked", "failed"]);
  });
});

test("--stamped takes a path or a URL", async () => {
  const run = async (...args: string[]) => {
    const lines: string[] = [];
    const log = (line: string) => void lines.push(line);
    return { code: await runCheck(args, { log, error: log }), lines };
  };
  await withApplication({}, async (origin) => {
    const { code, lines } = await run(origin, "--stamped", "/api/messages?page=1");
    assert.equal(code, 0, lines.filter((line) => line.includes("FAILED")).join("\n"));
    assert.ok(lines.some((line) => /^17\.1 {2}ok/.test(line)));
    assert.ok(
      lines.some((line) => /^17\.7 {2}not checked {2}After a change .*needs --write-token/.test(line)),
    );
    const wrong = await run(origin, "--stamped", "ftp://a/b");
    assert.equal(wrong.code, 2);
    assert.match(
      wrong.lines.join("\n"),
      /^Cannot check the stamp of "ftp:\/\/a\/b": expected a URL, or a path/,
    );
  });
});
