/**
 * Runs the shell commands and HTTP requests of the pages for users as written, and compares their tables with the code.
 * Their TypeScript runs with the doc examples, their programs with the npm package: tests/README.md.
 *
 * @module
 */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { createFetchHandler, MemoryStorage, RealityServer } from "../mod.ts";
import { test } from "./harness.ts";
import { type Block, PAGES, readBlocks } from "./pages/blocks.ts";

const blocks = PAGES.flatMap((page) => readBlocks(page));

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
  const server = new RealityServer({ storage: new MemoryStorage(), writeTokens: ["a-long-random-token"] });
  return { server, handler: createFetchHandler(server) };
}

test("the pages' curl commands sync and update", async () => {
  const commands = blocks.filter(({ language, text }) =>
    language === "sh" && /^curl .*localhost:8000\/reality/.test(text)
  );
  const { server, handler } = setUp();
  await server.updateNode("chat:room:general", "1");
  let updates = 0;
  for (const { page, text } of commands) {
    const response = await handler(readCurl(text));
    assert.equal(response.status, 200, page);
    const { changed, versions } = await response.json();
    for (const [key, version] of Object.entries({ ...changed, ...versions })) {
      const node = await server.getNode(key);
      assert.ok(node !== null, page);
      assert.deepEqual(version, versions === undefined ? node : node.version, page);
    }
    if (versions !== undefined) updates++;
  }
  assert.ok(updates > 0);
  await server.close();
});

test("the pages' sync requests get the answers that the pages show", async () => {
  const pairs: [Block, Block][] = [];
  for (const [i, block] of blocks.entries()) {
    const answer = blocks[i + 1];
    if (
      block.language === "http" && block.text.startsWith("POST /reality/sync") && answer?.language === "json"
    ) {
      pairs.push([block, answer]);
    }
  }
  assert.ok(pairs.length > 0);
  for (const [{ text }, answer] of pairs) {
    const [head = "", body = ""] = text.split("\n\n");
    const [, method = "", path = ""] = /^(\w+) (\S+)/.exec(head) ?? [];
    const { server, handler } = setUp();
    await server.updateNode("chat:room:general", "abc123");
    const shown = JSON.parse(answer.text);
    const response = await handler(
      new Request(`http://localhost${path}`, {
        method,
        headers: { "content-type": "application/json" },
        body,
      }),
    );
    const found = await response.json();
    assert.deepEqual(Object.keys(found), Object.keys(shown));
    assert.deepEqual(Object.keys(found.mesh), Object.keys(shown.mesh));
    const node = "chat:room:general";
    assert.deepEqual(Object.keys(found.changed[node]), Object.keys(shown.changed[node]));
    assert.match(found.epoch, /^[0-9a-z]{9}-[0-9a-z]{8}$/);
    assert.match(shown.epoch, /^[0-9a-z]{9}-[0-9a-z]{8}$/);
    await server.close();
  }
});

test("the pages name only tasks of deno.json", () => {
  const { tasks } = JSON.parse(readFileSync("deno.json", "utf8"));
  for (const page of PAGES) {
    const named = [...readFileSync(page, "utf8").matchAll(/deno task (\w[\w:]*)/g)].map(([, name = ""]) =>
      name
    );
    assert.deepEqual(named.filter((name) => !Object.hasOwn(tasks, name)), [], page);
  }
});

