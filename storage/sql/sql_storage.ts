/**
 * A storage in one table of an SQL database, through a function that runs a statement.
 *
 * @module
 */
import { ClosedError, RealityError, StorageError } from "../../src/errors.ts";
import { type HistoryMoment, laterOf, marksOf } from "../../src/store/history.ts";
import { kindOf, utf8Length } from "../../src/store/node.ts";
import {
  counterFloor,
  counterStep,
  coversVector,
  createEpoch,
  createReplicaId,
  dotOf,
  drawResidue,
  isResidueTaken,
  isSameDot,
  joinVectors,
  lowestMissing,
  type MeshStorage,
  type NodeChange,
  type NodeMerge,
  type ReplicaState,
  type ReplicatedNode,
  RESIDUES,
  spreadFloor,
  type StorageChanges,
  type StorageDelta,
  type StorageFeatures,
  type StorageIdentity,
  type StorageMoment,
  type StorageReading,
  type VersionVector,
} from "../../src/store/contract.ts";
import type { RealityNodeMeta } from "../../src/types.ts";
import { checkChanges, checkCounter, checkMerges, checkMeta } from "../validate.ts";
import {
  type CounterKind,
  type ReadStorageOptions,
  readStorageOptions,
  type StorageOptions,
  wrongOption,
} from "../options.ts";
import {
  MAX_SWEPT,
  NO_MESH,
  type Numbering,
  type PlacedMerge,
  type SQLDialect,
  type SQLRow,
  type SQLValue,
  type StampList,
  type Statement,
} from "./dialect.ts";
import { adoptNotes, type MeshNotes, placeMerges, readNotes, writeNotes } from "./mesh_row.ts";
import { mysqlDialect } from "./mysql/dialect.ts";
import { postgresDialect } from "./postgres/dialect.ts";
import { sqliteDialect } from "./sqlite/dialect.ts";
import { TombstoneCollector } from "./tombstone_collector.ts";

export type { CounterKind, StorageOptions } from "../options.ts";
export type { SQLRow, SQLValue } from "./dialect.ts";

/**
 * The databases that {@linkcode SQLStorage} speaks to: SQLite 3.37, PostgreSQL 12, MySQL 8 and MariaDB 10.6 or
 * newer, and what is built on them.
 */
export type SQLDialectName = "sqlite" | "postgres" | "mysql";

/** What MySQL's drivers give for a write. */
export interface SQLWritten {
  /** The value that the statement handed to `LAST_INSERT_ID()`. */
  readonly insertId?: number | bigint | string;
}

/**
 * Runs one statement and gives its rows as objects; an empty array for a statement without rows, or, with
 * dialect `"mysql"`, what the driver gives for a write. Each call may run on another connection; each must be
 * a transaction of its own. What it throws or rejects with reaches the caller as the cause of a
 * {@linkcode StorageError}.
 */
export type SQLQuery = (
  sql: string,
  params: SQLValue[],
) => Promise<readonly object[] | SQLWritten> | readonly object[] | SQLWritten;

/** How an {@linkcode SQLStorage} reaches its database and what it keeps there. */
export interface SQLStorageOptions extends StorageOptions {
  /** Runs one statement, with `$1` (Postgres) or `?` as placeholders, and gives its rows. */
  query: SQLQuery;
  /** The database's kind. */
  dialect: SQLDialectName;
  /**
   * The table's name: letters, digits and `_`, at most 48 characters. Its indexes begin with it.
   *
   * @default {"reality_nodes"}
   */
  tableName?: string;
  /**
   * Whether the first use makes the table where it is not there. With `false` it must have been made from
   * {@linkcode SQLStorage.schema}.
   *
   * @default {true}
   */
  createTables?: boolean;
  /**
   * Whether `query` runs inside a transaction that the application began and will end, so that the changes are part of
   * it. Then no statement is sent again after a deadlock or a serialization failure, since the database has undone
   * the application's own statements as well: the call rejects with that error as its cause, and the application
   * begins its transaction anew. And no tombstone is swept.
   *
   * @default {false}
   */
  inTransaction?: boolean;
  /**
   * Whether nothing goes on once a request was answered, as on Cloudflare Workers: the same as the server's option of
   * this name. Then each write waits for the piece of sweeping that it begins, at most one in a minute unless there is
   * a backlog; otherwise sweeping goes on beside the writes.
   *
   * @default {false}
   */
  requestScopedIO?: boolean;
}

const DEFAULT_TABLE_NAME = "reality_nodes";
const OWN_OPTIONS = ["query", "dialect", "tableName", "createTables", "inTransaction", "requestScopedIO"];
/** Half a million characters are at most 1.5 MB of UTF-8; D1, the strictest, takes 2 MB. */
const MAX_KEYS_TEXT = 500_000;
/** So often, and in so many milliseconds, is a statement sent again that gave way to another one. */
const MAX_RETRIES = 20;
const RETRY_TIME = 5000;

