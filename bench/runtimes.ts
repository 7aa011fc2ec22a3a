/**
 * Finds the runtimes that are measured.
 *
 * @module
 */
import { spawnSync } from "node:child_process";
import process from "node:process";

/** The runtimes' names, in the order in which they are measured. */
export const RUNTIMES = ["node", "deno", "bun"] as const;

/** The name of a runtime. */
export type RuntimeName = typeof RUNTIMES[number];

/** What each is started with before the script; garbage can be collected before memory is read. */
const FLAGS: Readonly<Record<RuntimeName, readonly string[]>> = {
  node: ["--expose-gc", "--disable-warning=ExperimentalWarning"],
  deno: ["run", "--allow-all", "--no-check", "--quiet", "--v8-flags=--expose-gc"],
  bun: ["--no-install", "--expose-gc"],
};

/** Where they are looked for: where a variable says, where the tests keep theirs, on the `PATH`. */
const PLACES: Readonly<Record<RuntimeName, readonly (string | undefined)[]>> = {
  node: [process.env.REALITY_NODE, ".cache/runtimes/node_modules/node24/bin/node", "node24", "node"],
  deno: [process.env.REALITY_DENO, ownDeno(), "deno"],
  bun: [process.env.REALITY_BUN, ".cache/runtimes/node_modules/bun/bin/bun", "bun"],
};

/**
 * The command that a runtime's scripts follow.
 *
 * @returns Program and flags; nothing when the runtime is not there, or is a Node that runs no TypeScript.
 */
export function findRuntime(name: RuntimeName): readonly string[] | undefined {
  const program = PLACES[name].find((place) => place !== undefined && fits(name, place));
  return program === undefined ? undefined : [program, ...FLAGS[name]];
}

function fits(name: RuntimeName, program: string): boolean {
  const { status, stdout } = spawnSync(program, ["--version"], { encoding: "utf8" });
  if (status !== 0) return false;
  return name !== "node" || Number(/^v(\d+)/.exec(stdout)?.[1]) >= 24;
}

/** The Deno that runs this script: with `npx deno` it is on no `PATH`. */
function ownDeno(): string | undefined {
  return (process.versions as Record<string, string | undefined>).deno === undefined
    ? undefined
    : process.execPath;
}
