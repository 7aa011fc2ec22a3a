/**
 * Runs the README's shell commands and HTTP requests as written. Its TypeScript runs with the doc examples.
 *
 * @module
 */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { createFetchHandler, MemoryStorage, RealityServer } from "../mod.ts";
import { test } from "./harness.ts";

const readme = readFileSync("README.md", "utf8");

/** The blocks of one language, in order. */
function blocks(language: string): string[] {
  return [...readme.matchAll(new RegExp(`^\`\`\`${language}\\n([\\s\\S]*?)^\`\`\``, "gm"))].map((
    [, text = ""],
  ) => text);
}

/** The request that a curl command sends. */
function readCurl(command: string): Request {
  const [, address = ""] = /\b(localhost:8000\S*)/.exec(command) ?? [];
  const headers = [...command.matchAll(/-H '([^:']+): ([^']+)'/g)].map((
    [, name = "", value = ""],
  ) => [name, value]);
  const [, body = null] = /-d '([^']+)'/.exec(command) ?? [];
  const [, method = body === null ? "GET" : "POST"] = /-X (\w+)/.exec(command) ?? [];
  return new Request(`http://${address}`, { method, headers: Object.fromEntries(headers), body });
}

function setUp() {
  const [, token = ""] = /REALITY_WRITE_TOKEN=(\S+)/.exec(readme) ?? [];
  const server = new RealityServer({ storage: new MemoryStorage(), writeTokens: [token] });
  return { server, handler: createFetchHandler(server) };
}

test("the README's curl commands sync and update", async () => {
  const commands = blocks("sh").filter((block) => block.startsWith("curl"));
  assert.equal(commands.length, 2);
  const { server, handler } = setUp();
  await server.updateNode("chat:room:general", "1");
  const [sync = "", update = ""] = commands;
  const first = await (await handler(readCurl(sync))).json();
  const { version } = (await server.getNode("chat:room:general"))!;
  assert.equal(first.changed["chat:room:general"].version, version);
  const { versions } = await (await handler(readCurl(update))).json();
  assert.ok(versions["chat:room:general"] > version);
  const node = await server.getNode("chat:room:general");
  assert.deepEqual(versions, { "chat:room:general": node?.version });
  await server.close();
});

test("the README's request gets the answer that the README shows", async () => {
  const [request = ""] = blocks("http");
  const [answer = ""] = blocks("json");
  const [head = "", body = ""] = request.split("\n\n");
  const [, method = "", path = ""] = /^(\w+) (\S+)/.exec(head) ?? [];
  const { server, handler } = setUp();
  await server.updateNode("chat:room:general", "abc123");
  const shown = JSON.parse(answer);
  const response = await handler(
    new Request(`http://localhost${path}`, { method, headers: { "content-type": "application/json" }, body }),
  );
  const found = await response.json();
  assert.deepEqual(Object.keys(found), Object.keys(shown));
  assert.deepEqual(Object.keys(found.mesh), Object.keys(shown.mesh));
  const node = "chat:room:general";
  assert.deepEqual(Object.keys(found.changed[node]), Object.keys(shown.changed[node]));
  assert.match(found.epoch, /^[0-9a-z]{9}-[0-9a-z]{8}$/);
  assert.match(shown.epoch, /^[0-9a-z]{9}-[0-9a-z]{8}$/);
  await server.close();
});

test("the README's commands of the project are tasks of deno.json", () => {
  const { tasks } = JSON.parse(readFileSync("deno.json", "utf8"));
  const named = [...readme.matchAll(/deno task ([\w:]+)/g)].map(([, name = ""]) => name);
  assert.equal(named.length > 0, true);
  assert.deepEqual(named.filter((name) => !Object.hasOwn(tasks, name)), []);
});

test("the README's tables list all options and limits with their defaults", async () => {
  const { checkOptions } = await import("../src/check_options.ts");
  const { limits, storageTimeout } = checkOptions({ storage: new MemoryStorage() });
  const plain = readme.replaceAll(/(?<=\d) (?=\d{3})/g, "");
  for (const [name, value] of Object.entries({ ...limits, storageTimeout })) {
    const row = plain.split("\n").find((line) => line.startsWith("| ") && line.includes(`\`${name}\``));
    assert.ok(row?.includes(String(value)), `${name}: ${value} is not in ${row}`);
  }
});

test("docs/proxies.md names existing limits with their defaults", async () => {
  const { checkOptions } = await import("../src/check_options.ts");
  const { limits, closeTimeout } = checkOptions({ storage: new MemoryStorage() });
  const page = readFileSync("docs/proxies.md", "utf8");
  const named = [...page.matchAll(/`limits\.(\w+)`/g)].map(([, name = ""]) => name);
  assert.deepEqual(named.filter((name) => !Object.hasOwn(limits, name)), []);
  const row = (text: string) => page.split("\n").find((line) => line.startsWith("| ") && line.includes(text));
  assert.match(row("`limits.maxWait`") ?? "", new RegExp(`\\| ${limits.maxWait / 1000} s \\|`));
  assert.match(
    row("`limits.maxBodyBytes`") ?? "",
    new RegExp(`\\| ${limits.maxBodyBytes / 2 ** 20} MiB \\|`),
  );
  assert.match(row("`closeTimeout`") ?? "", new RegExp(`\\| ${closeTimeout / 1000} s \\|`));
});