/** The counter's row. */
interface Counter extends StorageIdentity {
  readonly counter: number;
  /** The number with which the residue of all numbers was drawn; 0 as long as none was. */
  readonly drawn: number;
  readonly maxVersion: number;
  readonly maxStamp: number;
  readonly mesh: string;
}

/**
 * Keeps nodes in one table of an SQL database that other servers may share. Each change is one atomic
 * statement, counter included, so that `query` may run every call on another pooled connection, and a server
 * that dies leaves nothing half done.
 *
 * Works with PostgreSQL 12, MySQL 8, MariaDB 10.6 and SQLite 3.37 or newer, through whatever runs a statement
 * (for Postgres with announcements, `openPostgres` is the shorter way; for a file in this process `openSQLite`).
 * The isolation level may be any that hides what is not committed.
 *
 * @example
 * ```ts
 * import { DatabaseSync } from "node:sqlite";
 * import { SQLStorage } from "@rootlodge/reality-server/sql";
 *
 * const database = new DatabaseSync(":memory:");
 * const storage = new SQLStorage({
 *   query: (sql, params) => database.prepare(sql).all(...params),
 *   dialect: "sqlite",
 * });
 * await storage.applyChanges([{ key: "user:1", hash: "a1", updatedAt: Date.now() }]);
 * console.assert((await storage.getNode("user:1"))?.version === 1);
 * database.close();
 * ```
 *
 * @example PostgreSQL, through node-postgres or Postgres.js
 * ```ts
 * import { Pool } from "pg";
 * import postgres from "postgres";
 * import { SQLStorage } from "@rootlodge/reality-server/sql";
 *
 * const pool = new Pool({ connectionString: "postgres://app:secret@localhost:5432/app" });
 * const storage = new SQLStorage({
 *   query: (sql, params) => pool.query(sql, params).then((r) => r.rows),
 *   dialect: "postgres",
 * });
 *
 * const sql = postgres("postgres://app:secret@localhost:5432/app");
 * const other = new SQLStorage({
 *   query: (text, params) => sql.unsafe(text, params, { prepare: true }),
 *   dialect: "postgres",
 * });
 *
 * console.assert(storage.schema === other.schema);
 * await Promise.all([pool.end(), sql.end()]);
 * ```
 *
 * @example MySQL and MariaDB, through mysql2
 * ```ts
 * import { createPool } from "mysql2/promise";
 * import { SQLStorage } from "@rootlodge/reality-server/sql";
 *
 * const pool = createPool("mysql://app:secret@localhost:3306/app");
 * const storage = new SQLStorage({
 *   query: (sql, params) => pool.execute(sql, params).then(([result]) => result),
 *   dialect: "mysql",
 * });
 *
 * console.assert(storage.schema.startsWith("CREATE TABLE"));
 * await pool.end();
 * ```
 */
export class SQLStorage implements MeshStorage {
  /** One counter, versions visible in order, deletions told. */
  readonly features: StorageFeatures;
  /** The statements that make the table, for those who make tables by hand. */
  readonly schema: string;

  readonly #query: SQLQuery;
  readonly #dialect: SQLDialect;
  readonly #options: Omit<ReadStorageOptions, "counter">;
  #counterKind: CounterKind;
  readonly #tableName: string;
  readonly #createTables: boolean;
  #isReady = false;
  #isClosed = false;
  readonly #inTransaction: boolean;
  readonly #sweeper: TombstoneCollector;
  /** Whether the counter's row has a residue. */
  #hasResidue = false;
  /** Whether the storage stands beside others, and whether it has met one of them. */
  #isBeside = false;
  #hasMet = false;

