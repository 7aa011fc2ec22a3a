/**
 * A storage in PostgreSQL, over npm:postgres, that tells other processes of its changes.
 *
 * @module
 */
import postgres from "postgres";
import { ClosedError, StorageError } from "../../../src/errors.ts";
import { kindOf } from "../../../src/store/node.ts";
import { describe, redactText } from "../../../src/redact.ts";
import {
  type ChangeListener,
  type MeshStorage,
  type NodeChange,
  type NodeMerge,
  randomName,
  type StorageChanges,
  type StorageFeatures,
  type StorageIdentity,
  type StorageReading,
  type VersionVector,
} from "../../../src/store/contract.ts";
import type { RealityNodeMeta } from "../../../src/types.ts";
import { isVerified, type PostgresAddress, readAddress } from "./address.ts";
import { readStorageOptions, type StorageOptions, wrongOption } from "../../options.ts";
import { type ClientEvents, inTime, monotonicClock, type OpenClient, PostgresPool } from "./pool.ts";
import { Sockets, type SocketTarget } from "./sockets.ts";
import { SQLStorage, type SQLValue } from "../sql_storage.ts";
import { tellsReadOnly } from "./dialect.ts";

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

/** What is called of a client; what `postgres()` of npm:postgres gives fits. */
export interface PostgresClient {
  /** Runs one statement on any connection of the pool. */
  unsafe(sql: string, params?: SQLValue[], options?: { prepare?: boolean }): PromiseLike<readonly object[]>;
  /** Listens to a channel, on a connection of its own that comes back when it is lost. */
  listen(
    channel: string,
    onnotify: (payload: string) => void,
    onlisten?: () => void,
  ): Promise<{ unlisten(): Promise<void> }>;
  /** Ends all connections. */
  end(options?: { timeout?: number }): Promise<void>;
}

/** How a PostgreSQL database is reached, counted in and listened to. */
export interface PostgresOptions extends StorageOptions {
  /**
   * The table's name: letters, digits and `_`, at most 48 characters.
   *
   * @default {"reality_nodes"}
   */
  tableName?: string;
  /**
   * Whether the first use makes the table where it is not there.
   *
   * @default {true}
   */
  createTables?: boolean;
  /**
   * How many connections there may be for statements; listening takes one more. A server has at most one write
   * and a few reads under way, so more than the default helps little. At least 1. Only for an address.
   *
   * @default 4, or what the address has as connection_limit
   */
  maxConnections?: number;
  /**
   * How long the database may take to answer one statement, connecting included, in milliseconds. Then the connection
   * is given up, and its place is free for a new one. On a connection that was there before, the statement is sent
   * once more, so that a call takes twice as long at most; one that finds no free connection waits no longer than that.
   * Lower notices a lost connection sooner; higher bears slower statements. At least 1, and less than half of the
   * server's `storageTimeout`. Only for an address.
   *
   * @default {4000}
   */
  statementTimeout?: number;
  /**
   * How long a connection may live, in milliseconds, the one that listens too; chance takes up to half of it off each.
   * For so long may an earlier primary that still takes writes answer, after the address leads to another server.
   * Lower follows the address sooner; higher connects less often. At least 1. Only for an address.
   *
   * @default {60000}
   */
  maxLifetime?: number;
  /**
   * Whether changes are announced with NOTIFY and heard with LISTEN. Behind a pooler that lends connections
   * for one transaction (PgBouncer and the like) nothing can be heard: then `false`, and an address that ends
   * in `?prepare=false`; or one with `?pgbouncer=true`, which stands for both. Other processes then find changes by
   * asking for them now and then.
   *
   * @default true, and false for an address with pgbouncer=true
   */
  listen?: boolean;
  /**
   * Hears, while the storage is opened, of a parameter in the address that cannot be followed and weakens security:
   * `channel_binding=require` without `sslmode=verify-full`. Other such parameters are refused. Only for an address.
   *
   * @default console.warn
   */
  onWarning?: (message: string) => void;
}

/** A storage in PostgreSQL, from {@linkcode openPostgres}. */
export interface PostgresStorage extends MeshStorage {
  /** The statements that make the table. */
  readonly schema: string;
  /** One counter, versions visible in order, deletions told. */
  readonly features: StorageFeatures;
  /** Makes many changes in one statement. */
  applyChanges(changes: readonly NodeChange[]): Promise<RealityNodeMeta[]>;
  /** Nodes, counter and epoch of one moment. */
  readNodes(keys: readonly string[]): Promise<StorageReading>;
  /** What came after a version, with counter and epoch of the same moment. */
  readChanges(version: number, limit: number): Promise<StorageChanges>;
  /** Begins another life of the data, for an operator who has brought it back from a copy. */
  newEpoch(): Promise<StorageIdentity>;
  /** Ends the connections that were opened here. */
  close(): Promise<void>;
}

