/**
 * The package as it was at a commit.
 *
 * @module
 */
import { execFileSync } from "node:child_process";
import { existsSync, mkdirSync } from "node:fs";
import { join, resolve } from "node:path";

/** A version of the package in a folder. */
export interface CheckedOut {
  /** The short name of the commit. */
  readonly hash: string;
  readonly folder: string;
}

/** Takes the files of a commit from git into `.cache/against/`, beside this package's own dependencies. */
export function checkOut(commit: string): CheckedOut {
  const hash = execFileSync("git", ["rev-parse", "--short", commit], { encoding: "utf8" }).trim();
  const folder = resolve(`.cache/against/${hash}`);
  if (existsSync(join(folder, "deno.json"))) return { hash, folder };
  mkdirSync(folder, { recursive: true });
  const parts = ["deno.json", "mod.ts", "src", "storage", "adapters"];
  const archive = execFileSync("git", ["archive", hash, ...parts], { maxBuffer: 2 ** 28 });
  execFileSync("tar", ["-x", "-C", folder], { input: archive });
  return { hash, folder };
}