  /**
   * Makes a storage on a table; the database is asked nothing before the first use.
   *
   * @param options How to reach the database.
   * @throws {TypeError} When an option is unknown, missing or wrong; names it.
   */
  constructor(options: SQLStorageOptions) {
    const shared = readStorageOptions(options, "SQLStorage", OWN_OPTIONS);
    const { query, tableName = DEFAULT_TABLE_NAME, createTables = true } = options;
    const { inTransaction = false, requestScopedIO = false } = options;
    if (typeof query !== "function") throw wrongOption("query", "a function", query);
    if (typeof createTables !== "boolean") throw wrongOption("createTables", "true or false", createTables);
    if (typeof inTransaction !== "boolean") {
      throw wrongOption("inTransaction", "true or false", inTransaction);
    }
    if (typeof requestScopedIO !== "boolean") {
      throw wrongOption("requestScopedIO", "true or false", requestScopedIO);
    }
    this.#query = query;
    this.#tableName = checkTableName(tableName);
    this.#createTables = createTables;
    this.#dialect = findDialect(options.dialect, tableName, shared.testNow !== undefined);
    this.#inTransaction = inTransaction;
    this.#sweeper = new TombstoneCollector(() => this.#sweep(), {
      elapsed: shared.elapsed,
      tombstoneTimeout: inTransaction ? Infinity : shared.tombstoneTimeout,
      isScoped: requestScopedIO,
    });
    this.#options = shared;
    this.#counterKind = shared.counter;
    this.schema = this.#dialect.schema.map((statement) => `${statement};\n`).join("");
    this.features = Object.freeze({ ordered: true, tombstones: true, maxChanges: this.#dialect.maxChanges });
  }

  /**
   * The node's current meta; `null` if it was never there or is deleted.
   *
   * @throws {StorageError} When the database fails, as every method here.
   */
  async getNode(key: string): Promise<RealityNodeMeta | null> {
    return (await this.#read("getNode", [key]))[0] ?? null;
  }

  /** The current metas of those keys that are there. An empty list asks nothing. */
  async getNodes(keys: readonly string[]): Promise<Map<string, RealityNodeMeta>> {
    const nodes = new Map<string, RealityNodeMeta>();
    for (const chunk of splitKeys(keys)) {
      for (const meta of await this.#read("getNodes", chunk)) nodes.set(meta.key, meta);
    }
    return nodes;
  }

  /**
   * Nodes, counter and names of one moment, in one statement. Keys of more than half a million characters
   * together take several: then nodes may be newer than `maxVersion` says, never older.
   */
  async readNodes(keys: readonly string[]): Promise<StorageReading> {
    const chunks = splitKeys(keys);
    const first = await this.#readMoment(chunks[0] ?? []);
    let { collectedVersion } = first;
    let newest: HistoryMoment | null = first;
    for (const chunk of chunks.slice(1)) {
      const next = await this.#readMoment(chunk);
      // Another life of the data began in between: nothing read before belongs to it.
      if (next.epoch !== first.epoch || next.replicaId !== first.replicaId) return await this.readNodes(keys);
      for (const [key, meta] of next.nodes) first.nodes.set(key, meta);
      collectedVersion = next.collectedVersion;
      newest = laterOf(newest, { maxVersion: next.maxVersion, recent: next.recent });
    }
    if (newest?.maxVersion === first.maxVersion) return { ...first, collectedVersion };
    return { ...first, collectedVersion, newest };
  }

  /**
   * What came after a version, with counter and names of the same moment, in one statement.
   *
   * @param version Nodes with this version or a lower one are left out.
   * @param limit The first so many.
   */
  async readChanges(version: number, limit: number): Promise<StorageChanges> {
    const operation = "readChanges";
    const rows = await this.#askWithCounter(operation, this.#dialect.readChanges(version, limit));
    const { metas, ...moment } = toMoment(rows, operation);
    return { nodes: metas.sort((a, b) => a.version - b.version), ...moment };
  }

  /** The highest version that a reader can see, or that was. */
  async getMaxVersion(): Promise<number> {
    return (await this.#readCounter("getMaxVersion")).maxVersion;
  }

  /** The names that the table was given when it was made. */
  async getIdentity(): Promise<StorageIdentity> {
    const { epoch, replicaId } = await this.#readCounter("getIdentity");
    return { epoch, replicaId };
  }

  /**
   * Begins another life of the data: another epoch, another origin, nothing seen of other storages. Nodes and the
   * counter stay.
   *
   * @returns The new names.
   */
  async newEpoch(): Promise<StorageIdentity> {
    const operation = "newEpoch";
    const names = { epoch: createEpoch(this.#options.now()), replicaId: createReplicaId() };
    return await this.#changeNotes(operation, async (counter, { collected: collected }) => {
      const mesh = writeNotes({ vector: new Map(), collected: collected });
      const rows = await this.#ask(operation, this.#dialect.renew(counter, { ...names, mesh }));
      return rows.length > 0 ? names : undefined;
    });
  }

  /** Whether the database answers and the table is as it should be. Never rejects. */
  async isHealthy(): Promise<boolean> {
    try {
      await this.#readCounter("isHealthy");
      return true;
    } catch {
      return false;
    }
  }

  /**
   * The history after a version, in order, with tombstones.
   *
   * @param version Nodes with this version or a lower one are left out.
   * @param limit So many are enough; nodes of one version are never cut apart.
   */
  async listChangedSince(version: number, limit?: number): Promise<RealityNodeMeta[]> {
    if (limit !== undefined && limit < 1) return [];
    const statement = this.#dialect.listChanged(version, limit === Infinity ? undefined : limit);
    const rows = await this.#ask("listChangedSince", statement);
    return rows.map((row) => toMeta(row, "listChangedSince"));
  }

  /**
   * Reserves the next version; no reader sees anything of it.
   *
   * @param _key Not used: one counter serves all keys.
   * @throws {RangeError} When the counter has come to 2^53 − 1.
   */
  async incrementVersion(_key: string): Promise<number> {
    const operation = "incrementVersion";
    const next = await this.#nextNumber(operation);
    const statement = this.#dialect.increment(next);
    const [row] = await this.#count(operation, statement, (last) => Math.max(last, next.floor) + next.step);
    return toNumber(row?.version, operation);
  }

  /**
   * Publishes a node unless a newer one is there, and lifts the counter to at least its version.
   *
   * @throws {TypeError} When the meta names another key, or a field is of the wrong kind.
   * @throws {RangeError} When its version is no integer from 1 to 2^53 − 1.
   */
  async setNode(key: string, meta: RealityNodeMeta): Promise<void> {
    checkMeta(key, meta);
    this.#checkLength(meta);
    const next = await this.#nextNumber("setNode");
    const statement = this.#dialect.setNode(meta, meta.deleted ? this.#expiresAt() : null, {
      ...next,
      marks: marksOf([key]),
    });
    // It moves the counter as a reservation does where the node is published late.
    await this.#count("setNode", statement, (last) => Math.max(last, next.floor) + next.step);
    await this.#sweeper.wake();
  }

  /** Takes a node away: a change with a version of its own, which leaves a tombstone. */
  async deleteNode(key: string): Promise<void> {
    const change: NodeChange = { key, hash: "", updatedAt: this.#options.now(), deleted: true };
    await this.#apply("deleteNode", [change]);
  }

  /**
   * Makes many changes at once, each with a version of its own, in the order given, in one statement.
   *
   * @param changes At most `features.maxChanges`, no two of the same key.
   * @returns The metas as written, in the order given.
   * @throws {TypeError} When two changes name one key, or a field is of the wrong kind; then none is made.
   * @throws {RangeError} When there are too many, or the counter has come to its end; then none is made.
   */
  async applyChanges(changes: readonly NodeChange[]): Promise<RealityNodeMeta[]> {
    return await this.#apply("applyChanges", changes);
  }

  /** What this storage has taken in, with its names. */
  async readReplicaState(): Promise<ReplicaState> {
    await this.#settleResidue("readReplicaState");
    return toSeen(await this.#readCounter("readReplicaState"));
  }

  /**
   * Nodes and tombstones with a stamp outside of `base`: what came since is found by its number, and where there
   * is more than fits, the pages go over all keys in their order.
   *
   * @param base What the one who asks has seen; an empty map asks for everything.
   * @param limit When there are more, this page has the first so many, and `next`.
   * @param after `next` of the page before.
   */
  async readDelta(base: VersionVector, limit: number, after?: string): Promise<StorageDelta> {
    const operation = "readDelta";
    const ask = async (statement: Statement) =>
      (await this.#ask(operation, statement)).map((row) => toStamped(row, operation));
    await this.#settleResidue(operation);
    const state = toSeen(await this.#readCounter(operation));
    const list: StampList = [...base];
    // What was seen is no younger than the nodes, and what was swept no older: a tombstone that is missing among
    // them by then is told as swept.
    if (after === undefined) {
      const lowest = lowestMissing(base, state.vector);
      if (lowest === Infinity) return { ...state, nodes: [], next: null };
      const found = lowest === 0 ? [] : await ask(this.#dialect.readNews(list, lowest, limit + 1));
      const [notes, nodes] = [found.find(({ key }) => key === ""), found.filter(({ key }) => key !== "")];
      if (notes && nodes.length <= limit) {
        return { ...state, collected: readNotes(notes.hash).collected, nodes, next: null };
      }
    }
    const nodes = await ask(this.#dialect.readPage(list, after ?? "", limit + 1));
    const { collected } = toSeen(await this.#readCounter(operation));
    const page = nodes.slice(0, limit);
    return { ...state, collected, nodes: page, next: nodes.length > limit ? page.at(-1)?.key ?? null : null };
  }

  /** The nodes and tombstones of these keys, with their stamps. */
  async readReplicated(keys: readonly string[]): Promise<Map<string, ReplicatedNode>> {
    const nodes = new Map<string, ReplicatedNode>();
    for (const chunk of splitKeys(keys)) {
      for (const row of await this.#ask("readReplicated", this.#dialect.readReplicated(chunk))) {
        const node = toStamped(row, "readReplicated");
        nodes.set(node.key, node);
      }
    }
    return nodes;
  }

  /**
   * Writes nodes that came from other storages, in one statement, each only if the node that stands there is
   * still the one it was judged against. On MySQL and MariaDB a second statement asks which were written: what
   * somebody else replaced in between is told as not written.
   *
   * @param merges At most `features.maxChanges`, no two of the same key.
   * @returns For each the meta as written; `null` where another node was there.
   * @throws {TypeError} When two takes name one key, or a field is of the wrong kind; then nothing is written.
   * @throws {RangeError} When there are too many, a version or stamp is none, or the counter has come to its end;
   *   then nothing is written.
   */
  async mergeNodes(
    merges: readonly NodeMerge[],
    collected?: VersionVector,
  ): Promise<(RealityNodeMeta | null)[]> {
    const operation = "mergeNodes";
    checkMerges(merges, this.#dialect.maxChanges);
    for (const { node } of merges) this.#checkLength(node);
    if (merges.length === 0) return [];
    const isAdded = ({ replaces }: NodeMerge) => replaces === null;
    let notes: string | null = null;
    if (collected !== undefined && merges.some(isAdded)) {
      notes = (await this.#readCounter(operation)).mesh;
      if (!coversVector(collected, readNotes(notes).collected)) {
        const rest = await this.mergeNodes(merges.filter((take) => !isAdded(take)));
        return merges.map((take) => isAdded(take) ? null : rest.shift() ?? null);
      }
    }
    const { placed, bounds } = placeMerges(merges, await this.#nextNumber(operation), this.#expiresAt());
    const statement = this.#dialect.takeNodes(placed, { ...bounds, notes });
    const rows = await this.#count(
      operation,
      statement,
      (last) => Math.max(last, bounds.floor) + bounds.total,
    );
    const last = toNumber(rows.find((row) => row.node_key === "")?.version, operation);
    const written = placed.map((take) => toWritten(take, last - bounds.total));
    const keys = this.#dialect.takesUnheard
      ? await this.#findWritten(written, placed)
      : new Set(rows.map((row) => String(row.node_key)));
    await this.#sweeper.wake();
    return written.map((meta) => keys.has(meta.key) ? meta : null);
  }

  /**
   * Notes that everything up to `seen` was taken in, and takes an older epoch for its own.
   *
   * @param vector What the other storage had seen.
   * @param epoch Its epoch.
   * @param collected With a full copy: what was swept where it came from.
   * @returns Whether the epoch is another one now.
   */
  async adoptVector(
    vector: VersionVector,
    epoch: string,
    collected: VersionVector = new Map(),
  ): Promise<boolean> {
    const operation = "adoptVector";
    const lift = Math.max(0, ...vector.values());
    checkCounter(lift);
    return await this.#changeNotes(operation, async (counter, notes) => {
      const before = { mesh: counter.mesh, epoch: counter.epoch };
      const after = {
        mesh: writeNotes(adoptNotes(notes, { vector: vector, collected: collected }, counter.replicaId)),
        epoch: epoch < before.epoch ? epoch : before.epoch,
      };
      const isOther = after.epoch !== before.epoch;
      if (!isOther && after.mesh === before.mesh && lift <= counter.counter) return false;
      const rows = await this.#ask(operation, this.#dialect.adopt(before, after, lift));
      return rows.length > 0 ? isOther : undefined;
    });
  }

  /**
   * Draws another residue where a storage in `seen`, or one that was taken in before, has the same.
   *
   * @param vector Origin → the highest stamp of that origin known to the other storage.
   */
  async avoidResidues(vector: VersionVector): Promise<void> {
    const operation = "avoidResidues";
    await this.#changeNotes(operation, async (counter, notes) => {
      const others = joinVectors(notes.vector, vector);
      others.delete(counter.replicaId);
      return !isResidueTaken(others, counter.drawn) || await this.#draw(operation, counter, others);
    });
  }

  /** From now on, in this process, changes are numbered by the clock, as storages beside each other must. */
  countByClock(): void {
    this.#counterKind = "clock";
    this.#isBeside = true;
  }

  /**
   * Ends the sweeping of tombstones that may be under way, so that what `query` uses can be let go of. It is left as it
   * is. Later calls reject with a {@linkcode ClosedError}. May come twice.
   */
  async close(): Promise<void> {
    this.#isClosed = true;
    await this.#sweeper.end();
  }

  async #apply(operation: string, changes: readonly NodeChange[]): Promise<RealityNodeMeta[]> {
    checkChanges(changes, this.#dialect.maxChanges);
    for (const change of changes) this.#checkLength(change);
    if (changes.length === 0) return [];
    const next = await this.#nextNumber(operation);
    let offset = 0;
    const placed = changes.map(({ key, hash, updatedAt, deleted }) => {
      offset += next.step;
      return { key, offset, hash, updatedAt, expiresAt: deleted ? this.#expiresAt() : null };
    });
    const statement = this.#dialect.applyChanges(placed, next);
    const rows = await this.#count(operation, statement, (last) => Math.max(last, next.floor) + offset);
    const base = toNumber(rows.find((row) => row.node_key === "")?.version, operation) - offset;
    await this.#sweeper.wake();
    return changes.map(({ key, hash, updatedAt, deleted }, i) => {
      const version = base + (placed[i]?.offset ?? 0);
      const meta: RealityNodeMeta = { key, version, hash, updatedAt };
      if (deleted) meta.deleted = true;
      return meta;
    });
  }

  async #read(operation: string, keys: readonly string[]): Promise<RealityNodeMeta[]> {
    const rows = await this.#ask(operation, this.#dialect.readNodes(keys));
    return rows.map((row) => toMeta(row, operation));
  }

  async #readMoment(
    keys: readonly string[],
  ): Promise<StorageReading & { readonly nodes: Map<string, RealityNodeMeta> }> {
    const operation = "readNodes";
    const rows = await this.#askWithCounter(operation, this.#dialect.readMoment(keys));
    const { metas, ...moment } = toMoment(rows, operation);
    return { nodes: new Map(metas.map((meta) => [meta.key, meta])), ...moment };
  }

  async #readCounter(operation: string): Promise<Counter> {
    const [row] = await this.#askWithCounter(operation, this.#dialect.readCounter());
    const mesh = String(row?.mesh);
    this.#hasMet = !mesh.startsWith('{"seen":{}');
    return {
      drawn: toNumber(row?.drawn, operation),
      counter: toNumber(row?.counter, operation),
      maxVersion: toNumber(row?.max_version, operation),
      maxStamp: toNumber(row?.max_stamp, operation),
      mesh,
      epoch: String(row?.epoch),
      replicaId: String(row?.origin),
    };
  }

  /** How the next change is numbered. */
  async #nextNumber(operation: string): Promise<Numbering> {
    await this.#settleResidue(operation);
    return { floor: this.#floor(), step: counterStep(this.#counterKind) };
  }

  #floor(): number {
    const now = this.#options.now();
    return this.#isBeside && !this.#hasMet ? spreadFloor(now) : counterFloor(this.#counterKind, now);
  }

  /** Draws a residue where the counter's row has none: it was made just now, or by an older version. */
  async #settleResidue(operation: string): Promise<void> {
    if (!this.#isReady) await this.#setUp(operation);
    if (this.#hasResidue || this.#counterKind === "sequential") return;
    await this.#changeNotes(operation, async (counter, { vector: vector }) => {
      return counter.drawn > 0 || await this.#draw(operation, counter, vector);
    });
    this.#hasResidue = true;
  }

  /** Draws a residue that no other storage has; gives nothing where the counter's row was no longer as it was read. */
  async #draw(operation: string, counter: Counter, others: VersionVector): Promise<true | undefined> {
    const floor = this.#floor();
    checkCounter(Math.max(counter.counter, floor) + RESIDUES);
    const rows = await this.#ask(operation, this.#dialect.draw(counter, drawResidue(others), floor));
    return rows.length > 0 || undefined;
  }

  /** What the statements count the age of tombstones from: their database's own clock, or what a test's shows. */
  #time(): number {
    return this.#options.testNow?.() ?? 0;
  }

  #expiresAt(): number {
    return Math.min(Math.ceil(this.#time() + this.#options.tombstoneTimeout), Number.MAX_SAFE_INTEGER);
  }

  /** Forgets the oldest tombstones that have expired; says whether there may be more. */
  async #sweep(): Promise<boolean> {
    const operation = "sweep";
    const expired = await this.#ask(operation, this.#dialect.findExpired(this.#time()));
    if (expired.length === 0) return false;
    const stamps: StampList = expired.map(({ origin: replicaId, stamp }) =>
      [replicaId === null ? null : String(replicaId), toNumber(stamp, operation)] as const
    );
    const numbers = (name: string) => expired.map((row) => toNumber(row[name], operation));
    const version = Math.max(...numbers("version"));
    // The note comes first: if only one of the two is done, history claims too little, never too much.
    await this.#changeNotes(operation, async (counter, { vector: vector, collected: collected }) => {
      const named = new Map(stamps.map(([replicaId, stamp]) => [replicaId ?? counter.replicaId, stamp]));
      const mesh = writeNotes({ vector: vector, collected: joinVectors(collected, named) });
      const rows = await this.#ask(operation, this.#dialect.markCollected(counter.mesh, mesh, version));
      return rows.length > 0 || undefined;
    });
    await this.#ask(operation, this.#dialect.sweep(Math.max(...numbers("expires_at")), stamps));
    return numbers("found").reduce((sum, found) => sum + found, 0) >= MAX_SWEPT;
  }

  /** Of what was to be written, the keys of that which now stands there. */
  async #findWritten(
    written: readonly RealityNodeMeta[],
    placed: readonly PlacedMerge[],
  ): Promise<Set<string>> {
    const { replicaId } = await this.#readCounter("mergeNodes");
    const nodes = await this.readReplicated(written.map(({ key }) => key));
    const keys = new Set<string>();
    for (const [i, { key, version }] of written.entries()) {
      const node = nodes.get(key);
      if (node && isSameDot(placed[i]?.stamp ?? { version, replicaId }, dotOf(node))) keys.add(key);
    }
    return keys;
  }

  /**
   * Reads the counter's row and what it notes, and changes it, anew until nobody was quicker.
   *
   * @param change Gives nothing where the row was no longer as it was read.
   */
  async #changeNotes<T>(
    operation: string,
    change: (counter: Counter, notes: MeshNotes) => Promise<T | undefined>,
  ): Promise<T> {
    for (let retry = 1; retry <= MAX_RETRIES * 5; retry++) {
      const counter = await this.#readCounter(operation);
      const done = await change(counter, readNotes(counter.mesh));
      if (done !== undefined) return done;
      await pause(retry);
    }
    throw new StorageError(operation, "others change the counter's row all the time");
  }

  /** Runs a statement that moves the counter from the last version to the next; where it cannot, says why. */
  async #count(
    operation: string,
    statement: Statement,
    next: (last: number) => number,
  ): Promise<readonly SQLRow[]> {
    const rows = await this.#ask(operation, statement);
    if (rows.length > 0) return rows;
    checkCounter(next((await this.#readCounter(operation)).counter));
    return await this.#askWithCounter(operation, statement);
  }

  /** Runs a statement that gives at least the counter's row; makes the row anew where somebody took it away. */
  async #askWithCounter(operation: string, statement: Statement): Promise<readonly SQLRow[]> {
    let rows = await this.#ask(operation, statement);
    if (rows.length === 0) {
      this.#isReady = false;
      rows = await this.#ask(operation, statement);
      if (rows.length === 0) throw new StorageError(operation, "the counter's row is not there");
    }
    if (this.#dialect.tellsReadOnly?.(rows)) {
      throw new StorageError(
        operation,
        "the database only reads: a standby or an earlier primary may not know the newest changes",
      );
    }
    return rows;
  }

  async #ask(operation: string, statement: Statement): Promise<readonly SQLRow[]> {
    // Each call does this by itself: where a statement of another call's set-up is lost, this one goes on.
    if (!this.#isReady) await this.#setUp(operation);
    return await this.#run(operation, statement);
  }

  async #setUp(operation: string): Promise<void> {
    if (!await this.#hasTable(operation)) {
      if (!this.#createTables) {
        throw new StorageError(
          operation,
          `table "${this.#tableName}" is not there: make it from storage.schema`,
        );
      }
      const { schema, createTable = schema } = this.#dialect;
      for (const sql of createTable) await this.#run(operation, { sql, params: [] });
      await this.#hasTable(operation);
    }
    // Looked for first: adding it, even in vain, would wait for whoever is writing.
    const [row] = await this.#run(operation, this.#dialect.readCounter());
    this.#hasResidue = toNumber(row?.drawn ?? 0, operation) > 0;
    // What was numbered by the clock stays so.
    if (this.#hasResidue) this.#counterKind = "clock";
    if (row === undefined) {
      const identity = [createEpoch(this.#options.now()), createReplicaId()] as const;
      await this.#run(operation, this.#dialect.createCounter(...identity));
      if (this.#counterKind === "clock") {
        const draw = this.#dialect.draw({ mesh: NO_MESH, drawn: 0 }, drawResidue(new Map()), this.#floor());
        this.#hasResidue = (await this.#run(operation, draw)).length > 0;
      }
    }
    this.#isReady = true;
  }

  async #hasTable(operation: string): Promise<boolean> {
    const found = (await this.#run(operation, this.#dialect.columns())).map((row) => String(row.name));
    if (found.length === 0) return false;
    const missing = this.#dialect.columnNames.filter((name) => !found.includes(name));
    if (missing.length > 0) {
      throw new StorageError(
        operation,
        `table "${this.#tableName}" has another shape: it lacks ${missing.join(", ")} and has ${
          found.join(", ")
        }; ` +
          `give another tableName, or take that table away`,
      );
    }
    return true;
  }

  async #run(operation: string, { sql, params, toRows }: Statement): Promise<readonly SQLRow[]> {
    const result = await this.#send(operation, sql, params);
    if (isWritten(result)) return toRows?.(toNumber(result.insertId, operation)) ?? [];
    if (toRows === undefined && isRows(result)) return result;
    const wanted = toRows ? "what the driver gives for a write, with insertId" : "an array of rows";
    const given = Array.isArray(result) && !isRows(result) ? "an array of something else" : kindOf(result);
    throw new StorageError(operation, `option "query" must give ${wanted}, and gave ${given}`);
  }

  async #send(operation: string, sql: string, params: SQLValue[]): Promise<unknown> {
    if (this.#isClosed) throw new ClosedError("storage");
    const beginning = performance.now();
    for (let retry = 1;; retry++) {
      try {
        return await this.#query(sql, params);
      } catch (error) {
        const hasTime = !this.#inTransaction && retry <= MAX_RETRIES &&
          performance.now() - beginning < RETRY_TIME;
        if (hasTime && this.#isRetried(error)) {
          await pause(retry);
          continue;
        }
        // The next call looks for the table, and makes it.
        if (this.#isMissing(error)) this.#isReady = false;
        throw error instanceof RealityError ? error : new StorageError(operation, error);
      }
    }
  }

  #isRetried(error: unknown): boolean {
    const { retried } = this.#dialect;
    return findCause(error, ({ code, errno }) => retried.includes(code) || retried.includes(errno));
  }

  #isMissing(error: unknown): boolean {
    const { codes, message } = this.#dialect.missing;
    return findCause(
      error,
      (cause) =>
        codes.includes(cause.code) || codes.includes(cause.errno) || message.test(String(cause.message)),
    );
  }

  /** A database that is not strict cuts what does not fit, and then two keys are one. */
  #checkLength(node: NodeChange | RealityNodeMeta | ReplicatedNode): void {
    const { maxBytes } = this.#dialect;
    if (maxBytes === undefined) return;
    const fields = [
      ["key", node.key, maxBytes.key],
      ["hash", node.hash, maxBytes.hash],
      ["origin", "replicaId" in node ? node.replicaId : "", maxBytes.origin],
    ] as const;
    for (const [name, value, most] of fields) {
      if (utf8Length(value) <= most) continue;
      throw new RangeError(`Cannot write a node: its ${name} is longer than ${most} bytes`);
    }
  }
}

