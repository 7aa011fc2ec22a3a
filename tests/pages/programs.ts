/**
 * The programs of the pages: blocks that are whole files. Writes them to a folder and runs them, all of one runtime in
 * one process. Runs on Deno.
 *
 * `deno run -A tests/pages/programs.ts docs/recipes.md` runs those of one page, with the package in `npm/`.
 *
 * @module
 */
import assert from "node:assert/strict";
import { dirname } from "node:path";
import { type Block, PAGES, readBlocks } from "./blocks.ts";
import { CHECKS, checkSync, type Running } from "./checks.ts";

/** What a program can run on. */
export const RUNTIMES = ["Node 20", "Node 24", "Deno", "Bun"] as const;

/** A runtime that programs of the pages run on. */
export type Runtime = typeof RUNTIMES[number];

/** A block that is a whole file and can run. */
export interface Program {
  readonly page: string;
  readonly file: string;
  readonly runtimes: readonly Runtime[];
}

/** The words of a fence that say where a program runs. The tests of browsers and of Workers run theirs. */
const WORDS: Record<string, readonly Runtime[]> = {
  node: ["Node 20", "Node 24"],
  node24: ["Node 24"],
  deno: ["Deno"],
  bun: ["Bun"],
  browser: [],
  workers: [],
};

/** Returns the runtimes of a block that is a whole file; none if it is not a program. */
export function runtimesOf({ file = "", words }: Block): Runtime[] {
  if (!/\.(?:m?js|m?ts)$/.test(file)) return [];
  const named = words.filter((word) => Object.hasOwn(WORDS, word));
  const chosen = named.length === 0 ? RUNTIMES : named.flatMap((word) => WORDS[word]!);
  // Node 20 cannot run TypeScript.
  return RUNTIMES.filter((runtime) =>
    chosen.includes(runtime) && !(runtime === "Node 20" && /ts$/.test(file))
  );
}

/** Writes the files of the pages below `folder`, a folder for each page, and returns those that are programs. */
export async function writePrograms(folder: string, pages: readonly string[] = PAGES): Promise<Program[]> {
  const programs: Program[] = [];
  for (const page of pages) {
    for (const block of readBlocks(page)) {
      if (block.file === undefined) continue;
      const path = `${folder}/${page}/${block.file}`;
      await Deno.mkdir(dirname(path), { recursive: true });
      await Deno.writeTextFile(path, block.text);
      // For programs that read their node_modules.
      await Deno.symlink(`${folder}/node_modules`, `${folder}/${page}/node_modules`).catch(() => {});
      const runtimes = runtimesOf(block);
      if (runtimes.length > 0) programs.push({ page, file: block.file, runtimes });
    }
  }
  return programs;
}

/** Puts the built package and the packages of the project where the files below `folder` find them. */
export async function linkPackages(folder: string, packageFolder: string): Promise<void> {
  await Deno.mkdir(`${folder}/node_modules/@rootlodge`, { recursive: true });
  await Deno.writeTextFile(`${folder}/package.json`, "{}");
  // A copy: a link would lead out of the folder, and to other packages than the program has.
  const own = `${folder}/node_modules/@rootlodge/reality-server`;
  await new Deno.Command("cp", { args: ["-r", packageFolder, own] }).output();
  for await (const { name } of Deno.readDir("node_modules")) {
    if (name.startsWith(".") || name === "@rootlodge") continue;
    await Deno.symlink(await Deno.realPath(`node_modules/${name}`), `${folder}/node_modules/${name}`);
  }
}

/** How long all programs of one runtime may take together. */
const TIMEOUT = 60_000;

/** Runs the programs of one runtime, one after the other in one process, and checks what they serve. */
export async function runPrograms(
  folder: string,
  programs: readonly Program[],
  command: readonly string[],
): Promise<void> {
  const [program = "", ...args] = command;
  const paths = programs.map(({ page, file }) => `${page}/${file}`);
  const script = await Deno.realPath("tests/pages/runner.mjs");
  const child = new Deno.Command(program, {
    args: [...args, script, ...paths],
    cwd: folder,
    ...{ stdin: "piped", stdout: "piped", stderr: "piped" },
  }).spawn();
  const output = new Response(child.stderr).text();
  // A program that never comes to its end is named like one that fails.
  const timer = setTimeout(() => child.kill("SIGKILL"), TIMEOUT);
  const input = child.stdin.getWriter();
  let text = "";
  let done = 0;
  try {
    for await (const chunk of child.stdout.pipeThrough(new TextDecoderStream())) {
      text += chunk;
      const [, answer] = /^#running (.*)\n/m.exec(text) ?? [];
      if (answer === undefined) continue;
      const running: Running = { ...JSON.parse(answer), output: text };
      text = "";
      const { page, file } = programs[done]!;
      try {
        const check = CHECKS[`${page} ${file}`];
        if (check !== undefined) await check(running);
        else if (running.address !== null) await checkSync(running);
      } catch (error) {
        throw new Error(`${page}, ${file}: ${running.output}${error}`, { cause: error });
      }
      done++;
      await input.write(new TextEncoder().encode("next\n"));
    }
    const { page, file } = programs[done] ?? {};
    assert.equal(done, programs.length, `${page}, ${file}: ${text}${await output}`);
  } finally {
    clearTimeout(timer);
    try {
      child.kill("SIGKILL");
    } catch {
      // It has ended.
    }
    await Promise.allSettled([child.status, output, input.close()]);
  }
}

/** How each runtime starts a script. */
export function commandsOf(paths: Record<"node20" | "node24" | "bun", string>): Record<Runtime, string[]> {
  return {
    "Node 20": [paths.node20],
    "Node 24": [paths.node24],
    Deno: [Deno.execPath(), "run", "--allow-all", "--no-check"],
    Bun: [paths.bun, "--no-install"],
  };
}

if (import.meta.main) {
  const { prepareMachine } = await import("../run/machine.ts");
  const commands = commandsOf(await prepareMachine());
  const isBuilt = await Deno.stat("npm/package.json").then(() => true, () => false);
  if (!isBuilt) await new Deno.Command(Deno.execPath(), { args: ["task", "build:npm"] }).output();
  const folder = await Deno.makeTempDir({ prefix: "reality-pages-" });
  try {
    await linkPackages(folder, "npm");
    const programs = await writePrograms(folder, Deno.args.length > 0 ? Deno.args : PAGES);
    for (const runtime of RUNTIMES) {
      const own = programs.filter(({ runtimes }) => runtimes.includes(runtime));
      if (own.length > 0) await runPrograms(folder, own, commands[runtime]);
      console.log(`${runtime}: ${own.map(({ page, file }) => `${page} ${file}`).join(", ") || "none"}`);
    }
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}