test("docs/options.md lists all limits and storageTimeout with their defaults", async () => {
  const { checkOptions } = await import("../src/check_options.ts");
  const { limits, storageTimeout } = checkOptions({ storage: new MemoryStorage() });
  const page = readFileSync("docs/options.md", "utf8").replaceAll(/(?<=\d)[ _](?=\d{3})/g, "");
  for (const [name, value] of Object.entries({ ...limits, storageTimeout })) {
    const row = page.split("\n").find((line) => line.startsWith(`| \`${name}\``));
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

test("a block that is a whole file says `ignore`, and the text before it names the file", () => {
  const runtimes = ["node", "node24", "deno", "bun", "browser", "workers"];
  for (const { page, line, language, words, file, before } of blocks) {
    const place = `${page}:${line}`;
    if (file === undefined) {
      if (/^m?[jt]s$/.test(language)) {
        assert.deepEqual(words.filter((word) => word !== "ignore"), [], `${place}: no file name`);
      }
      continue;
    }
    assert.ok(before.includes(`\`${file}\``), `${place}: the text before the block does not name ${file}`);
    assert.ok(words.includes("ignore"), `${place}: without ignore, deno test --doc runs it as well`);
    const unknown = words.filter((word) => word !== file && word !== "ignore" && !runtimes.includes(word));
    assert.deepEqual(unknown, [], place);
  }
});

test("the README has at most 900 words, and the files of examples/minimal as they are", () => {
  const words = readFileSync("README.md", "utf8").split(/\s+/).filter((word) => word !== "");
  assert.ok(words.length <= 900, `it has ${words.length}`);
  const files = blocks.filter(({ page, file }) => page === "README.md" && file !== undefined);
  assert.deepEqual(files.map(({ file }) => file), ["server.mjs", "index.html"]);
  for (const { file, text } of files) {
    assert.equal(text, readFileSync(`examples/minimal/${file}`, "utf8"));
  }
});

test("the worker of docs/getting-started.md is that of docs/workers.md, which runs in workerd", () => {
  const [first, second, ...others] = blocks.filter(({ words }) => words.includes("workers"));
  assert.equal(first?.text, second?.text);
  assert.deepEqual(others, []);
});

test("docs/workers.md configures each variable that its worker reads", () => {
  const worker = blocks.find(({ page, words }) => page === "docs/workers.md" && words.includes("workers"))!;
  const names = new Set([...worker.text.matchAll(/\benv\.(\w+)/g)].map(([, name = ""]) => name));
  const settings = blocks.filter(({ page, language }) => page === "docs/workers.md" && language === "toml")
    .map(({ text }) => text).join("\n");
  assert.ok(names.size >= 2);
  for (const name of names) {
    assert.match(settings, new RegExp(`^(?:binding = "${name}"|${name} = )`, "m"), name);
  }
});

test("the figures of the README are those of the benches and of the endurance test", () => {
  const readme = readFileSync("README.md", "utf8").replaceAll(/\s+/g, " ");
  const has = (text: string) => assert.ok(readme.includes(text), `there is no "${text}"`);
  const rowsOf = (bench: string): { name: string; figures: Record<string, { median: number }> }[] =>
    JSON.parse(readFileSync(`bench/results/${bench}_node.json`, "utf8")).rows;
  const median = (bench: string, row: string, contender: string) =>
    rowsOf(bench).find(({ name }) => name.startsWith(row))!.figures[contender]!.median;

  const memory = (contender: string) =>
    Math.round(median("waiters", "memory of one waiting client", contender));
  has(
    `Each needs ${memory("reality")} KiB, with its connection. With socket.io it needs ${
      memory("socket.io")
    } KiB.`,
  );
  assert.equal(median("waiters", "one change wakes all: reads of the storage", "reality"), 1);
  has("The storage is read once");
  has(`in ${Math.round(median("across", "median", "mesh"))} ms, without Redis`);
  const { clients, totals } = JSON.parse(readFileSync("tests/endurance/results.json", "utf8"));
  const grouped = (count: number) => count.toLocaleString("en");
  has(
    `${grouped(clients)} clients followed ${
      grouped(totals.acknowledged)
    } changes, while ${totals.faults} faults`,
  );
  assert.equal(totals.violated, 0);
});

test("the storages of the README are exported by the entries that it names", () => {
  const { exports } = JSON.parse(readFileSync("deno.json", "utf8"));
  const rows = [
    ...readFileSync("README.md", "utf8").matchAll(/^\| `(?:new )?(\w+)\([^`]*` from `([^`]+)` \|/gm),
  ];
  assert.equal(rows.length, 6);
  for (const [, name, entry = ""] of rows) {
    const text = readFileSync(exports[entry], "utf8");
    assert.match(
      text,
      new RegExp(`^export (?:async )?(?:function|class) ${name}\\b`, "m"),
      `${name} from ${entry}`,
    );
  }
});
