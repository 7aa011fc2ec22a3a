/**
 * Starts a contender's server in a process of its own and reads its processor time and memory.
 *
 * @module
 */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import type { Usage } from "./server.ts";

/** A running server. */
export class ServerProcess {
  readonly #child: ChildProcess;
  /** Where it listens, on 127.0.0.1. */
  readonly port: number;
  readonly #controls: number;

  private constructor(child: ChildProcess, port: number, controls: number) {
    this.#child = child;
    this.port = port;
    this.#controls = controls;
  }

  /**
   * Starts a contender on a runtime.
   *
   * @param hosts The addresses that it listens at, all with the same port.
   */
  static async start(
    [program = "", ...flags]: readonly string[],
    contender: string,
    hosts: readonly string[] = ["127.0.0.1"],
  ): Promise<ServerProcess> {
    const script = fileURLToPath(new URL("./server.ts", import.meta.url));
    const child = spawn(program, [...flags, script, contender, hosts.join()], {
      stdio: ["pipe", "pipe", "inherit"],
    });
    const [line] = await once(createInterface(child.stdout!), "line");
    const [port, controls] = String(line).split(" ").map(Number);
    return new ServerProcess(child, port!, controls!);
  }

  /** What it has used so far. */
  async usage(): Promise<Usage> {
    return await this.#get("/usage") as Usage;
  }

  /** The same after collecting garbage, so that what is left is in use. */
  async memory(): Promise<Usage> {
    return await this.#get("/memory") as Usage;
  }

  /** Changes a node; answers how long the call took inside the server, in milliseconds. */
  async change(key: string): Promise<number> {
    return (await this.#get(`/change?${key}`) as { took: number }).took;
  }

  /** Settles when so many wait. */
  async untilWaiting(count: number): Promise<void> {
    for (let looks = 0;; looks++) {
      const { waiting } = await this.usage();
      if (waiting === count) return;
      if (looks > 3000) throw new Error(`Cannot go on: expected ${count} to wait, got ${waiting}`);
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  }

  /** Ends it. */
  async stop(): Promise<void> {
    const ended = once(this.#child, "exit");
    this.#child.stdin!.end();
    await ended;
  }

  async #get(path: string): Promise<unknown> {
    return await (await fetch(`http://127.0.0.1:${this.#controls}${path}`)).json();
  }
}
