/**
 * Enforces the rules of layout and of import, on the import statements and names of all files.
 *
 * @module
 */

import assert from "node:assert/strict";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path/posix";
import { test } from "./harness.ts";
import { BUILDERS, MAY_IMPORT } from "./import_rules.ts";

const manifest: { exports: Record<string, string>; tasks: Record<string, { command: string }> } = JSON.parse(
  readFileSync("deno.json", "utf8"),
);
const published = ["mod.ts", ...["src", "storage", "adapters", "cli", "client"].flatMap(listFiles)];
const everything = [...published, ...["bench", "examples", "tests", "tools"].flatMap(listFiles)];
const texts = new Map(everything.map((file) => [file, readFileSync(file, "utf8")]));

test("mod.ts reaches no package and no node: module", () => {
  assert.deepEqual(reach("mod.ts").flatMap((file) => foreign(file).map((name) => `${file} → ${name}`)), []);
});

test("src imports src alone, and each folder only those below it", () => {
  const wrong = edges("src/", (file, target) => {
    if (!target.startsWith("src/")) return false;
    if (BUILDERS.includes(file)) return true;
    const [from, to] = [folderOf(file), folderOf(target)];
    return from === to || !BUILDERS.includes(target) && MAY_IMPORT[from]!.includes(to);
  });
  assert.deepEqual(wrong, []);
});

test("every folder of src has its rule of import", () => {
  const folders = new Set(published.filter((file) => file.startsWith("src/")).map(folderOf));
  assert.deepEqual([...folders].sort(), Object.keys(MAY_IMPORT).sort());
});

test("storages import the storage contract, its types and other storages", () => {
  const allowed = [
    "src/store/contract.ts",
    "src/store/history.ts",
    "src/store/node.ts",
    "src/types.ts",
    "src/errors.ts",
    "src/redact.ts",
    "src/check.ts",
  ];
  const wrong = edges("storage/", (_, target) => target.startsWith("storage/") || allowed.includes(target));
  assert.deepEqual(wrong, []);
});

test("adapters import the server, src/http and other adapters", () => {
  const allowed = [
    "src/server.ts",
    "src/types.ts",
    "src/errors.ts",
    "src/options.ts",
    "src/telemetry/events.ts",
    "src/redact.ts",
    "src/check.ts",
    "src/redis/client.ts",
    "src/abort_signal.ts",
    "src/limits/body_budget.ts",
    "src/limits/pending_responses.ts",
  ];
  const wrong = edges(
    "adapters/",
    (_, target) => /^(adapters\/|src\/http\/)/.test(target) || allowed.includes(target),
  );
  assert.deepEqual(wrong, []);
});

