/**
 * Compares the pages for contributors with the code: file tables, rules of import, limits, metrics, variables, legs.
 *
 * @module
 */
import assert from "node:assert/strict";
import { existsSync, readdirSync, readFileSync, statSync } from "node:fs";
import { dirname, join } from "node:path";
import { type ErrorCode, RealityError } from "../src/errors.ts";
import { DEFAULT_LIMITS } from "../src/server_limits.ts";

import { test } from "./harness.ts";
import { BUILDERS, MAY_IMPORT } from "./import_rules.ts";

const read = (path: string) => readFileSync(path, "utf8");
const { exports, tasks }: {
  exports: Record<string, string>;
  tasks: Record<string, { description: string; command: string }>;
} = JSON.parse(read("deno.json"));

/** Returns the cells of the table whose head begins with the given cells, a row each. */
function readTable(page: string, ...head: readonly string[]): string[][] {
  const lines = page.split("\n");
  const start = lines.findIndex((line) => line.startsWith(`| ${head.join(" | ")} `));
  assert.notEqual(start, -1, `there is no table with ${head.join(", ")}`);
  const rows = lines.slice(start + 2);
  const length = rows.findIndex((line) => !line.startsWith("|"));
  return rows.slice(0, length === -1 ? rows.length : length)
    .map((line) => line.split(/(?<!\\)\|/).slice(1, -1).map((cell) => cell.trim()));
}