/** What is read of an error, whichever driver it comes from. */
type Failure = Partial<Record<"code" | "errno" | "message" | "cause", unknown>>;

/** Whether this is so of an error, of its cause, or of what caused that. */
function findCause(error: unknown, isSo: (cause: Failure) => boolean): boolean {
  if (typeof error !== "object" || error === null) return false;
  return isSo(error) || findCause((error as Failure).cause, isSo);
}

function checkTableName(tableName: unknown): string {
  if (typeof tableName === "string" && /^[A-Za-z_][A-Za-z0-9_]{0,47}$/.test(tableName)) return tableName;
  throw wrongOption("tableName", "a letter or _, then letters, digits and _, at most 48", tableName);
}

function findDialect(dialect: unknown, tableName: string, isTimed: boolean): SQLDialect {
  if (dialect === "sqlite") return sqliteDialect(tableName, isTimed);
  if (dialect === "postgres") return postgresDialect(tableName, isTimed);
  if (dialect === "mysql") return mysqlDialect(tableName, isTimed);
  throw wrongOption("dialect", '"postgres", "mysql" or "sqlite"', dialect);
}

function isRows(result: unknown): result is readonly SQLRow[] {
  return Array.isArray(result) && (result.length === 0 || !Array.isArray(result[0]) && !isWritten(result[0]));
}

