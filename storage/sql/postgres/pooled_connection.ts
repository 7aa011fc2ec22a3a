/**
 * A connection for statements.
 *
 * @module
 */
import { ClosedError } from "../../../src/errors.ts";
import { EndingClients, lifetimeOf, type PoolOptions } from "./client_lifetime.ts";
import { isReadOnlyError, isStatementError, refuseStandby } from "./server_errors.ts";
import type { OpenClient, SingleClient } from "./single_client.ts";
import { inTime, LateError } from "./time_limit.ts";

/**
 * How long a connection for statements may be idle, in seconds. npm:postgres connects again when a connection is lost while
 * it is being made, even after it was ended. Without this limit such a client would keep its connection, and the process,
 * for ever.
 */
const IDLE_TIMEOUT = 30;

/** How long a connection to a read-only server is kept before another one is tried, in milliseconds. */
const READ_ONLY_LIFETIME = 500;

/** How long a connection that has reached its lifetime may take to end, in seconds. */
const GOODBYE_TIMEOUT = 1;

/**
 * A place for one connection. It runs one statement at a time: a client keeps statements that it cannot send yet, and
 * would connect again for them after the connection was lost.
 */
export class PooledConnection {
  readonly #open: OpenClient;
  readonly #options: PoolOptions;
  readonly #ending = new EndingClients();
  #client: SingleClient | undefined;
  #isReady = false;
  /** When the client was ready, by the clock. */
  #readyAt = 0;
  /** When it ends, by the clock. */
  #expiresAt = 0;
  #isEnded = false;

  /** @param open Makes a client. */
  constructor(open: OpenClient, options: PoolOptions) {
    this.#open = open;
    this.#options = options;
  }

  /**
   * Runs a statement. Sends it once more, on a new connection, if an older connection gave no answer in time or led to a
   * read-only server.
   */
  async run(sql: string, params?: unknown[], options?: { prepare?: boolean }): Promise<readonly object[]> {
    if (this.#isReady && this.#options.clock.now() >= this.#expiresAt) {
      this.#giveUp(this.#client, GOODBYE_TIMEOUT);
    }
    const wasThere = this.#isReady;
    const statement = [sql, params, options] as const;
    try {
      const rows = await this.#ask(statement);
      if (!this.#options.tellsReadOnly(rows) || !this.#giveUpOld() || !wasThere) return rows;
    } catch (error) {
      if (!wasThere || !(error instanceof LateError || isReadOnlyError(error) && this.#giveUpOld())) {
        throw error;
      }
    }
    return await this.#ask(statement);
  }

  /** Ends the connection. */
  async end(timeout: number): Promise<void> {
    this.#isEnded = true;
    await Promise.all([this.#client?.end({ timeout }), this.#ending.settled()]);
  }

  async #ask(
    [sql, params, options]: readonly [string, unknown[] | undefined, { prepare?: boolean } | undefined],
  ): Promise<readonly object[]> {
    if (this.#isEnded) throw new ClosedError("storage");
    const client = this.#client ??= this.#create();
    try {
      return await this.#inTime(async () => {
        if (!this.#isReady) await this.#checkServer(client);
        return await client.unsafe(sql, params as never[], options);
      });
    } catch (error) {
      // The client reports its end later. A statement that it gets until then would make it connect again.
      if (!this.#isReady || !isStatementError(error)) this.#giveUp(client);
      throw error;
    }
  }

  #inTime<T>(work: () => PromiseLike<T>): Promise<T> {
    return inTime(this.#options.clock, this.#options.statementTimeout, work);
  }

  async #checkServer(client: SingleClient): Promise<void> {
    const [row] = await client.unsafe(this.#options.greeting);
    if (this.#client !== client) throw new Error("The connection was lost");
    refuseStandby(row);
    this.#isReady = true;
    this.#readyAt = this.#options.clock.now();
    this.#expiresAt = this.#readyAt + lifetimeOf(this.#options);
  }

  /** Gives the connection up, unless it is new: another one would most likely lead to the same server. */
  #giveUpOld(): boolean {
    if (this.#options.clock.now() - this.#readyAt < READ_ONLY_LIFETIME) return false;
    this.#giveUp(this.#client);
    return true;
  }

  #create(): SingleClient {
    const client = this.#open({ onclose: () => this.#giveUp(client), onnotify: () => {} }, IDLE_TIMEOUT);
    return client;
  }

  #giveUp(client: SingleClient | undefined, timeout: number = 0): void {
    if (client === undefined) return;
    if (this.#client === client) [this.#client, this.#isReady] = [undefined, false];
    this.#ending.add(client, timeout);
  }
}
