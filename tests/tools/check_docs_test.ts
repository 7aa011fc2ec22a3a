import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import process from "node:process";
import { pathToFileURL } from "node:url";
import { compareWithKnown, type Fault, findFaults } from "../../tools/check_docs.ts";
import { test } from "../harness.ts";

const EXAMPLE = "* ```ts\n * console.log(1);\n * ```";

/** Documents files as `deno doc` does and returns the faults as `place symbol: rule`. */
function faultsOf(files: Record<string, string>): { list: string[]; faults: Fault[] } {
  const folder = mkdtempSync(join(tmpdir(), "reality-docs-"));
  try {
    for (const [path, text] of Object.entries(files)) {
      mkdirSync(dirname(join(folder, path)), { recursive: true });
      writeFileSync(join(folder, path), text);
    }
    const deno = process.env.REALITY_DENO ?? process.execPath;
    const paths = Object.keys(files).map((path) => join(folder, path));
    const output = JSON.parse(execFileSync(deno, ["doc", "--json", ...paths], { encoding: "utf8" }));
    const faults = findFaults(output, `${pathToFileURL(folder)}/`);
    return { list: faults.map(({ place, symbol, rule }) => `${place} ${symbol}: ${rule}`), faults };
  } finally {
    rmSync(folder, { recursive: true });
  }
}

test("findFaults() finds modules, symbols and members without a description", () => {
  const { list } = faultsOf({
    "mod.ts": [
      "export const one = 1;",
      "/** A class. */",
      "export class Two {",
      "  constructor(readonly four: number) {}",
      "  #hidden = 1;",
      "  private own(): void {}",
      "  three(): void {}",
      "}",
      "/** Options. */",
      "export interface Five {",
      "  six?: number;",
      "}",
      "class NotExported {}",
    ].join("\n"),
  });
  assert.deepEqual(list, [
    "mod.ts:1 mod.ts: description",
    "mod.ts:1 one: description",
    "mod.ts:4 Two.constructor: description",
    "mod.ts:7 Two.three: description",
    "mod.ts:11 Five.six: description",
  ]);
});

test("findFaults() finds @throws without a class and without a cause", () => {
  const { list, faults } = faultsOf({
    "mod.ts": [
      "/**",
      " * A module.",
      " * @module",
      " */",
      "/**",
      " * A function.",
      " * @throws {RangeError} If the number is negative.",
      " * @throws If the number is odd.",
      " * @throws {TypeError}",
      " * @throws {string} If the number is even.",
      " */",
      "export function one(): void {}",
    ].join("\n"),
  });
  assert.deepEqual(list, Array(3).fill("mod.ts:12 one: throws"));
  assert.deepEqual(faults.map(({ message }) => message), [
    '"@throws If the number is odd." names no class',
    '"@throws {TypeError}" names no cause',
    '"@throws If the number is even." names no class',
  ]);
});

test("findFaults() requires an example of server methods, options and storages, and of nothing else", () => {
  const module = "/**\n * A module.\n * @module\n */\n";
  const { list } = faultsOf({
    "src/server.ts": `${module}
/** A server. */
export class RealityServer {
  /** Its name. */
  get serverId(): string { return ""; }
  /** Has none. */
  one(): void {}
  /**
   ${EXAMPLE.replaceAll("\n", "\n  ")}
   */
  two(): void {}
  /**
   * Has one that does not run.
   *
   * @example
   ${EXAMPLE.replace("```ts", "```ts ignore").replaceAll("\n", "\n  ")}
   */
  three(): void {}
  /** @deprecated Use \`two\`: an alias of it. */
  four(): void {}
}
/** Options. */
export interface RealityServerOptions {
  /** Has none. */
  five?: number;
}
`,
    "storage/six.ts": `${module}
/** Has none. */
export function openSix(): void {}
/**
 * Has one.
 *
 * @example
 ${EXAMPLE}
 */
export class SevenStorage {}
/** Options of a storage. */
export interface SixOptions {}
`,
    "storage/conformance/mod.ts": `${module}/** A kit. */\nexport function eight(): void {}\n`,
  });
  assert.deepEqual(list, [
    "src/server.ts:11 RealityServer.one: example",
    "src/server.ts:17 RealityServer.two: description",
    "src/server.ts:26 RealityServer.three: example",
    "src/server.ts:28 RealityServer.four: description",
    "src/server.ts:33 RealityServerOptions.five: example",
    "storage/six.ts:7 openSix: example",
  ]);
});

test("compareWithKnown() returns faults that are not listed, and entries that are no faults", () => {
  const fault: Fault = { rule: "throws", symbol: "one", place: "mod.ts:1", message: "" };
  const other: Fault = { ...fault, rule: "example" };
  const { unknown, mended } = compareWithKnown([fault, other], ["throws one", "throws two"]);
  assert.deepEqual(unknown, [other]);
  assert.deepEqual(mended, ["throws two"]);
});