function isWritten(result: unknown): result is SQLWritten {
  return typeof result === "object" && result !== null && "insertId" in result;
}

/** The keys in as few lists as their text allows; no list for no keys. */
function splitKeys(keys: readonly string[]): string[][] {
  const chunks: string[][] = [];
  let chunk: string[] = [];
  let length = 0;
  for (const key of keys) {
    if (length + key.length > MAX_KEYS_TEXT) {
      chunks.push(chunk);
      [chunk, length] = [[], 0];
    }
    chunk.push(key);
    length += key.length + 3;
  }
  if (chunk.length > 0) chunks.push(chunk);
  return chunks;
}

/** Nodes, and what stands in the counter's row among them. */
function toMoment(
  rows: readonly SQLRow[],
  operation: string,
): StorageMoment & { metas: RealityNodeMeta[] } {
  const metas: RealityNodeMeta[] = [];
  let moment: StorageMoment = { maxVersion: 0, epoch: "", replicaId: "", collectedVersion: 0, late: 0 };
  for (const row of rows) {
    const meta = toMeta(row, operation);
    if (meta.key !== "") metas.push(meta);
    else {
      const { version: maxVersion, hash: epoch, updatedAt: sweptVersion } = meta;
      const [replicaId, late] = [String(row.origin), toNumber(row.late, operation)];
      moment = {
        maxVersion,
        epoch,
        replicaId: replicaId,
        collectedVersion: sweptVersion,
        late,
        recent: String(row.recent),
      };
    }
  }
  return { metas, ...moment };
}

