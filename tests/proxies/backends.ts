/**
 * Servers on one SQLite file, as a proxy stands before them.
 *
 * @module
 */
import { mkdtempSync, rmSync } from "node:fs";
import { createServer, type Server } from "node:http";
import { Readable } from "node:stream";
import type { ReadableStream as NodeReadableStream } from "node:stream/web";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createNodeHandler } from "../../adapters/node.ts";
import { RealityServer, type RealityServerOptions } from "../../mod.ts";
import { openSQLite, type SQLiteStorage } from "../../storage/sql/sqlite/sqlite_storage.ts";
import { until } from "../http/client.ts";

/** The token that opens the write routes. */
export const TOKEN = "token-behind-the-proxy";

/** What a test says about the servers. */
export interface BackendOptions extends Partial<RealityServerOptions> {
  /** Milliseconds between heartbeats, of streams on a route of the application's own: `/own`. */
  readonly heartbeatInterval?: number;
}

/** One server, listening. */
export class Backend {
  readonly server: RealityServer;
  readonly origin: string;
  readonly #storage: SQLiteStorage;
  readonly #listener: Server;
  #connections = 0;

  private constructor(server: RealityServer, storage: SQLiteStorage, listener: Server) {
    this.server = server;
    this.#storage = storage;
    this.#listener = listener;
    this.origin = `http://127.0.0.1:${(listener.address() as AddressInfo).port}`;
    listener.on("connection", () => this.#connections++);
  }

  /** Opens a server on an SQLite file. */
  static async open(
    path: string,
    { heartbeatInterval = 30_000, ...options }: BackendOptions,
  ): Promise<Backend> {
    const storage = openSQLite(path);
    const server = new RealityServer({ storage, writeTokens: [TOKEN], ...options });
    const handler = createNodeHandler(server);
    const listener = createServer((request, response) => {
      if (request.url !== "/reality/own") return handler(request, response);
      void server.handleSSECompat(request, { keys: ["a"], heartbeatInterval }).then(({ headers, body }) => {
        response.writeHead(200, Object.fromEntries(headers));
        Readable.fromWeb(body as NodeReadableStream).on("error", () => {}).pipe(response);
      });
    });
    await new Promise<void>((resolve) => listener.listen(0, "127.0.0.1", resolve));
    return new Backend(server, storage, listener);
  }

  /** How many connections it has been asked for. */
  get connections(): number {
    return this.#connections;
  }

  /** Waits until so many wait, streams among them. */
  async hasWaiters(count: number): Promise<void> {
    await until(async () => (await this.server.getStats()).waiters === count, `${count} wait`);
  }

  /** Stops as the command does: answers waiting clients, sends pending answers, and accepts no connection. */
  async stop(): Promise<void> {
    const closed = new Promise((resolve) => this.#listener.close(resolve));
    await this.server.close();
    const idle = setInterval(() => this.#listener.closeIdleConnections(), 20);
    await closed;
    clearInterval(idle);
  }

  /** Ends with all its connections. */
  async end(): Promise<void> {
    await this.server.close();
    this.#listener.closeAllConnections();
    if (this.#listener.listening) await new Promise((resolve) => this.#listener.close(resolve));
    await this.#storage.close();
  }
}

/** Runs with two servers on one new file. */
export async function withBackends(
  options: BackendOptions,
  run: (backends: readonly [Backend, Backend]) => Promise<void>,
): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), "reality-proxies-"));
  const path = join(folder, "nodes.db");
  const first = await Backend.open(path, options);
  const second = await Backend.open(path, options);
  try {
    await run([first, second]);
  } finally {
    await first.end();
    await second.end();
    rmSync(folder, { recursive: true, force: true });
  }
}
