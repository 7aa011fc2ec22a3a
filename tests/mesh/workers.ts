/**
 * Processes that run histories, as many as there are cores.
 *
 * @module
 */
import { type ChildProcess, spawn } from "node:child_process";
import { availableParallelism } from "node:os";
import process from "node:process";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import type { Outcome } from "./simulation.ts";

const MODULE = fileURLToPath(new URL("worker.ts", import.meta.url));

/** A history that takes longer than this never ends, in milliseconds. */
const LONGEST = 120_000;

/**
 * Runs histories. Any process may run any of them, because each depends on its seed alone.
 *
 * @param first The first seed.
 * @param count The number of histories.
 * @param onOutcome Receives each outcome in any order, or a message that its process has ended.
 */
export async function runInWorkers(
  first: number,
  count: number,
  onOutcome: (seed: number, outcome: Outcome | string) => void,
): Promise<void> {
  let next = first;
  const take = async (worker: Worker) => {
    while (next < first + count) {
      const seed = next++;
      onOutcome(seed, await worker.run(seed));
    }
  };
  await Promise.all(Array.from({ length: availableParallelism() }, async () => {
    const worker = new Worker();
    try {
      // Two at once, so that a process never waits for its next seed.
      await Promise.all([take(worker), take(worker)]);
    } finally {
      await worker.end();
    }
  }));
}

/** A history that was given to a process. */
interface Asked {
  readonly seed: number;
  readonly resolve: (outcome: Outcome | string) => void;
  readonly reject: (error: Error) => void;
}

/** One process after the other: if one ends too soon, another one continues. */
class Worker {
  readonly #waiting: Asked[] = [];
  #child: ChildProcess | undefined;
  #hasAnswered = false;
  #timer: ReturnType<typeof setTimeout> | undefined;

  /** Runs a history. Settles with its outcome, or with the way in which its process ended. */
  run(seed: number): Promise<Outcome | string> {
    return new Promise((resolve, reject) => {
      this.#waiting.push({ seed, resolve, reject });
      if (this.#waiting.length === 1) this.#watch();
      this.#child ??= this.#start();
      this.#child.stdin?.write(`${seed}\n`);
    });
  }

  /** Settles when the process has ended. */
  async end(): Promise<void> {
    const child = this.#child;
    if (child === undefined) return;
    const closed = new Promise((resolve) => child.once("close", resolve));
    child.stdin?.end();
    await closed;
  }

  #start(): ChildProcess {
    const child = spawn(process.execPath, ["run", "--allow-all", "--no-check", MODULE], {
      stdio: ["pipe", "pipe", "inherit"],
    });
    // The event "close" reports that the process has ended and accepts no more seeds.
    child.stdin.on("error", () => {});
    createInterface({ input: child.stdout }).on("line", (line) => {
      this.#hasAnswered = true;
      this.#settle(JSON.parse(line) as Outcome);
    });
    this.#hasAnswered = false;
    child.once("close", (code, signal) => this.#restart(`its process ended with ${signal ?? code}`));
    return child;
  }

  #settle(outcome: Outcome | string): void {
    this.#waiting.shift()?.resolve(outcome);
    this.#watch();
  }

  /** The running history has failed. Later ones get another process. */
  #restart(how: string): void {
    this.#child = undefined;
    if (!this.#hasAnswered) {
      for (const { seed, reject } of this.#waiting.splice(0)) {
        reject(new Error(`Cannot run seed ${seed}: ${how}`));
      }
      return clearTimeout(this.#timer);
    }
    if (this.#waiting.length === 0) return;
    this.#settle(how);
    if (this.#waiting.length === 0) return;
    this.#child = this.#start();
    for (const { seed } of this.#waiting) this.#child.stdin?.write(`${seed}\n`);
  }

  #watch(): void {
    clearTimeout(this.#timer);
    if (this.#waiting.length > 0) this.#timer = setTimeout(() => this.#child?.kill("SIGKILL"), LONGEST);
  }
}
