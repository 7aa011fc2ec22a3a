/**
 * A storage in PostgreSQL, over npm:postgres, that announces its changes to other processes.
 *
 * @module
 */
import postgres from "postgres";
import { kindOf } from "../../../src/store/node.ts";
import { describe, redactText } from "../../../src/redact.ts";
import { readStorageOptions, wrongOption } from "../../options.ts";
import { readAddress } from "./address.ts";
import { ListeningStorage } from "./listening_storage.ts";
import { openPool } from "./open_pool.ts";
import { PooledStorage } from "./pooled_storage.ts";
import type { PostgresClient, PostgresOptions, PostgresStorage } from "./postgres_options.ts";

export type {
  ChangeListener,
  CounterKind,
  Dot,
  MeshStorage,
  NodeChange,
  NodeLookup,
  NodeMerge,
  RealityStorage,
  ReplicaState,
  ReplicatedNode,
  StorageChanges,
  StorageDelta,
  StorageFeatures,
  StorageIdentity,
  StorageReading,
  VersionVector,
} from "../../../src/store/contract.ts";
export type { RealityNodeMeta } from "../../../src/types.ts";
export type { StorageOptions } from "../../options.ts";
export type { SQLValue } from "../sql_storage.ts";
export type { PostgresClient, PostgresOptions, PostgresStorage } from "./postgres_options.ts";

/** The options for connections that are opened here. */
const OPEN_OPTIONS = ["onWarning", "statementTimeout", "maxLifetime", "maxConnections"] as const;
const OWN_OPTIONS = ["tableName", "createTables", "outbox", ...OPEN_OPTIONS, "listen"];

/**
 * Opens a pool of connections to a PostgreSQL database, or uses a client of npm:postgres, and returns a storage in one table
 * of the database. Nothing is connected before the first use.
 *
 * Each change is one statement. It is announced with NOTIFY afterwards, so that other processes read it at once. Changes
 * that are committed while a notification is being sent share the next one. No call waits for a notification. A lost
 * notification costs time only: other processes poll as well.
 *
 * A connection that was opened here is replaced when it is lost, gives no answer in time or leads to a read-only server. A
 * client of the application keeps its own settings, and `close` does not end it. npm:postgres has no time limit for
 * statements, so its connection stays in use until the system notices that it is lost.
 *
 * Addresses are read as providers, libpq and Prisma write them. `docs/storages.md` lists the parameters.
 *
 * @param database An address, `postgres://user:password@host:5432/database`, or a client.
 * @param options How to reach the database, and how changes are numbered and announced.
 * @throws {TypeError} When an option is unknown or wrong, or a parameter of the address is not supported; the message
 *   names it.
 *
 * @example
 * ```ts
 * import { openPostgres } from "@rootlodge/reality-server/postgres";
 * import { RealityServer } from "@rootlodge/reality-server";
 *
 * const storage = openPostgres("postgres://app:secret@localhost:5432/app");
 * const server = new RealityServer({ storage });
 *
 * await server.close();
 * await storage.close();
 * ```
 */
export function openPostgres(
  database: string | PostgresClient,
  options: PostgresOptions = {},
): PostgresStorage {
  readStorageOptions(options, "openPostgres", OWN_OPTIONS);
  const read = typeof database === "string" ? readAddress(database) : undefined;
  const {
    maxConnections = read?.maxConnections ?? 4,
    statementTimeout = 4000,
    maxLifetime = 60_000,
    listen = read?.isPooler !== true,
    onWarning = console.warn,
    ...rest
  } = options;
  if (!Number.isInteger(maxConnections) || maxConnections < 1) {
    throw wrongOption("maxConnections", "an integer, 1 or more", maxConnections);
  }
  for (const [name, value] of Object.entries({ statementTimeout, maxLifetime })) {
    if (typeof value !== "number" || !(value >= 1 && value < 2 ** 30)) {
      throw wrongOption(name, "milliseconds, 1 or more", value);
    }
  }
  if (typeof listen !== "boolean") throw wrongOption("listen", "true or false", listen);
  if (typeof onWarning !== "function") throw wrongOption("onWarning", "a function", onWarning);
  const Storage = listen ? ListeningStorage : PooledStorage;
  if (typeof database === "string") {
    const poolOptions = { size: maxConnections, statementTimeout, maxLifetime, isPooler: !listen };
    const pool = openPool(read!, poolOptions, openClient);
    for (const warning of read!.warnings) onWarning(`openPostgres: ${warning}`);
    return new Storage(pool, true, rest);
  }
  if (typeof database?.unsafe !== "function" || typeof database.listen !== "function") {
    const found = kindOf(database);
    throw new TypeError(
      `Cannot open Postgres: expected an address or a client of npm:postgres, got ${found}`,
    );
  }
  const given = OPEN_OPTIONS.find((name) => options[name] !== undefined);
  if (given) throw new TypeError(`Option "${given}" is wrong: only for an address`);
  return new Storage(database, false, rest);
}

/** @throws {TypeError} When the address cannot be parsed. The message does not repeat it: it may contain a password. */
function openClient(address: string, settings: object): postgres.Sql {
  const expected = "expected an address such as postgres://user:password@host:5432/database";
  if (!/^postgres(?:ql)?:\/\//.test(address)) throw new TypeError(`Cannot open Postgres: ${expected}`);
  try {
    return postgres(address, settings);
  } catch (error) {
    // Some runtimes repeat a URL that they cannot parse, others a part of it.
    const isUnread = error instanceof TypeError || error instanceof URIError;
    throw new TypeError(`Cannot open Postgres: ${isUnread ? expected : redactText(describe(error))}`);
  }
}
