/**
 * Two PostgreSQL servers, one of which follows the other by streaming replication.
 *
 * @module
 */
import postgres from "postgres";
import { type DatabaseOptions, postgresRecipe, standbyRecipe } from "./databases.ts";
import { PrivateServer } from "./server.ts";

/** A primary and its standby. Each keeps its address, whatever becomes of it. */
export interface ReplicatedPair {
  /** The server that takes writes at first. */
  readonly primary: PrivateServer;
  /** The server that follows it: it answers reads, and takes writes once it is promoted. */
  readonly standby: PrivateServer;
  /** Settles once the standby has everything that is committed on the primary now. Both must be running. */
  catchUp(): Promise<void>;
  /**
   * Has the standby receive nothing more of what is committed on the primary. Holding only its replay back would lose
   * nothing: a promotion replays all that was received.
   */
  stopReplication(): Promise<void>;
  /**
   * Makes the standby a primary of its own, and settles once it takes writes. What it had not received is missing
   * there. The old primary goes on as it is: stop it with `crash`, or make it read-only.
   */
  promote(): Promise<void>;
  /** Ends both, and takes their data away. */
  stop(): Promise<void>;
}

/** Starts a primary and a standby that follows it. Replication is asynchronous. */
export async function startReplicatedPair(options: DatabaseOptions = {}): Promise<ReplicatedPair> {
  const primary = await PrivateServer.start(postgresRecipe(options));
  try {
    const standby = await PrivateServer.start(standbyRecipe(primary.address, options));
    return {
      primary,
      standby,
      catchUp: () => catchUp(primary.address, standby.address),
      stopReplication: () => stopReplication(standby.address),
      promote: async () => void await askOnce(standby.address, "SELECT pg_promote(true, 60)"),
      stop: async () => {
        await standby.stop();
        await primary.stop();
      },
    };
  } catch (error) {
    await primary.stop();
    throw error;
  }
}

/**
 * Makes a server refuse writes (SQLSTATE 25006), or take them again: on connections that are there from their next
 * statement on, and on new ones. It stays a primary: `pg_is_in_recovery()` is false on it.
 */
export async function setReadOnly(address: string, isReadOnly: boolean): Promise<void> {
  await askOnce(
    address,
    `ALTER SYSTEM SET default_transaction_read_only = ${isReadOnly ? "on" : "off"}`,
    true,
  );
  await askOnce(address, "SELECT pg_reload_conf()");
  // The postmaster passes it on: to connections that are made from now on, for certain.
  const wanted = isReadOnly ? "on" : "off";
  while (
    (await askOnce(address, "SHOW default_transaction_read_only"))[0]?.default_transaction_read_only !==
      wanted
  );
}

async function catchUp(primary: string, standby: string): Promise<void> {
  const [row] = await askOnce(primary, "SELECT pg_current_wal_insert_lsn()::text AS position");
  const sql = `SELECT pg_last_wal_replay_lsn() >= '${row?.position}'::pg_lsn AS is_there`;
  while ((await askOnce(standby, sql))[0]?.is_there !== true);
}

async function stopReplication(standby: string): Promise<void> {
  await askOnce(standby, "ALTER SYSTEM SET primary_conninfo = ''", true);
  await askOnce(standby, "SELECT pg_reload_conf()");
  while ((await askOnce(standby, "SELECT pid FROM pg_stat_wal_receiver")).length > 0);
}

/** Runs one statement on a connection of its own, which may write even where the server is read-only. */
async function askOnce(address: string, sql: string, isSimple = false): Promise<Record<string, unknown>[]> {
  const client = postgres(address, { max: 1, max_lifetime: null, fetch_types: false, onnotice: () => {} });
  try {
    const rows = isSimple ? await client.unsafe(sql).simple() : await client.unsafe(sql);
    return [...rows] as Record<string, unknown>[];
  } finally {
    await client.end();
  }
}