/** Returns what stands between backticks. */
const namesIn = (text: string) => [...text.matchAll(/`([^`]+)`/g)].map(([, name = ""]) => name);

/** Returns the files below a folder, with paths that begin at it. */
function listFiles(folder: string, below = ""): string[] {
  return readdirSync(`${folder}/${below}`, { withFileTypes: true }).flatMap((entry) =>
    entry.isDirectory() ? listFiles(folder, `${below}${entry.name}/`) : [`${below}${entry.name}`]
  );
}

test("src/README.md lists each file of src once, except those of src/mesh", () => {
  const named = readTable(read("src/README.md"), "file", "what it has").flatMap(([files = ""]) =>
    namesIn(files)
  );
  const files = listFiles("src").filter((file) => !file.startsWith("mesh/") && file !== "README.md");
  assert.deepEqual(named.filter((name) => name !== "mesh/").sort(), files.sort());
});

test("src/mesh/README.md lists each file of src/mesh once", () => {
  const named = readTable(read("src/mesh/README.md"), "file", "contents").flatMap(([files = ""]) =>
    namesIn(files)
  );
  assert.deepEqual(named.sort(), listFiles("src/mesh").filter((file) => file !== "README.md").sort());
});

test("src/README.md has the rules of import that layout_test.ts enforces", () => {
  const rows = readTable(read("src/README.md"), "files in", "may import");
  const found: Record<string, string[]> = {};
  for (const [from = "", to = ""] of rows) {
    const folders = namesIn(to).map((name) => name === "src/" ? "." : name);
    for (const name of namesIn(from)) {
      const folder = name === "src/" ? "." : /^src\/(\w+)\/$/.exec(name)?.[1];
      if (folder !== undefined) found[folder] = folders.sort();
      else if (name.startsWith("src/")) assert.ok(BUILDERS.includes(name), `${name} has no rule`);
    }
  }
  const rules = Object.entries(MAY_IMPORT).map(([folder, others]) => [folder, [...others].sort()]);
  assert.deepEqual(found, Object.fromEntries(rules));
});

test("src/PROTOCOL.md has every limit with its default", () => {
  const rows = readTable(read("src/PROTOCOL.md"), "limit", "option", "default");
  const found = rows.filter(([, option]) => option !== "`rateLimit`").map(([, option = "", value = ""]) => [
    namesIn(option)[0],
    Number(/^[\d ]+/.exec(value)?.[0].replaceAll(" ", "")),
  ]);
  assert.deepEqual(Object.fromEntries(found), { ...DEFAULT_LIMITS });
});

test("the pages name only metrics that exist", () => {
  const known = read("src/telemetry/prometheus.ts");
  for (
    const page of [...listPages("docs"), "README.md", "SECURITY.md", "src/PROTOCOL.md"]
  ) {
    const named = [...read(page).matchAll(/\breality_[a-z_]+_(?:total|up|seconds|bytes)\b/g)].map(([name]) =>
      name
    );
    assert.deepEqual(named.filter((name) => !known.includes(`"${name}"`)), [], page);
  }
});

test("src/README.md lists each export of deno.json, and the pages name only existing ones", () => {
  const listed = readTable(read("src/README.md"), "subpath", "file").flatMap(([subpaths = ""]) =>
    namesIn(subpaths)
  );
  assert.deepEqual(listed.sort(), Object.keys(exports).sort());
  const named = ["README.md", ...listPages("docs")].flatMap((page) => [
    ...read(page).matchAll(/`(\.\/[\w-]+)`|@rootlodge\/reality-server(\/[\w-]+)/g),
  ]);
  assert.ok(named.length > 5);
  for (const [, short, long] of named) assert.ok(Object.hasOwn(exports, short ?? `.${long}`), short ?? long);
});

test("CONTRIBUTING.md names only files, folders and tasks that exist", () => {
  const page = read("CONTRIBUTING.md");
  for (const name of page.match(/(?<=deno task )[\w:]+/g) ?? []) assert.ok(Object.hasOwn(tasks, name), name);
  // A path without a folder is in the folder of the path before it. What is added does not exist yet.
  const added = ["adapters/koa.ts", "tests/adapters/koa_test.ts"];
  for (const row of readTable(page, "change", "files")) {
    let folder = "";
    for (const name of row.flatMap(namesIn)) {
      if (!/^[\w./-]+(?:\.\w+|\/)$/.test(name) || added.includes(name)) continue;
      const path = name.includes("/") || existsSync(name) ? name : `${folder}${name}`;
      assert.ok(existsSync(path), `${row[0]}: there is no ${path}`);
      if (path.includes("/")) folder = path.replace(/[^/]+$/, "");
    }
  }
});

test("tests/README.md has every leg of `deno task test`", () => {
  const named = readTable(read("tests/README.md"), "leg", "what it runs").flatMap(([legs = ""]) =>
    namesIn(legs)
  );
  const folders = /ownLegs = \[([^\]]+)\]/.exec(read("tests/run/legs.ts"))?.[1]?.match(/\w+/g) ?? [];
  assert.deepEqual(named.sort(), [...folders, "hosts", "docs", "deno", "node", "bun"].sort());
});

test("the pages of the benches have the durations that deno.json has", () => {
  for (
    const [task, page] of [
      ["bench", "bench/README.md"],
      ["bench:databases", "bench/storage/README.md"],
      ["bench:mesh", "bench/mesh/README.md"],
    ] as const
  ) {
    const minutes = /about (\d+) minutes/.exec(tasks[task]!.description)?.[0];
    const line = read(page).split("\n").find((line) => line.startsWith(`deno task ${task} `));
    assert.ok(minutes !== undefined && line?.includes(minutes), `${page}: ${line}, not ${minutes}`);
  }
});

test("docs/exports.md names what each subpath exports, and the main entry no longer does", () => {
  const rows = readTable(read("docs/exports.md"), "export of the main entry before 2.0.0");
  const isExported = (entry: string, name = "") =>
    new RegExp(`^export (?!\\*)[^;(]*\\b${name}\\b`, "m").test(read(exports[entry]!));
  const wrong = rows.map((row) => row.flatMap(namesIn)).filter(([name, entry]) =>
    !isExported(entry!, name) || isExported(".", name)
  );
  assert.deepEqual(wrong, []);
});

/** Folders without pages of this project. */
const NO_PAGES = new Set(["node_modules", "npm", "results", "test-output"]);

/** Returns the pages of the whole repository. */
function listPages(folder = "."): string[] {
  return readdirSync(folder, { withFileTypes: true }).flatMap((entry) => {
    const path = folder === "." ? entry.name : `${folder}/${entry.name}`;
    if (!entry.isDirectory()) return path.endsWith(".md") ? [path] : [];
    return entry.name.startsWith(".") || NO_PAGES.has(entry.name) ? [] : listPages(path);
  });
}

/** A page without its blocks of code. */
const withoutCode = (page: string) => page.replaceAll(/^( *)```[^]*?^\1```/gm, "");

/** The anchors that GitHub gives the headings of a page, and those that the page has by itself. */
function anchorsOf(page: string): Set<string> {
  const anchors = new Set<string>();
  for (const [, title = ""] of withoutCode(page).matchAll(/^#+ (.+)$/gm)) {
    const text = title.replaceAll(/\[([^\]]*)\]\([^)]*\)/g, "$1").toLowerCase();
    const anchor = text.replaceAll(/[^\p{L}\p{N}\s_-]/gu, "").trim().replaceAll(" ", "-");
    let name = anchor;
    for (let i = 1; anchors.has(name); i++) name = `${anchor}-${i}`;
    anchors.add(name);
  }
  for (const [, name = ""] of page.matchAll(/<a (?:id|name)="([^"]+)"/g)) anchors.add(name);
  return anchors;
}

test("every link of a page leads to an existing file, and to an existing heading in it", () => {
  const dead: string[] = [];
  let count = 0;
  for (const page of listPages()) {
    const text = withoutCode(read(page)).replaceAll(/`[^`\n]*`/g, "");
    for (const [link, path = "", anchor] of text.matchAll(/\]\((?!\w+:)([^)#\s]*)(?:#([^)\s]+))?[^)]*\)/g)) {
      count++;
      const target = path === "" ? page : join(dirname(page), path);
      const isDead = !existsSync(target) ||
        anchor !== undefined && statSync(target).isFile() && target.endsWith(".md") &&
          !anchorsOf(read(target)).has(anchor);
      if (isDead) dead.push(`${page}: ${link}`);
    }
  }
  assert.ok(count > 80, `only ${count} links were found`);
  assert.deepEqual(dead, []);
});

