/**
 * Makes the pool of connections for an address.
 *
 * @module
 */
import type { PostgresAddress } from "./address.ts";
import { tellsReadOnly } from "./dialect.ts";
import { PostgresPool } from "./pool.ts";
import type { OpenClient, SingleClient } from "./single_client.ts";
import type { TLSSettings } from "./secure_socket.ts";
import { Sockets, type SocketTarget } from "./sockets.ts";
import { monotonicClock } from "./time_limit.ts";

/** How a pool for an address is made. */
export interface OpenPoolOptions {
  /** The most connections for statements. */
  readonly size: number;
  /** How long one statement may take, in milliseconds. */
  readonly statementTimeout: number;
  /** How long a connection may live, in milliseconds. */
  readonly maxLifetime: number;
  /** Whether a pooler may assign a connection for one transaction, so that its settings must not be changed. */
  readonly isPooler: boolean;
}

/** A client of npm:postgres, with what it read from its address. */
export interface ParsedClient extends SingleClient {
  /** Its settings. */
  readonly options: TLSSettings & {
    readonly host: readonly string[];
    readonly target_session_attrs?: unknown;
  };
}

/** Makes a client of npm:postgres. */
export type CreateClient = (address: string, settings: object) => ParsedClient;

/**
 * Makes a pool for an address. Nothing is connected before the first statement.
 *
 * @param address The parsed address.
 * @param options How the pool is made.
 * @param createClient Makes a client.
 * @throws {TypeError} When the address cannot be parsed.
 */
export function openPool(
  { address, settings: given }: PostgresAddress,
  { isPooler, ...options }: OpenPoolOptions,
  createClient: CreateClient,
): PostgresPool {
  const { statementTimeout } = options;
  // Throws for an address that cannot be parsed. This does not connect.
  const { options: read } = createClient(address, { ...given });
  // With several hosts, the client looks for the primary.
  const isMany = read.host.length > 1 && !read.target_session_attrs;
  const open: OpenClient = (events, idleTimeout) => {
    const sockets = new Sockets(statementTimeout, read);
    const client = createClient(address, {
      ...given,
      // The sockets do it.
      ssl: false,
      ...(isMany ? { target_session_attrs: "primary" } : {}),
      max: 1,
      max_lifetime: null,
      idle_timeout: idleTimeout,
      fetch_types: false,
      // Notices, such as that a table exists already, are not for the console.
      onnotice: () => {},
      socket: (target: SocketTarget) =>
        sockets.connect(target).catch((error) => {
          // With several hosts, the client would not report it.
          if (target.host.length > 1) void client.end({ timeout: 0 });
          throw error;
        }),
      ...events,
    });
    return {
      unsafe: (sql, params, options) => client.unsafe(sql, params, options),
      end: async ({ timeout } = {}) => {
        await client.end({ timeout });
        // A client that is ended during the pause before its next try would connect again.
        sockets.destroy();
      },
    };
  };
  // A statement whose call has ended, such as one that waits for a lock, ends on the server as well.
  const limit = `CASE WHEN current_setting('statement_timeout') = '0' ` +
    `THEN set_config('statement_timeout', '${Math.ceil(statementTimeout)}', false) END`;
  const greeting = `SELECT pg_is_in_recovery() AS is_standby${isPooler ? "" : `, ${limit}`}`;
  return new PostgresPool(open, { ...options, greeting, tellsReadOnly, clock: monotonicClock });
}