test("the command line imports src, storages and adapters; nothing imports it", () => {
  assert.deepEqual(edges("cli/", (_, target) => /^(cli|src|storage|adapters)\//.test(target)), []);
  const others = published.filter((file) => !file.startsWith("cli/"));
  assert.deepEqual(others.flatMap((file) => edges(file, (_, target) => !target.startsWith("cli/"))), []);
});

test("the client imports nothing but itself; nothing imports it", () => {
  assert.deepEqual(edges("client/", (_, target) => target.startsWith("client/")), []);
  const others = published.filter((file) => !file.startsWith("client/"));
  assert.deepEqual(others.flatMap((file) => edges(file, (_, target) => !target.startsWith("client/"))), []);
  assert.deepEqual(published.filter((file) => file.startsWith("client/")).flatMap(foreign), []);
});

test("node: modules are imported only where a runtime is the subject", () => {
  const allowed = [
    "adapters/node.ts",
    "cli/bin.ts",
    "cli/new_epoch.ts",
    "cli/serve.ts",
    "cli/signals.ts",
    "storage/sql/postgres/address.ts",
    "storage/sql/postgres/secure_socket.ts",
    "storage/sql/postgres/sockets.ts",
    "storage/sql/sqlite/database.ts",
    "storage/sql/sqlite/sqlite_storage.ts",
  ];
  const users = published.filter((file) => foreign(file).some((name) => name.startsWith("node:")));
  assert.deepEqual(users.filter((file) => !allowed.includes(file)), []);
});

test("a module that imports a package is an export of its own, or belongs to the storage kit", () => {
  const users = published.filter((file) => foreign(file).some((name) => !name.startsWith("node:")));
  const own = Object.values(manifest.exports).map((path) => join(path));
  assert.deepEqual(users.filter((f) => !own.includes(f) && !f.startsWith("storage/conformance/")), []);
});

test("no imports form a cycle, in tests and benches included", () => {
  const finished = new Set<string>();
  const visit = (file: string, path: readonly string[]): void => {
    assert.ok(!path.includes(file), [...path.slice(path.indexOf(file)), file].join(" → "));
    if (finished.has(file)) return;
    for (const name of importsOf(file)) if (name.startsWith(".")) visit(resolve(file, name), [...path, file]);
    finished.add(file);
  };
  for (const file of everything) visit(file, []);
});

test("nothing outside tests imports tests", () => {
  const users = everything.filter((file) => !file.startsWith("tests/"));
  const wrong = users.flatMap((user) => edges(user, (_, target) => !target.startsWith("tests/")));
  assert.deepEqual(wrong, []);
});

test("every file except tests starts with a sentence and @module", () => {
  const opening = /^(#!.*\n)?\/\*\*\n \* [A-Z`][\s\S]*?\n \* @module\n \*\/\n/;
  const files = everything.filter((file) => !/_(test|bench)\.ts$/.test(file));
  assert.deepEqual(files.filter((file) => !opening.test(texts.get(file)!)), []);
});

test("file names are snake_case, and no file is named utils", () => {
  const good = /^([a-z0-9_]+\/)*[a-z0-9_]+\.ts$/;
  assert.deepEqual(everything.filter((file) => !good.test(file) || /\butils?\.ts$/.test(file)), []);
});

test("every export of deno.json is a file", () => {
  assert.deepEqual(Object.values(manifest.exports).filter((path) => !existsSync(path)), []);
});

test("a task that needs packages installs them, so that it works as the first command in a fresh clone", () => {
  // These scripts install the packages themselves, or run in a project of their own.
  const installing = ["tests/run.ts", "tests/endurance/main.ts"];
  const needsPackages = (script: string) =>
    script.startsWith("bench/") ||
    reach(script).flatMap(foreign).some((name) => !name.startsWith("node:"));
  const wrong = Object.entries(manifest.tasks).filter(([, { command }]) => {
    if (command.startsWith("deno install --quiet; ")) return false;
    const scripts = [...command.matchAll(/\S+\.ts\b/g)].map(([script]) => script);
    return scripts.some((script) => !installing.includes(script) && needsPackages(script));
  });
  assert.deepEqual(wrong.map(([name]) => name), []);
});

function listFiles(folder: string): string[] {
  if (!existsSync(folder)) return [];
  return readdirSync(folder, { withFileTypes: true }).flatMap((entry) => {
    const path = `${folder}/${entry.name}`;
    if (entry.isDirectory()) return listFiles(path);
    return entry.name.endsWith(".ts") ? [path] : [];
  }).sort();
}

/** What a file imports: statically, lazily, or as a type. Examples in comments begin with a star. */
function importsOf(file: string): string[] {
  const text = texts.get(file) ?? "";
  const patterns = [
    /^(?:import|export)\s[\w\s{},*$]*?\bfrom\s*"([^"]+)"/gm,
    /^import\s*"([^"]+)"/gm,
    /^(?!\s*(?:\*|\/\/)).*?\bimport\(\s*"([^"]+)"/gm,
  ];
  return patterns.flatMap((pattern) => [...text.matchAll(pattern)].map((match) => match[1]!));
}

function foreign(file: string): string[] {
  return importsOf(file).filter((name) => !name.startsWith("."));
}

function resolve(file: string, name: string): string {
  return join(dirname(file), name);
}

/** The file and all that it imports, however far away. */
function reach(start: string): string[] {
  const found = new Set([start]);
  for (const file of found) {
    for (const name of importsOf(file)) if (name.startsWith(".")) found.add(resolve(file, name));
  }
  return [...found];
}

/** Imports of project files by files below `folder` that `allowed` refuses, as "a → b". */
function edges(folder: string, allowed: (file: string, target: string) => boolean): string[] {
  return everything.filter((file) => file.startsWith(folder)).flatMap((file) =>
    importsOf(file).filter((name) => name.startsWith(".")).map((name) => resolve(file, name))
      .filter((target) => !allowed(file, target)).map((target) => `${file} → ${target}`)
  );
}

function folderOf(file: string): string {
  return file.split("/").length > 2 ? file.split("/")[1]! : ".";
}
