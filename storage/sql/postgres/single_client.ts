/**
 * A PostgreSQL client with one connection, as the pool uses it.
 *
 * @module
 */

/** A client with one connection. */
export interface SingleClient {
  /** Runs one statement. */
  unsafe(sql: string, params?: never[], options?: { prepare?: boolean }): PromiseLike<readonly object[]>;
  /** Ends the connection. A running statement has at most `timeout` seconds left. */
  end(options?: { timeout?: number | undefined }): Promise<void>;
}

/** The events of a client's connection. */
export interface ClientEvents {
  /** The connection was lost, or could not be made. */
  onclose(): void;
  /** A notification came on a channel that it listens to. */
  onnotify(channel: string, payload: string): void;
}

/**
 * Makes a client that connects at its first statement.
 *
 * @param idleTimeout After how many idle seconds it ends; 0 for never.
 */
export type OpenClient = (events: ClientEvents, idleTimeout: number) => SingleClient;
