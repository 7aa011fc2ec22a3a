/**
 * A private server on a free port of this machine, which ends together with its parent process.
 *
 * @module
 */
import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { randomInt } from "node:crypto";
import { chmodSync, existsSync, mkdtempSync, readFileSync } from "node:fs";
import { connect, createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { setTimeout as sleep } from "node:timers/promises";

/** How one kind of server is made and run. */
export interface Recipe {
  /** Fills a new empty folder with what the server needs there. */
  prepare(folder: string): void;
  /** The server's command line; it stays in the foreground. */
  command(folder: string, port: number): readonly string[];
  /** What it says when it takes requests, if it listens before. */
  readonly ready?: string;
  /** The signal that ends it at once; its children, if it has any, as well. */
  readonly signal: "QUIT" | "KILL" | "TERM";
  /** Its address, for tests. */
  address(port: number): string;
}

/** How long a server may take until it listens, in milliseconds. */
const START_TIMEOUT = 60_000;

/**
 * Runs the server until its own input is closed, which happens however the process at the other end goes away;
 * then ends it and takes the folder away, unless told to keep it.
 */
const GUARD = `
signal=$1 folder=$2; shift 2
"$@" >"$folder/log" 2>&1 & child=$!
trap "" INT TERM HUP
read word
kill -s $signal $child; wait $child
[ "$word" = keep ] || rm -rf "$folder"
`;

/** A server that was started. */
export class PrivateServer {
  /** Its address. It stays the same when it is started again. */
  readonly address: string;
  readonly #recipe: Recipe;
  readonly #folder: string;
  readonly #port: number;
  #guard: ChildProcess | undefined;

  private constructor(recipe: Recipe, folder: string, port: number) {
    this.#recipe = recipe;
    this.#folder = folder;
    this.#port = port;
    this.address = recipe.address(port);
  }

  /** Makes a server in a new folder and waits until it listens. */
  static async start(recipe: Recipe): Promise<PrivateServer> {
    const folder = mkdtempSync(join(tmpdir(), "reality-server-"));
    // The server may run as another user, who has to get in.
    chmodSync(folder, 0o755);
    const server = new PrivateServer(recipe, folder, await findPort());
    try {
      recipe.prepare(folder);
      await server.restart();
    } catch (error) {
      await server.stop();
      throw error;
    }
    return server;
  }

  /** Starts the server anew on the data that it left. */
  async restart(): Promise<void> {
    const command = this.#recipe.command(this.#folder, this.#port);
    const guard = this.#guard = spawn("sh", [
      "-c",
      GUARD,
      "sh",
      this.#recipe.signal,
      this.#folder,
      ...command,
    ], {
      stdio: ["pipe", "ignore", "ignore"],
      detached: true,
    });
    let hasEnded = false;
    guard.once("exit", () => hasEnded = true);
    const beginning = performance.now();
    while (!this.#isReady() || !await canConnect(this.#port)) {
      if (hasEnded || performance.now() - beginning > START_TIMEOUT) {
        throw new Error(`Cannot start ${command.join(" ")}:\n${this.#log()}`);
      }
      await sleep(20);
    }
  }

  #isReady(): boolean {
    const { ready } = this.#recipe;
    return ready === undefined || this.#log().includes(ready);
  }

  #log(): string {
    const file = join(this.#folder, "log");
    return existsSync(file) ? readFileSync(file, "utf8") : "";
  }

  /** Ends the server as a crash would: nothing is written or said any more. The data stays. */
  async crash(): Promise<void> {
    await this.#end("keep");
  }

  /** Ends the server and takes its data away. */
  async stop(): Promise<void> {
    await this.#end("");
    // What a crash left, or a start that failed. By a command, since some of it belongs to another user.
    spawnSync("rm", ["-rf", this.#folder]);
  }

  async #end(word: string): Promise<void> {
    const guard = this.#guard;
    this.#guard = undefined;
    if (guard === undefined || guard.exitCode !== null) return;
    const ended = new Promise((resolve) => guard.once("exit", resolve));
    guard.stdin?.end(`${word}\n`);
    await ended;
  }
}

/** Runs a command and fails with what it said. */
export function run(command: readonly string[]): void {
  const [program = "", ...args] = command;
  const env = { ...process.env, DEBIAN_FRONTEND: "noninteractive" };
  const { status, stdout, stderr, error } = spawnSync(program, args, { encoding: "utf8", env });
  if (status === 0) return;
  const said = `${stdout}\n${stderr}`.trim().split("\n").slice(-20).join("\n");
  throw new Error(`Cannot run ${command.join(" ")}: ${error?.message ?? `exit code ${status}`}\n${said}`);
}

/**
 * Finds a port of this machine that is free. It is below those that the system gives to servers at port 0 and to connections: tests
 * that run at the same time do not take it before a server listens there, nor while the server is restarted.
 */
export async function findPort(): Promise<number> {
  while (true) {
    const port = randomInt(15_000, 32_000);
    if (await canListen(port)) return port;
  }
}

function canListen(port: number): Promise<boolean> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.once("error", (error: NodeJS.ErrnoException) => {
      if (error.code === "EADDRINUSE") resolve(false);
      else reject(error);
    });
    server.listen(port, "127.0.0.1", () => server.close(() => resolve(true)));
  });
}

function canConnect(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(port, "127.0.0.1");
    socket.once("connect", () => socket.destroy());
    socket.once("error", () => {});
    socket.once("close", (hadError) => resolve(!hadError));
  });
}