test("a page that imports an export which needs another package says how to install it", () => {
  const needs = { postgres: "postgres", ioredis: "ioredis", jwt: "jose", conformance: "fast-check" };
  let imports = 0;
  for (const page of ["README.md", ...listPages("docs")]) {
    const text = read(page);
    for (const [subpath, name] of Object.entries(needs)) {
      if (!text.includes(`from "@rootlodge/reality-server/${subpath}"`)) continue;
      imports++;
      assert.match(text, new RegExp(`npm install [^\n]*\\b${name}\\b`), `${page} does not install ${name}`);
    }
  }
  assert.ok(imports >= 6);
});

test("every page in docs/ leads back to the README and on to another page", () => {
  for (const page of listPages("docs")) {
    const links = [...read(page).matchAll(/\]\(([^)#]+)[^)]*\)/g)].map(([, path = ""]) => path);
    assert.ok(links.includes("../README.md"), `${page} has no link to ../README.md`);
    assert.ok(
      links.some((path) => path.endsWith(".md") && !path.endsWith("README.md")),
      `${page} leads nowhere`,
    );
  }
});

test("docs/errors.md explains each error code, with its status", () => {
  const codes = new Set(read("src/errors.ts").match(/(?<=\| ")ERR_REALITY_\w+/g));
  const sections = read("docs/errors.md").split(/^### (?=ERR_)/m).slice(1);
  assert.deepEqual(sections.map((text) => /^\w+/.exec(text)?.[0]).sort(), [...codes].sort());
  for (const text of sections) {
    const [, code = "", status] = /^(\w+)\n\n(?:Status (\d+)\.)?/.exec(text) ?? [];
    // Clients never see the codes of exchanges between servers.
    const expected = new RealityError(code as ErrorCode, "").status;
    assert.equal(Number(status ?? 502), expected, code);
  }
});

test("docs/client.md has each state of a client, and each transport", () => {
  const membersOf = (name: string) => {
    const [, text = ""] = new RegExp(`type ${name} =([^;]+);`).exec(read("client/types.ts")) ?? [];
    return [...text.matchAll(/"(\w+)"/g)].map(([, member]) => member).sort();
  };
  const firstCells = (...head: string[]) =>
    readTable(read("docs/client.md"), ...head).flatMap(([cell = ""]) => namesIn(cell));
  assert.deepEqual(firstCells("state", "meaning").sort(), membersOf("ClientState"));
  assert.deepEqual(
    firstCells("`transport`").map((name) => name.slice(1, -1)).sort(),
    membersOf("TransportName"),
  );
});