/** Those that are only for connections that are opened here. */
const OPEN_OPTIONS = ["onWarning", "statementTimeout", "maxLifetime", "maxConnections"] as const;
const OWN_OPTIONS = ["tableName", "createTables", ...OPEN_OPTIONS, "listen"];
/** An announcement that names keys is no longer than this; PostgreSQL takes 8000 bytes. */
const MAX_NAMES_LENGTH = 2000;
/** More changed keys than this are told as "look again at everything". */
const MAX_TOLD = 1000;
/** How long a client that was handed in may take to listen, in milliseconds. */
const LISTEN_TIMEOUT = 10_000;
/** How long a statement that is under way may hold up `close` or the next announcement, in seconds. */
const END_TIMEOUT = 5;

/**
 * Opens a pool of connections to a PostgreSQL database, or takes a client of npm:postgres, and gives a storage
 * in one table of it. Nothing is asked of the database before the first use.
 *
 * Each change is one statement. Afterwards it is announced with NOTIFY, so that other processes look at once;
 * what is committed while an announcement is under way shares the next one. An announcement is never waited
 * for, and one that is lost costs the others time only: they also look by themselves.
 *
 * A connection opened here that is lost, gives no answer in time or leads to a server that only reads is replaced by a
 * new one. A client that is handed in keeps its own settings, also for that, and is not ended by `close`: npm:postgres
 * has no time limit for a statement, so that a connection whose bytes are lost stays in use until the system notices.
 *
 * Addresses are taken as providers, libpq and Prisma write them; storage/README.md says what becomes of each parameter.
 *
 * @param database An address, `postgres://user:password@host:5432/database`, or a client.
 * @param options How to reach, count and listen.
 * @throws {TypeError} When an option is unknown or wrong, or a parameter of the address cannot be followed; names it.
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
    const pool = openPool(read!, {
      size: maxConnections,
      statementTimeout,
      maxLifetime,
      isPooler: !listen,
    });
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

/** How a pool at an address is made. */
interface OpenPoolOptions {
  readonly size: number;
  readonly statementTimeout: number;
  readonly maxLifetime: number;
  /** Whether a pooler may lend its connections for one transaction, so that none of their settings may be changed. */
  readonly isPooler: boolean;
}

function openPool(
  { address, settings: given }: PostgresAddress,
  { isPooler, ...options }: OpenPoolOptions,
): PostgresPool {
  const { statementTimeout } = options;
  const create = (events: ClientEvents, idleTimeout: number, more: object = {}) => {
    const sockets = new Sockets(statementTimeout);
    const settings = {
      ...given,
      ...withHost(given.ssl, () => sockets.host),
      max: 1,
      max_lifetime: null,
      idle_timeout: idleTimeout,
      fetch_types: false,
      // What the server has to say besides, such as that a table is there already, is not for the console.
      onnotice: () => {},
      socket: (target: SocketTarget) =>
        sockets.connect(target).catch((error) => {
          // With several hosts, the client would say nothing.
          if (target.host.length > 1) void client.end({ timeout: 0 });
          throw error;
        }),
      ...events,
      ...more,
    };
    const client = openClient(address, settings);
    return { client, sockets };
  };
  // An address that cannot be read is refused here; this connects to nothing.
  const { options: read } = create({ onclose: () => {}, onnotify: () => {} }, 0).client;
  // Of several hosts the primary is sought.
  const isMany = read.host.length > 1 && !read.target_session_attrs;
  const more = isMany ? { target_session_attrs: "primary" } : {};
  const open: OpenClient = (events, idleTimeout) => {
    const { client, sockets } = create(events, idleTimeout, more);
    return {
      unsafe: (sql, params, options) => client.unsafe(sql, params, options),
      end: async ({ timeout } = {}) => {
        await client.end({ timeout });
        // One that is ended in the pause before its next try would connect once more.
        sockets.destroy();
      },
    };
  };
  // A statement that nobody waits for any more, as one that waits for a lock, ends on the server as well.
  const limit = `CASE WHEN current_setting('statement_timeout') = '0' ` +
    `THEN set_config('statement_timeout', '${Math.ceil(statementTimeout)}', false) END`;
  const greeting = `SELECT pg_is_in_recovery() AS is_standby${isPooler ? "" : `, ${limit}`}`;
  return new PostgresPool(open, { ...options, greeting, tellsReadOnly, clock: monotonicClock });
}

