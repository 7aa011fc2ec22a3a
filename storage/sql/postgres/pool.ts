/**
 * Connections to PostgreSQL. Each is a client of its own, which is replaced when it is lost.
 *
 * A client of npm:postgres that restores a lost connection may leave statements unanswered for ever. A client that is ended
 * while it is about to connect connects all the same. So no client is asked to restore its connection: a new client takes
 * its place when a statement fails for another reason than an error of the server, when there is no answer in time, when
 * the server is read-only, and when the connection has reached its lifetime.
 *
 * @module
 */
import type { PoolOptions } from "./client_lifetime.ts";
import { ListeningConnection } from "./listening_connection.ts";
import { PooledConnection } from "./pooled_connection.ts";
import type { OpenClient } from "./single_client.ts";
import { LateError } from "./time_limit.ts";

export type { PoolOptions } from "./client_lifetime.ts";
export type { ClientEvents, OpenClient, SingleClient } from "./single_client.ts";
export { inTime, monotonicClock, type PoolClock } from "./time_limit.ts";

/** A statement that waits for a connection. */
interface WaitingStatement {
  start(connection: PooledConnection): void;
}

/** A few connections for statements, one at a time on each, and one that listens. */
export class PostgresPool {
  readonly #open: OpenClient;
  readonly #options: PoolOptions;
  /** The idle connections; the last one was used last. */
  readonly #idle: PooledConnection[];
  readonly #connections: readonly PooledConnection[];
  readonly #waiting = new Set<WaitingStatement>();
  readonly #listening = new Set<ListeningConnection>();

  /**
   * @param open Makes a client.
   * @param options How connections are made and checked.
   */
  constructor(open: OpenClient, options: PoolOptions) {
    this.#open = open;
    this.#options = options;
    this.#connections = Array.from({ length: options.size }, () => new PooledConnection(open, options));
    this.#idle = [...this.#connections];
  }

  /**
   * Runs one statement on the next free connection. If an older connection gives no answer in time, or leads to a
   * read-only server, the statement is sent once more on a new connection: it may then have run twice.
   *
   * @throws {LateError} When no connection becomes free within twice `statementTimeout`, or there is no answer in time.
   * @throws {ClosedError} After `end()`.
   */
  async unsafe(sql: string, params?: unknown[], options?: { prepare?: boolean }): Promise<readonly object[]> {
    const connection = this.#idle.pop() ?? await this.#wait();
    try {
      return await connection.run(sql, params, options);
    } finally {
      const [next] = this.#waiting;
      if (next) next.start(connection);
      else this.#idle.push(connection);
    }
  }

  /**
   * Listens to a channel on a connection of its own. A lost connection is made again until it works.
   *
   * @param channel The channel's name.
   * @param onnotify Receives each notification.
   * @param onlisten Called when it listens, and again when it does so after notifications may have been missed.
   * @param isWanted Whether the connection matters now. Otherwise it is not checked.
   */
  async listen(
    channel: string,
    onnotify: (payload: string) => void,
    onlisten: () => void = () => {},
    isWanted: () => boolean = () => true,
  ): Promise<{ unlisten(): Promise<void> }> {
    const listening = new ListeningConnection(this.#open, this.#options, {
      channel,
      onnotify,
      onlisten,
      isWanted,
    });
    await listening.begin();
    this.#listening.add(listening);
    return { unlisten: () => listening.end() };
  }

  /** Ends all connections. */
  async end({ timeout = 0 }: { timeout?: number } = {}): Promise<void> {
    const all = [...this.#connections, ...this.#listening];
    await Promise.all(all.map((each) => each.end(timeout)));
  }

  #wait(): Promise<PooledConnection> {
    const { clock, statementTimeout } = this.#options;
    const longest = statementTimeout * 2;
    return new Promise((resolve, reject) => {
      const leave = () => {
        this.#waiting.delete(waiting);
        cancel();
      };
      const waiting: WaitingStatement = {
        start: (connection) => {
          leave();
          resolve(connection);
        },
      };
      const cancel = clock.after(longest, () => {
        leave();
        reject(new LateError(`no connection was free within ${longest} ms`));
      });
      this.#waiting.add(waiting);
    });
  }
}
