/**
 * The calls of clients and applications that have not been answered yet, and the errors that end them.
 *
 * @module
 */
import type { ServerProcess } from "./machines.ts";
import type { Record } from "./record.ts";

/** What pending calls need of their cluster. */
export interface PendingCallsDeps {
  /** The simulated time, in milliseconds. */
  now(): number;
  readonly record: Record;
  /** Prints a line if the history is traced. */
  trace(line: () => string): void;
}

/** Records calls while they are pending, and blames unexpected errors. */
export class PendingCalls {
  readonly #deps: PendingCallsDeps;
  readonly #pending = new Set<string>();

  /** @param deps The clock, the record and the trace of the cluster. */
  constructor(deps: PendingCallsDeps) {
    this.#deps = deps;
  }

  /** Descriptions of pending calls. */
  get descriptions(): readonly string[] {
    return [...this.#pending];
  }

  /** Records a pending call and its error. Settles with `undefined` after an error. */
  async watch<T>(name: string, process: ServerProcess, act: () => Promise<T>): Promise<T | undefined> {
    const entry = `${name}, since ${this.#deps.now() - Date.UTC(2026, 0, 1)} ms`;
    this.#pending.add(entry);
    try {
      // A killed process answers nothing: the client stops waiting.
      return await Promise.race([act(), process.ended]);
    } catch (error) {
      this.#deps.trace(() => `${name} fails: ${error}`);
      const code = (error as { code?: unknown }).code;
      if (code !== "ERR_REALITY_CLOSED" && code !== "ERR_REALITY_STORAGE") {
        this.#deps.record.blame("error", `${name} failed: ${(error as Error).stack}`);
      }
      return undefined;
    } finally {
      this.#pending.delete(entry);
    }
  }
}
