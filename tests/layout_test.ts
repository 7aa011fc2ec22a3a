/**
 * Who may import whom: the rules of the house, read from the files.
 *
 * @module
 */

import assert from "node:assert/strict";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path/posix";
import { test } from "./harness.ts";

/** Every file of `src` that lies in no folder has its place here; one in a folder is else a room's. */
const places: Record<string, readonly string[]> = {
  leaf: [
    "types",
    "redact",
    "errors",
    "clock",
    "node",
    "stamp",
    "compare",
    "parse",
    "pause",
    "access",
    "admission",
    "client_address",
    "deadlines",
    "rate_limit",
    "hang_up",
    "request_shape",
    "responses",
    "hash",
    "storage",
    "history",
    "options",
    "redis/client",
    "metrics",
    "events",
    "visit",
    "version",
    "hooks",
  ],
  middle: [
    "batch",
    "fence",
    "intake",
    "waiters",
    "watch",
    "subscription",
    "ready",
    "account",
    "scope",
    "request_scope",
  ],
  room: ["sync"],
  corridor: ["server"],
};

/** What may be imported besides files of the same folder, by the place of the one who imports. */
const mayImport: Record<string, readonly string[]> = {
  leaf: ["leaf"],
  middle: ["leaf", "middle"],
  room: ["leaf", "middle"],
  corridor: ["leaf", "middle", "room"],
};

const manifest: { exports: Record<string, string> } = JSON.parse(readFileSync("deno.json", "utf8"));
const published = ["mod.ts", ...["src", "storage", "adapters"].flatMap(listFiles)];
const everything = [...published, ...["bench", "examples", "tests", "tools"].flatMap(listFiles)];
const texts = new Map(everything.map((file) => [file, readFileSync(file, "utf8")]));

test("mod.ts reaches no package and no node: module", () => {
  assert.deepEqual(reach("mod.ts").flatMap((file) => foreign(file).map((name) => `${file} → ${name}`)), []);
});

test("src keeps to src, and each of its files to its place", () => {
  const wrong = edges("src/", (file, target) => {
    if (!target.startsWith("src/")) return false;
    const sameRoom = dirname(file) === dirname(target) && dirname(file) !== "src";
    return sameRoom || mayImport[place(file)]!.includes(place(target));
  });
  assert.deepEqual(wrong, []);
});

test("a storage knows the contract, its types and other storages, and nothing else", () => {
  const known = [
    "src/storage.ts",
    "src/history.ts",
    "src/types.ts",
    "src/node.ts",
    "src/errors.ts",
    "src/redact.ts",
  ];
  const wrong = edges("storage/", (_, target) => target.startsWith("storage/") || known.includes(target));
  assert.deepEqual(wrong, []);
});

test("a door knows the server, the desk and other doors; a whole server knows storages too", () => {
  const wholeServers = [
    "adapters/serve.ts",
    "adapters/bin.ts",
    "adapters/standalone.ts",
    "adapters/new_epoch.ts",
    "adapters/environment.ts",
    "adapters/log.ts",
    "adapters/jwt.ts",
    "adapters/authorize_url.ts",
  ];
  const wrong = edges(
    "adapters/",
    (file, target) =>
      /^(adapters\/|src\/http\/)/.test(target) ||
      [
        "src/server.ts",
        "src/types.ts",
        "src/events.ts",
        "src/redact.ts",
        "src/redis/client.ts",
        "src/request_shape.ts",
      ].includes(target) ||
      wholeServers.includes(file) && (target.startsWith("storage/") || target.startsWith("src/")),
  );
  assert.deepEqual(wrong, []);
});

test("node: modules are imported only where a runtime is the subject", () => {
  const allowed = ["node", "serve", "bin", "new_epoch", "signals"].map((name) => `adapters/${name}.ts`)
    .concat(
      "storage/sqlite.ts",
      "storage/postgres_address.ts",
      "storage/postgres_sockets.ts",
    );
  const users = published.filter((file) => foreign(file).some((name) => name.startsWith("node:")));
  assert.deepEqual(users.filter((file) => !allowed.includes(file)), []);
});

test("a module that imports a package is an export of its own, or belongs to the storage kit", () => {
  const users = published.filter((file) => foreign(file).some((name) => !name.startsWith("node:")));
  const own = Object.values(manifest.exports).map((path) => join(path));
  assert.deepEqual(users.filter((f) => !own.includes(f) && !f.startsWith("storage/conformance/")), []);
});

test("imports never run in a circle", () => {
  for (const file of published) {
    const others = importsOf(file).filter((name) => name.startsWith(".")).map((name) => resolve(file, name));
    for (const target of others) {
      assert.ok(!reach(target).includes(file), `${file} imports ${target}, which leads back to it`);
    }
  }
});

test("nothing outside tests imports tests, but the endurance run, which is a test of an hour", () => {
  const users = everything.filter((file) => !/^(?:tests|bench\/endurance)\//.test(file));
  const wrong = users.flatMap((user) => edges(user, (_, target) => !target.startsWith("tests/")));
  assert.deepEqual(wrong, []);
});

test("every file but a test opens with a sentence and @module", () => {
  const opening = /^(#!.*\n)?\/\*\*\n \* [A-Z`][\s\S]*?\n \* @module\n \*\/\n/;
  const files = everything.filter((file) => !/_(test|bench)\.ts$/.test(file));
  assert.deepEqual(files.filter((file) => !opening.test(texts.get(file)!)), []);
});

test("file names are snake_case, and none is called utils", () => {
  const good = /^([a-z0-9_]+\/)*[a-z0-9_]+\.ts$/;
  assert.deepEqual(everything.filter((file) => !good.test(file) || /\butils?\.ts$/.test(file)), []);
});

test("every export of deno.json is a file", () => {
  assert.deepEqual(Object.values(manifest.exports).filter((path) => !existsSync(path)), []);
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
    /^(?:import|export)\s[^;"'=()]*?\bfrom\s*"([^"]+)"/gm,
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

/** Imports of project files by files below `folder` that `allowed` turns down, as "a → b". */
function edges(folder: string, allowed: (file: string, target: string) => boolean): string[] {
  return everything.filter((file) => file.startsWith(folder)).flatMap((file) =>
    importsOf(file).filter((name) => name.startsWith(".")).map((name) => resolve(file, name))
      .filter((target) => !allowed(file, target)).map((target) => `${file} → ${target}`)
  );
}

function place(file: string): string {
  const name = file.replace(/^src\/|\.ts$/g, "");
  const found = Object.keys(places).find((place) => places[place]!.includes(name));
  if (found === undefined && name.includes("/")) return "room";
  return found ?? assert.fail(`Cannot place "${file}": name it in tests/layout_test.ts`);
}
