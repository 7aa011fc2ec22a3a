/**
 * A process that prints lines, and reads them.
 *
 * @module
 */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";

/** One that runs. */
export class LineProcess {
  readonly #child: ChildProcess;
  readonly #lines: AsyncIterator<string>;

  private constructor(child: ChildProcess) {
    this.#child = child;
    this.#lines = createInterface(child.stdout!)[Symbol.asyncIterator]();
  }

  /** Starts a script beside this folder, and waits for its first line. */
  static async start(
    [program = "", ...flags]: readonly string[],
    script: string,
    order: unknown,
  ): Promise<LineProcess> {
    const path = fileURLToPath(new URL(script, import.meta.url));
    const child = spawn(program, [...flags, path, JSON.stringify(order)], {
      stdio: ["pipe", "pipe", "inherit"],
    });
    const started = new LineProcess(child);
    await started.read();
    return started;
  }

  /** The next line. */
  async read(): Promise<string> {
    const { done, value } = await this.#lines.next();
    if (done) throw new Error("Cannot go on: a process ended");
    return value;
  }

  /** Sends a line, and reads the next one as JSON. */
  async ask<T>(line: string): Promise<T> {
    this.#child.stdin!.write(`${line}\n`);
    return JSON.parse(await this.read());
  }

  /** Ends it. */
  async stop(): Promise<void> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return;
    const ended = once(this.#child, "exit");
    this.#child.kill("SIGKILL");
    await ended;
  }
}
