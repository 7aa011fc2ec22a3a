/**
 * Starts a script as a process of its own, on any of the runtimes.
 *
 * @module
 */
import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { skip, type Test, test } from "../harness.ts";

/** How each runtime is found and told to run a script. */
const STARTS = {
  deno: { variable: "REALITY_DENO", flags: ["run", "--allow-all", "--no-lock"] },
  node: { variable: "REALITY_NODE", flags: ["--disable-warning=ExperimentalWarning"] },
  bun: { variable: "REALITY_BUN", flags: ["run", "--no-install"] },
} as const;

/** The name of a runtime. */
export type Runtime = keyof typeof STARTS;

/** All of them. */
export const RUNTIMES: readonly Runtime[] = ["deno", "node", "bun"];

/**
 * Registers a test that starts these runtimes. Where one is not there it fails, or, with `REALITY_ALLOW_SKIP=1`
 * in the environment, is a skip that names it.
 */
export function testOn(runtimes: readonly Runtime[], ...[name, fn]: Parameters<Test>): void {
  const maySkip = process.env.REALITY_ALLOW_SKIP === "1";
  const missing = maySkip ? runtimes.filter((runtime) => spawnSync(find(runtime), ["--version"]).error) : [];
  if (missing.length > 0) skip(`${name} (not there: ${missing.join(", ")})`, fn);
  else test(name, fn);
}

function find(runtime: Runtime): string {
  return process.env[STARTS[runtime].variable] ?? runtime;
}

/** A process that was started. */
export interface Running {
  /** The lines it printed so far. */
  readonly lines: readonly string[];
  /** Settles once it has printed that many lines; rejects when it ends before. */
  hasPrinted(count: number): Promise<void>;
  /** Settles when it has ended and all its output has come. */
  readonly ended: Promise<{ readonly code: number | null; readonly signal: string | null }>;
  /** Ends it without giving it a moment. */
  kill(): void;
  /** Asks it to end, holds it still, or lets it go on. */
  signal(name: "SIGTERM" | "SIGSTOP" | "SIGCONT"): void;
}

/**
 * Starts a script beside this file.
 *
 * @param runtime The runtime; its executable is named by a variable, or is on the PATH.
 * @param script The file's name.
 * @param args What it is given.
 */
export function start(runtime: Runtime, script: string, args: readonly string[]): Running {
  const { variable, flags } = STARTS[runtime];
  const executable = find(runtime);
  const file = fileURLToPath(new URL(script, import.meta.url));
  const child: ChildProcess = spawn(executable, [...flags, file, ...args], {
    stdio: ["ignore", "pipe", "pipe"],
  });
  const lines: string[] = [];
  const waiting = new Set<() => void>();
  let [rest, errors, isOver] = ["", "", false];
  const tell = () => waiting.forEach((look) => look());
  child.stdout?.setEncoding("utf8").on("data", (text: string) => {
    const parts = (rest + text).split("\n");
    rest = parts.pop() ?? "";
    lines.push(...parts);
    tell();
  });
  child.stderr?.setEncoding("utf8").on("data", (text: string) => errors += text);
  const ended = new Promise<{ code: number | null; signal: string | null }>((resolve, reject) => {
    child.once("error", (cause) => {
      isOver = true;
      tell();
      reject(new Error(`Cannot start ${executable}: set ${variable} to where ${runtime} is`, { cause }));
    });
    child.once("close", (code, signal) => {
      isOver = true;
      tell();
      if (code === 0 || signal === "SIGKILL") resolve({ code, signal });
      else reject(new Error(`${runtime} ended with ${code ?? signal}: ${errors.trim()}`));
    });
  });
  // The failure is reported to a caller that waits for the end, or for lines.
  ended.catch(() => {});
  return {
    lines,
    ended,
    async hasPrinted(count) {
      await new Promise<void>((resolve) => {
        const look = () => {
          if (lines.length < count && !isOver) return;
          waiting.delete(look);
          resolve();
        };
        waiting.add(look);
        look();
      });
      if (lines.length >= count) return;
      await ended;
      throw new Error(`${runtime} ended after ${lines.length} lines, before ${count}`);
    },
    kill: () => void child.kill("SIGKILL"),
    signal(name) {
      // Told by its own kill(), Deno says of every child that the signal ended it.
      if (child.pid !== undefined && !isOver) process.kill(child.pid, name);
    },
  };
}
