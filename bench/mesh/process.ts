/**
 * Starts a process of the latency bench and compares its clock with ours.
 *
 * @module
 */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import process from "node:process";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import type { Command, Notes } from "./server.ts";

/** How far the clock of another process is ahead of this one's, in milliseconds: between these two. */
export interface Offset {
  readonly least: number;
  readonly most: number;
}

/** One of the two processes. */
export class MeshProcess {
  readonly #child: ChildProcess;
  readonly #lines: AsyncIterator<string>;
  /** Where it listens, on 127.0.0.1. */
  port = 0;

  private constructor(child: ChildProcess) {
    this.#child = child;
    this.#lines = createInterface(child.stdout!)[Symbol.asyncIterator]();
  }

  /** Starts one on a runtime. */
  static async start([program = "", ...flags]: readonly string[]): Promise<MeshProcess> {
    const script = fileURLToPath(new URL("./server.ts", import.meta.url));
    const own = new MeshProcess(spawn(program, [...flags, script], { stdio: ["pipe", "pipe", "inherit"] }));
    own.port = await own.#read() as number;
    return own;
  }

  /** Joins it to the other one. */
  async join(other: MeshProcess): Promise<void> {
    await this.#ask({ to: "join", port: other.port });
  }

  /** Sets how long bare messages are, and their answers. */
  async size(post: number, answer: number, publish: number): Promise<void> {
    await this.#ask({ to: "size", post, answer, publish });
  }

  /** Has it make a change, or send a bare message. Returns at once. */
  send(way: string): void {
    this.#write({ to: "send", way });
  }

  /** What it has noted. */
  async tell(): Promise<Notes> {
    return await this.#ask({ to: "tell" }) as Notes;
  }

  /**
   * Compares clocks: its reading lies between two of ours, and the narrowest of many such gaps is what is known.
   * Both clocks count the same seconds, so that it holds for the whole run.
   */
  async compareClocks(): Promise<Offset> {
    let [least, most] = [-Infinity, Infinity];
    for (let i = 0; i < 500; i++) {
      const before = now();
      const theirs = await this.#ask({ to: "tick" }) as number;
      least = Math.max(least, theirs - now());
      most = Math.min(most, theirs - before);
    }
    return { least, most };
  }

  /** Ends it. */
  async stop(): Promise<void> {
    const ended = once(this.#child, "exit");
    this.#child.stdin!.end();
    await ended;
  }

  async #ask(command: Command): Promise<unknown> {
    this.#write(command);
    return await this.#read();
  }

  #write(command: Command): void {
    this.#child.stdin!.write(`${JSON.stringify(command)}\n`);
  }

  async #read(): Promise<unknown> {
    const { value } = await this.#lines.next();
    if (value === undefined) throw new Error("Cannot measure: a process has ended");
    return JSON.parse(value);
  }
}

/** Milliseconds of this process's clock. */
export function now(): number {
  return Number(process.hrtime.bigint()) / 1e6;
}