function toMeta(row: SQLRow, operation: string): RealityNodeMeta {
  const meta: RealityNodeMeta = {
    key: String(row.node_key),
    version: toNumber(row.version, operation),
    hash: String(row.hash),
    updatedAt: toNumber(row.updated_at, operation),
  };
  if (Number(row.deleted) === 1) meta.deleted = true;
  return meta;
}

function toStamped(row: SQLRow, operation: string): ReplicatedNode {
  return {
    ...toMeta(row, operation),
    replicaId: String(row.origin),
    dotVersion: toNumber(row.stamp, operation),
  };
}

function toSeen({ epoch, replicaId, maxVersion, maxStamp, mesh }: Counter): ReplicaState {
  const { vector: vector, collected: collected } = readNotes(mesh);
  return {
    epoch,
    replicaId,
    vector: new Map([...vector, [replicaId, maxStamp]]),
    collected: collected,
    maxVersion,
  };
}

/** The meta that a take becomes, where it is written. */
function toWritten(
  { key, place, stamp, hash, updatedAt, expiresAt }: PlacedMerge,
  base: number,
): RealityNodeMeta {
  const meta: RealityNodeMeta = { key, version: stamp === null ? base + place : place, hash, updatedAt };
  if (expiresAt !== null) meta.deleted = true;
  return meta;
}

/** A pause of random length that grows, to 64 milliseconds at most, with how often one was made. */
async function pause(retry: number): Promise<void> {
  await new Promise((resolve) => setTimeout(resolve, Math.random() * Math.min(2 ** retry, 64)));
}

/** Drivers give integers as numbers, bigints or text; past 2^53 none of them can be trusted. */
function toNumber(value: unknown, operation: string): number {
  const number = typeof value === "string" || typeof value === "bigint" ? Number(value) : value;
  if (Number.isSafeInteger(number)) return number as number;
  throw new StorageError(operation, `expected an integer below 2^53, got ${String(value)}`);
}