/** The client has a certificate checked against "localhost" where the host is an IP address, unless it is told the host. */
function withHost(ssl: unknown, getHost: () => string | undefined): { readonly ssl?: object } {
  if (!isVerified(ssl)) return {};
  const options = typeof ssl === "object" ? { ...ssl } : { rejectUnauthorized: true };
  return { ssl: Object.defineProperty(options, "host", { enumerable: true, get: getHost }) };
}

/** @throws {TypeError} When the address cannot be read, without saying it: it may hold a password. */
function openClient(address: string, settings: object): postgres.Sql {
  const expected = "expected an address such as postgres://user:password@host:5432/database";
  if (!/^postgres(?:ql)?:\/\//.test(address)) throw new TypeError(`Cannot open Postgres: ${expected}`);
  try {
    return postgres(address, settings);
  } catch (error) {
    // A URL that cannot be parsed is repeated by some runtimes, in parts by others.
    const isUnread = error instanceof TypeError || error instanceof URIError;
    throw new TypeError(`Cannot open Postgres: ${isUnread ? expected : redactText(describe(error))}`);
  }
}

class PooledStorage extends SQLStorage implements PostgresStorage {
  protected readonly client: PostgresClient;
  readonly #isOwn: boolean;
  #closing: Promise<void> | undefined;

  constructor(client: PostgresClient, isOwn: boolean, options: StorageOptions) {
    super({
      ...options,
      dialect: "postgres",
      query: async (sql, params) => {
        this.checkOpen();
        return await client.unsafe(sql, params, { prepare: true });
      },
    });
    this.client = client;
    this.#isOwn = isOwn;
  }

  override close(): Promise<void> {
    return this.#closing ??= this.end();
  }

  protected async end(): Promise<void> {
    await super.close();
    if (this.#isOwn) await this.client.end({ timeout: END_TIMEOUT });
  }

  protected checkOpen(): void {
    if (this.#closing) throw new ClosedError("storage");
  }
}

/** What was changed and is not announced yet. */
interface News {
  readonly keys: Set<string>;
  /** All of it came after this version; `ANYTHING` when no version tells what changed. */
  after: number;
}

/** What one announcement says: who changed something, after which version, and which keys if they are few. */
type Announcement = readonly [sender: string, after: number, ...keys: string[]];

/** Announced in the place of a version: whoever hears it looks again at everything. */
const ANYTHING = -1;

class ListeningStorage extends PooledStorage implements PostgresStorage {
  readonly #name = randomName(12);
  readonly #channel: string;
  readonly #listeners = new Set<{ readonly call: ChangeListener }>();
  #listening: Promise<{ unlisten(): Promise<void> }> | undefined;
  #news: News | undefined;
  #announcing: Promise<void> | undefined;
  /** The lowest version after which something was changed that is not told yet. */
  #untold = Infinity;
  #telling = false;

  constructor(client: PostgresClient, isOwn: boolean, options: PostgresOptions) {
    super(client, isOwn, options);
    this.#channel = `reality:${options.tableName ?? "reality_nodes"}`;
  }

  override async applyChanges(changes: readonly NodeChange[]): Promise<RealityNodeMeta[]> {
    const metas = await super.applyChanges(changes);
    for (const { key, version } of metas) this.#announce(key, version - 1);
    return metas;
  }

  override async setNode(key: string, meta: RealityNodeMeta): Promise<void> {
    await super.setNode(key, meta);
    this.#announce(key, meta.version - 1);
  }

  override async deleteNode(key: string): Promise<void> {
    await super.deleteNode(key);
    this.#announce(key, 0);
  }

  override async mergeNodes(
    takes: readonly NodeMerge[],
    swept?: VersionVector,
  ): Promise<(RealityNodeMeta | null)[]> {
    const metas = await super.mergeNodes(takes, swept);
    for (const meta of metas) if (meta) this.#announce(meta.key, meta.version - 1);
    return metas;
  }

  override async adoptVector(seen: VersionVector, epoch: string, swept?: VersionVector): Promise<boolean> {
    const isOther = await super.adoptVector(seen, epoch, swept);
    if (isOther) this.#announce(null, ANYTHING);
    return isOther;
  }

  override async newEpoch(): Promise<StorageIdentity> {
    const identity = await super.newEpoch();
    this.#announce(null, ANYTHING);
    return identity;
  }

  async subscribe(call: ChangeListener): Promise<() => Promise<void>> {
    // A client that was ended would listen all the same.
    await this.getMaxVersion();
    const listener = { call };
    this.#listeners.add(listener);
    try {
      await (this.#listening ??= this.#listen());
    } catch (error) {
      this.#listeners.delete(listener);
      throw new StorageError("subscribe", error);
    }
    return () => {
      this.#listeners.delete(listener);
      return Promise.resolve();
    };
  }

  protected override async end(): Promise<void> {
    this.#listeners.clear();
    await settlesInTime(this.#announcing ?? Promise.resolve());
    // Not waited for: a connection that is lost just now may take its time to come back.
    this.#listening?.then(({ unlisten }) => unlisten()).catch(() => {});
    await super.end();
  }

  /** Begins to listen, until this storage is closed: a client that lost a channel once cannot leave it. */
  async #listen(): Promise<{ unlisten(): Promise<void> }> {
    let isCurrent = true;
    let isFirst = true;
    try {
      const onlisten = () => {
        // Whatever was announced while the connection was lost was not heard.
        if (!isFirst && isCurrent) this.#tell(null);
        isFirst = false;
      };
      const onnotify = (payload: string) => {
        if (isCurrent) this.#hear(payload);
      };
      const isWanted = () => this.#listeners.size > 0;
      const client: Pick<PostgresPool, "listen"> = this.client;
      return await inTime(
        monotonicClock,
        LISTEN_TIMEOUT,
        () => client.listen(this.#channel, onnotify, onlisten, isWanted),
      );
    } catch (error) {
      // A client that was handed in may go on trying; the next subscriber asks it anew.
      isCurrent = false;
      this.#listening = undefined;
      throw error;
    }
  }

  #announce(key: string | null, after: number): void {
    this.#news ??= { keys: new Set(), after };
    if (key !== null) this.#news.keys.add(key);
    this.#news.after = Math.min(this.#news.after, after);
    this.#announcing ??= this.#announceAll().finally(() => this.#announcing = undefined);
  }

  async #announceAll(): Promise<void> {
    // Changes of the same moment go out together.
    await null;
    while (this.#news) {
      const { keys, after } = this.#news;
      this.#news = undefined;
      const announcement: Announcement = [this.#name, after];
      const named = JSON.stringify([...announcement, ...keys]);
      const isShort = after !== ANYTHING && named.length <= MAX_NAMES_LENGTH;
      const payload = isShort ? named : JSON.stringify(announcement);
      // It need not be on the disk: a crash takes those who listen with it, and they look again.
      const sql = "SELECT pg_notify($1, $2), set_config('synchronous_commit', 'off', true)";
      // Where it fails or takes too long, whoever waits elsewhere finds the change by looking.
      await settlesInTime(this.client.unsafe(sql, [this.#channel, payload], { prepare: true }));
    }
  }

  #hear(payload: string): void {
    if (this.#listeners.size === 0) return;
    const announcement = readAnnouncement(payload);
    if (announcement === undefined) return this.#tell(null);
    const [sender, after, ...keys] = announcement;
    if (sender === this.#name) return;
    if (after === ANYTHING) return this.#tell(null);
    if (keys.length > 0) return this.#tell(keys);
    this.#untold = Math.min(this.#untold, after);
    if (!this.#telling) void this.#tellUntold();
  }

  /** Asks which keys changed, once for all that was announced without names meanwhile. */
  async #tellUntold(): Promise<void> {
    this.#telling = true;
    while (this.#untold < Infinity) {
      const after = this.#untold;
      this.#untold = Infinity;
      let keys: string[] | null = null;
      await settlesInTime(
        this.readChanges(after, MAX_TOLD + 1).then(({ nodes }) => {
          if (nodes.length <= MAX_TOLD) keys = nodes.map(({ key }) => key);
        }),
      );
      this.#tell(keys);
    }
    this.#telling = false;
  }

  #tell(keys: readonly string[] | null): void {
    // A listener that throws stops neither the others nor the connection.
    for (const { call } of this.#listeners) queueMicrotask(() => call(keys));
  }
}

/** Settles when this has, either way, or when it takes too long. */
async function settlesInTime(running: PromiseLike<unknown>): Promise<void> {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const late = new Promise<void>((resolve) => timer = setTimeout(resolve, END_TIMEOUT * 1000));
  await Promise.race([running.then(() => {}, () => {}), late]);
  clearTimeout(timer);
}

/** An announcement, or nothing for what was not written here. */
function readAnnouncement(payload: string): Announcement | undefined {
  try {
    const [sender, after, ...keys] = JSON.parse(payload) as unknown[];
    const isRight = typeof sender === "string" && Number.isSafeInteger(after) &&
      keys.every((key) => typeof key === "string");
    return isRight ? [sender, after as number, ...keys as string[]] : undefined;
  } catch {
    return undefined;
  }
}
