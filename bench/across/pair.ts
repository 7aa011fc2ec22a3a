/**
 * Two servers that are joined in one way, each in a process of its own, and a client that waits at the second.
 *
 * @module
 */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import process from "node:process";
import { createInterface } from "node:readline";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { openClients, type WaitingClient } from "../http/waiting_client.ts";
import { keyOf } from "../workload.ts";

/** The ways in which two servers are joined. */
export const WAYS = {
  "bare POST": { needsRedis: false },
  "mesh": { needsRedis: false },
  "bare publish": { needsRedis: true },
  "mesh and Redis": { needsRedis: true },
  "socket.io and Redis": { needsRedis: true },
} as const;

/** The name of one of them. */
export type Way = keyof typeof WAYS;

/** How often clocks are compared. */
const COMPARISONS = 300;

/** Two servers and a client. */
export class Pair {
  readonly way: Way;
  /** The runtime that is measured, and its version. */
  readonly runtime: string;
  readonly #a: Child;
  readonly #b: Child;
  readonly #client: WaitingClient;
  #version = 0;
  #offset = 0;

  private constructor(way: Way, a: Child, b: Child, client: WaitingClient) {
    this.way = way;
    this.runtime = a.runtime;
    this.#a = a;
    this.#b = b;
    this.#client = client;
  }

  /** Starts them on a runtime. */
  static async start(command: readonly string[], way: Way): Promise<Pair> {
    const [a, b] = [await Child.start(command, way), await Child.start(command, way)];
    await a.ask(`${b.port}`);
    await b.ask(`${a.port}`);
    const [client] = await openClients(b.port, 1, way === "socket.io and Redis" ? "socket.io" : way);
    return new Pair(way, a, b, client!);
  }

  /**
   * Makes a change at the first; how long it took until the client had it, in milliseconds.
   *
   * @param rest How long the client waits before, so that it is parked, in milliseconds.
   */
  async change(rest: number): Promise<number> {
    await this.#client.wait(keyOf(0), this.way.startsWith("bare") ? 0 : this.#version);
    await sleep(rest);
    const begun = this.#a.ask("change");
    await this.#client.answered;
    const end = now();
    this.#version = this.#client.version;
    return end - (await begun as number - this.#offset);
  }

  /**
   * Finds how far the first server's clock is ahead of ours: each of its readings lies between two of ours, and the
   * narrowest such gap is what is known.
   */
  async compareClocks(): Promise<void> {
    let [least, most] = [-Infinity, Infinity];
    for (let i = 0; i < COMPARISONS; i++) {
      const before = now();
      const theirs = await this.#a.ask("tick") as number;
      least = Math.max(least, theirs - now());
      most = Math.min(most, theirs - before);
    }
    this.#offset = (least + most) / 2;
  }

  /** Ends them. */
  async stop(): Promise<void> {
    this.#client.close();
    await Promise.all([this.#a.stop(), this.#b.stop()]);
  }
}

/** One of the servers. */
class Child {
  readonly #child: ChildProcess;
  readonly #lines: AsyncIterator<string>;
  port = 0;
  runtime = "";

  private constructor(child: ChildProcess) {
    this.#child = child;
    this.#lines = createInterface(child.stdout!)[Symbol.asyncIterator]();
  }

  static async start([program = "", ...flags]: readonly string[], way: Way): Promise<Child> {
    const script = fileURLToPath(new URL("./server.ts", import.meta.url));
    const own = new Child(spawn(program, [...flags, script, way], { stdio: ["pipe", "pipe", "inherit"] }));
    [own.port, own.runtime] = await own.#read() as [number, string];
    return own;
  }

  async ask(line: string): Promise<unknown> {
    this.#child.stdin!.write(`${line}\n`);
    return await this.#read();
  }

  async stop(): Promise<void> {
    const ended = once(this.#child, "exit");
    this.#child.stdin!.end();
    await ended;
  }

  async #read(): Promise<unknown> {
    const { value } = await this.#lines.next();
    if (value === undefined) throw new Error("Cannot measure: a process has ended");
    return JSON.parse(value);
  }
}

/** Milliseconds of this process's clock. */
function now(): number {
  return Number(process.hrtime.bigint()) / 1e6;
}
