/**
 * How long the clients of a pool live, and how they end.
 *
 * @module
 */
import type { SingleClient } from "./single_client.ts";
import type { PoolClock } from "./time_limit.ts";

/** How the connections of a pool are made and checked. */
export interface PoolOptions {
  /** How many connections there may be for statements. */
  readonly size: number;
  /** How long one statement may take on one connection, connecting included, in milliseconds. */
  readonly statementTimeout: number;
  /** How long a connection may live, in milliseconds. Each lives for a random half to whole of it. */
  readonly maxLifetime: number;
  /** The first statement on a connection for statements. Its row may have `is_standby`. */
  readonly greeting: string;
  /** Whether the rows of an answer say that the server, or the transaction, is read-only. */
  readonly tellsReadOnly: (rows: readonly object[]) => boolean;
  /** Time, timers and random numbers. */
  readonly clock: PoolClock;
}

/** A random lifetime for one connection, in milliseconds, so that not all of them end at once. */
export function lifetimeOf({ clock, maxLifetime }: PoolOptions): number {
  return maxLifetime * (0.5 + clock.random() / 2);
}

/** Clients that are being ended. */
export class EndingClients {
  readonly #ends = new Set<Promise<void>>();

  /** Ends a client. A running statement has at most `timeout` seconds left. */
  add(client: SingleClient, timeout: number): void {
    const end = client.end({ timeout }).catch(() => {}).finally(() => this.#ends.delete(end));
    this.#ends.add(end);
  }

  /** Settles when all clients have ended. */
  async settled(): Promise<void> {
    await Promise.all(this.#ends);
  }
}
