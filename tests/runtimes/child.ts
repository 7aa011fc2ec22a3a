/**
 * Runs a module in a process of its own, on the runtime at hand.
 *
 * @module
 */
import { type ChildProcess, spawn } from "node:child_process";
import process from "node:process";
import { soon } from "../http/client.ts";

/** The arguments by which each runtime runs a module. */
export const RUN: Readonly<Record<string, readonly string[]>> = {
  deno: ["run", "--allow-all", "--no-lock"],
  bun: ["run", "--no-install"],
  node: ["--disable-warning=ExperimentalWarning"],
};

/** Which runtime this is. */
export const runtime: "deno" | "bun" | "node" = "Bun" in globalThis
  ? "bun"
  : "Deno" in globalThis
  ? "deno"
  : "node";

/** The arguments by which this runtime runs a module that may free memory by itself. */
export const RUN_WITH_GC: readonly string[] = {
  deno: ["run", "--allow-all", "--no-lock", "--no-check", "--v8-flags=--expose-gc"],
  bun: ["run", "--no-install"],
  node: ["--disable-warning=ExperimentalWarning", "--expose-gc"],
}[runtime];

/** A process that was started. */
export class Child {
  readonly #process: ChildProcess;
  readonly #ended: Promise<number | null>;
  #output = "";
  #wake = () => {};

  /**
   * @param args What the runtime is given.
   * @param env Its variables; of this process's own it gets none but those that name places.
   * @param cwd Its folder.
   * @param program What is run in the place of this runtime.
   */
  constructor(
    args: readonly string[],
    env: Record<string, string>,
    cwd: string,
    program: string = process.execPath,
  ) {
    const { PATH = "", HOME = "", TMPDIR = "" } = process.env;
    const caches = ["DENO_DIR", "NODE_COMPILE_CACHE"].flatMap((name) => {
      const path = process.env[name];
      return path === undefined ? [] : [[name, path]];
    });
    this.#process = spawn(program, args, {
      cwd,
      env: { PATH, HOME, TMPDIR, NO_COLOR: "1", ...Object.fromEntries(caches), ...env },
      stdio: ["ignore", "pipe", "pipe"],
    });
    const take = (chunk: unknown) => {
      this.#output += chunk;
      this.#wake();
    };
    this.#process.stdout?.setEncoding("utf8").on("data", take);
    this.#process.stderr?.setEncoding("utf8").on("data", take);
    this.#ended = new Promise((resolve, reject) => {
      this.#process.once("error", reject);
      this.#process.once("close", (code) => {
        resolve(code);
        this.#wake();
      });
    });
  }

  /** Runs a module of the project. */
  static run(module: string, env: Record<string, string>, cwd: string, args: readonly string[] = []): Child {
    return new Child([...RUN[runtime] ?? [], `${process.cwd()}/${module}`, ...args], env, cwd);
  }

  /** Its number. */
  get pid(): number | undefined {
    return this.#process.pid;
  }

  /** All that it has printed. */
  get output(): string {
    return this.#output;
  }

  /**
   * Waits until it has printed what fits; gives the match.
   *
   * @param patience For how long, in milliseconds; else as long as for everything.
   */
  async printed(pattern: RegExp, patience?: number): Promise<RegExpExecArray> {
    const arrived = (async () => {
      while (true) {
        const match = pattern.exec(this.#output);
        if (match !== null) return match;
        if (this.#process.exitCode !== null) throw new Error(`It ended before ${pattern}: ${this.#output}`);
        await new Promise<void>((resolve) => this.#wake = resolve);
      }
    })();
    return await soon(arrived, `${pattern} after ${this.#output}`, patience);
  }

  /** Sends it a signal. */
  signal(name: "SIGINT" | "SIGTERM" | "SIGKILL"): void {
    // Told by its own kill(), Deno says of every child that the signal ended it.
    if (this.#process.pid !== undefined) process.kill(this.#process.pid, name);
  }

  /** Waits until it has ended; gives its exit code. */
  async ended(): Promise<number | null> {
    return await soon(this.#ended, `the end after ${this.#output}`);
  }

  /** Ends it at once, if it has not ended. */
  async kill(): Promise<void> {
    this.#process.kill("SIGKILL");
    await this.#ended;
  }
}
