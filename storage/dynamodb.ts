/**
 * A storage in one table of DynamoDB, for servers that share it.
 *
 * What makes it right: one item, the counter's, is written by every commit, in one transaction with the nodes,
 * on the condition that it is still as the writer read it. So commits come one after the other, each with the
 * versions that follow. What makes it less than simple: DynamoDB shows a transaction item by item to whoever
 * reads without a transaction, so a counter of 7 can be read while node 6 still shows its old row, also with
 * consistent reads, and reading in transactions would turn down the writers. Therefore the counter's item also
 * tells what the last commits wrote, and every reading lays that over the rows; a commit leaves the item only
 * when all that it wrote is known to be visible. And since the item tells every commit of a stretch without a
 * gap, two readings of it, before and after the rows, make a reading of one moment.
 *
 * @module
 */
import { ClosedError, StorageError } from "../src/errors.ts";
import { isNewer } from "../src/node.ts";
import {
  counterFloor,
  counterStep,
  createEpoch,
  createOrigin,
  type NodeChange,
  type RealityStorage,
  type StorageChanges,
  type StorageFeatures,
  type StorageIdentity,
  type StorageReading,
} from "../src/storage.ts";
import type { RealityNodeMeta } from "../src/types.ts";
import { checkChanges, checkCounter, checkMeta } from "./change.ts";
import {
  type Ask,
  Call,
  checkTableName,
  connect,
  describeShape,
  type DynamoDBMethods,
  type DynamoDBSender,
  type Fields,
  MissingTableError,
  nameOf,
} from "./dynamodb_client.ts";
import {
  createState,
  type Draft,
  isLater,
  isSwept,
  type NewNode,
  nextState,
  type State,
  type StoredNode,
  sweptVersionAt,
  tellsAfter,
  tellsSince,
  toMeta,
  trimCommits,
  untilWhen,
} from "./dynamodb_state.ts";
import {
  BUCKETS,
  fitsTable,
  formatNode,
  formatState,
  INDEX,
  isState,
  type Item,
  keyOf,
  MAX_KEY_BYTES,
  parseNode,
  parseState,
  STATE_KEY,
  TABLE_SHAPE,
  TTL_ATTRIBUTE,
} from "./dynamodb_table.ts";
import { type ReadStorageOptions, readStorageOptions, type StorageOptions, wrongOption } from "./options.ts";

export type { DynamoDBMethods, DynamoDBSender } from "./dynamodb_client.ts";
export type { CounterKind } from "./options.ts";

/** How a {@linkcode DynamoDBStorage} reaches its table. */
export interface DynamoDBStorageOptions extends StorageOptions {
  /**
   * A `DynamoDB` of `@aws-sdk/client-dynamodb` 3. A `DynamoDBClient` and what wraps one does as well; its
   * commands are then imported from that package when they are first needed, so a bundle that has the package
   * inside itself takes a `DynamoDB`. It stays the caller's: `close()` does not touch it.
   */
  client: DynamoDBMethods | DynamoDBSender;
  /** The table's name, or its ARN. */
  tableName: string;
  /**
   * Whether the first use makes the table where it is not there, which takes some seconds and the permission
   * to. Otherwise it has been made by `createTable()` or from a template.
   *
   * @default {false}
   */
  createTables?: boolean;
  /**
   * How long one call may take with all its retries, in milliseconds. Lower fails sooner; higher bears more
   * throttling. Must be at least 1 and is best kept under the server's `storageTimeout`.
   *
   * @default {8000}
   */
  operationTimeout?: number;
}

const OWN_OPTIONS = ["client", "tableName", "createTables", "operationTimeout"];
const DEFAULT_OPERATION_TIMEOUT = 8000;
/** A transaction takes 100 items, and one of them is the counter's. */
const MAX_CHANGES = 99;
/** The most items that one batch read takes. */
const PAGE = 100;
/** So many pages, or buckets, are asked for at once. */
const MAX_REQUESTS = 16;
/** So often a reading is brought forward to one moment before it is given as it is. */
const MAX_ROUNDS = 6;
/** So long others wait for one whose turn it is, in milliseconds: it may have died. */
const PATIENCE = 1000;
/** So long after meeting others a process asks for its turn before it writes, in milliseconds. */
const CONTENTION = 500;
/** For these reasons a transaction may be cancelled and yet go through the next time. */
const PASSING: ReadonlySet<string> = new Set([
  "ConditionalCheckFailed",
  "ProvisionedThroughputExceeded",
  "ThrottlingError",
  "TransactionConflict",
]);
/** How long a table may take to be made, in milliseconds. */
const CREATE_TIMEOUT = 120_000;

/** What a reading found. */
interface View {
  /** As of when. */
  readonly state: State;
  /** Nodes and tombstones. */
  readonly nodes: Map<string, StoredNode>;
}

/** A part of the history. */
interface Stretch {
  readonly nodes: readonly StoredNode[];
  /** It is complete up to this version. */
  readonly end: number;
}

/**
 * Keeps nodes in one table of DynamoDB that other servers may share. Each commit is one transaction of up to
 * 99 changes; versions become visible in order, and all reads are strongly consistent.
 *
 * The table is made by {@linkcode DynamoDBStorage.createTable}, or from a template in `storage/README.md`,
 * where costs and limits stand as well.
 *
 * @example
 * ```ts
 * import { DynamoDB } from "@aws-sdk/client-dynamodb";
 * import { DynamoDBStorage } from "@rootlodge/reality-server/dynamodb";
 *
 * const dynamodb = new DynamoDB({ region: "us-east-1" });
 * const storage = new DynamoDBStorage({ client: dynamodb, tableName: "reality-nodes" });
 * // Once, and harmless where the table is there: await storage.createTable();
 * console.assert(storage.features.ordered);
 * await storage.close();
 * dynamodb.destroy();
 * ```
 */
export class DynamoDBStorage implements RealityStorage {
  /** One counter, versions visible in order, deletions told. */
  readonly features: StorageFeatures = Object.freeze({
    ordered: true,
    tombstones: true,
    maxChanges: MAX_CHANGES,
  });

  readonly #ask: Ask;
  readonly #tableName: string;
  readonly #createTables: boolean;
  readonly #operationTimeout: number;
  readonly #options: ReadStorageOptions;
  /** The latest state that this process has met. */
  #last: State | undefined;
  /** Commits in `#last` of which this process knows that all they wrote is visible. */
  readonly #settled = new Set<number>();
  /** Commits of one process wait for each other instead of turning each other down. */
  #queue: Promise<unknown> = Promise.resolve();
  /** Stands in the counter's item when it is this storage's turn to write. */
  #ownName = "";
  /** When a commit was last turned down because of others, by `performance.now()`. */
  #metOthers = -Infinity;
  /** Who is let pass, and since when, by `performance.now()`. */
  #passing: { readonly turn: string; readonly revision: number; readonly since: number } | undefined;
  #creating: Promise<void> | undefined;
  readonly #running = new Set<Promise<unknown>>();
  #isClosed = false;

  /**
   * Makes a storage; nothing is asked of DynamoDB before the first use.
   *
   * @param options How to reach the table.
   * @throws {TypeError} When an option is unknown, missing or wrong; names it.
   */
  constructor(options: DynamoDBStorageOptions) {
    this.#options = readStorageOptions(options, "DynamoDBStorage", OWN_OPTIONS);
    const { client, tableName, createTables = false, operationTimeout = DEFAULT_OPERATION_TIMEOUT } = options;
    if (typeof createTables !== "boolean") throw wrongOption("createTables", "true or false", createTables);
    if (typeof operationTimeout !== "number" || !(operationTimeout >= 1 && operationTimeout < 2 ** 31)) {
      throw wrongOption("operationTimeout", "milliseconds, 1 or more", operationTimeout);
    }
    this.#ask = connect(client);
    this.#tableName = checkTableName(tableName);
    this.#createTables = createTables;
    this.#operationTimeout = operationTimeout;
  }

  /**
   * The node's current meta; `null` if it was never there or is deleted.
   *
   * @throws {StorageError} When DynamoDB fails or takes too long, as every method here.
   */
  async getNode(key: string): Promise<RealityNodeMeta | null> {
    return (await this.#readNodes("getNode", [key])).nodes.get(key) ?? null;
  }

  /** The current metas of those keys that are there. An empty list asks nothing. */
  async getNodes(keys: readonly string[]): Promise<Map<string, RealityNodeMeta>> {
    return keys.length === 0 ? new Map() : (await this.#readNodes("getNodes", keys)).nodes;
  }

  /**
   * Nodes, counter and epoch of one moment. Where so much is written that six attempts do not find one, nodes
   * may be newer than `maxVersion` says, never older.
   */
  async readNodes(keys: readonly string[]): Promise<StorageReading> {
    return await this.#readNodes("readNodes", keys);
  }

  /**
   * What came after a version, with counter and epoch of the same moment. Costs one read of the counter's item
   * when nothing came, or only what that item still tells.
   *
   * @param version Nodes with this version or a lower one are left out.
   * @param limit So many are enough; nodes of one version are never cut apart.
   */
  async readChanges(version: number, limit: number): Promise<StorageChanges> {
    return await this.#run("readChanges", async (call) => {
      const { state, nodes } = await this.#readHistory(call, version, limit);
      const { maxVersion, epoch, late } = state;
      const sweptVersion = sweptVersionAt(state, this.#options.now());
      return { nodes: nodes.map(toMeta), maxVersion, epoch, sweptVersion, late };
    });
  }

  /** The highest version that a reader can see, or that was. */
  async getMaxVersion(): Promise<number> {
    return await this.#run("getMaxVersion", async (call) => (await this.#readState(call)).maxVersion);
  }

  /** The names that the table was given when it was first used. */
  async getIdentity(): Promise<StorageIdentity> {
    return await this.#run("getIdentity", async (call) => {
      const { epoch, origin } = await this.#readState(call);
      return { epoch, origin };
    });
  }

  /** Whether DynamoDB answers and the table is there. Never rejects. */
  async isHealthy(): Promise<boolean> {
    return await this.getMaxVersion().then(() => true, () => false);
  }

  /**
   * The history after a version, in order, with tombstones.
   *
   * @param version Nodes with this version or a lower one are left out.
   * @param limit So many are enough; nodes of one version are never cut apart.
   */
  async listChangedSince(version: number, limit: number = Infinity): Promise<RealityNodeMeta[]> {
    return await this.#run("listChangedSince", async (call) => {
      return (await this.#readHistory(call, version, limit)).nodes.map(toMeta);
    });
  }

  /**
   * Reserves the next version; no reader sees anything of it.
   *
   * @param _key Not used: one counter serves all keys.
   * @throws {RangeError} When the counter has come to 2^53 − 1.
   */
  async incrementVersion(_key: string): Promise<number> {
    return await this.#run("incrementVersion", async (call) => {
      let state = this.#last ?? await this.#readState(call);
      while (true) {
        const outcome = this.#mayPass(state) ? await this.#increment(call, state) : "met";
        if (typeof outcome === "number") return outcome;
        if (outcome === "met") await call.pause(0);
        state = await this.#readState(call);
      }
    });
  }

  /**
   * Publishes a node unless a newer one is there, and lifts the counter to at least its version.
   *
   * @throws {TypeError} When the meta names another key, or a field is of the wrong kind.
   * @throws {RangeError} When its version is no integer from 1 to 2^53 − 1, or its key has more than 1024 bytes.
   */
  async setNode(key: string, meta: RealityNodeMeta): Promise<void> {
    await this.#run("setNode", async (call) => {
      checkMeta(key, meta);
      checkKey(key);
      await this.#commit(call, async () => {
        const { state, nodes } = await this.#look(call, [key]);
        const stored = nodes.get(key);
        if (stored && !isNewer(meta, stored)) return [state, undefined];
        return [state, { nodes: [this.#stored(meta)], counter: Math.max(state.counter, meta.version) }];
      });
    });
  }

  /** Takes a node away: a change with a version of its own, which leaves a tombstone. */
  async deleteNode(key: string): Promise<void> {
    await this.#apply("deleteNode", [{ key, hash: "", updatedAt: this.#options.now(), deleted: true }]);
  }

  /**
   * Makes many changes at once, each with a version of its own, in the order given, in one transaction.
   *
   * @param changes At most 99, no two of the same key.
   * @returns The metas as written, in the order given.
   * @throws {TypeError} When two changes name one key, or a field is of the wrong kind; then none is made.
   * @throws {RangeError} When there are too many, a key has more than 1024 bytes, or the counter has come to
   *   its end; then none is made.
   */
  async applyChanges(changes: readonly NodeChange[]): Promise<RealityNodeMeta[]> {
    return await this.#apply("applyChanges", changes);
  }

  /**
   * Makes the table, on-demand billing and expiry included, and settles once it can be used. Harmless where it
   * is there already and when several servers do it at once.
   *
   * @throws {StorageError} When a table of that name has another shape, or DynamoDB fails.
   */
  async createTable(): Promise<void> {
    if (this.#isClosed) throw new ClosedError("storage");
    this.#creating ??= this.#create().finally(() => this.#creating = undefined);
    await this.#creating;
  }

  /** Lets what is under way come to its end; later calls reject. The client stays as it is. */
  async close(): Promise<void> {
    this.#isClosed = true;
    await Promise.allSettled([...this.#running, this.#creating]);
  }

  /** Made when it is needed, since some runtimes give no chance while a module is loaded. */
  get #name(): string {
    return this.#ownName ||= createOrigin();
  }

  async #run<T>(operation: string, work: (call: Call) => Promise<T>): Promise<T> {
    if (this.#isClosed) throw new ClosedError("storage");
    const running = this.#withCall(operation, this.#operationTimeout, async (call) => {
      try {
        return await work(call);
      } catch (error) {
        const isMissing = error instanceof StorageError && error.cause instanceof MissingTableError;
        if (!isMissing || !this.#createTables) throw error;
        await call.join(this.createTable());
        return await work(call);
      }
    });
    this.#running.add(running);
    try {
      return await running;
    } finally {
      this.#running.delete(running);
    }
  }

  async #withCall<T>(operation: string, timeout: number, work: (call: Call) => Promise<T>): Promise<T> {
    const call = new Call(operation, { ask: this.#ask, tableName: this.#tableName }, timeout);
    try {
      return await work(call);
    } finally {
      call.end();
    }
  }

  async #apply(operation: string, changes: readonly NodeChange[]): Promise<RealityNodeMeta[]> {
    return await this.#run(operation, async (call) => {
      checkChanges(changes, MAX_CHANGES);
      for (const { key } of changes) checkKey(key);
      if (changes.length === 0) return [];
      const { counter: kind, now } = this.#options;
      const written = await this.#commit(call, async () => {
        const state = this.#last ?? await this.#readState(call);
        let counter = Math.max(state.counter, counterFloor(kind, now()));
        const nodes = changes.map(({ key, hash, updatedAt, deleted }) => {
          counter += counterStep(kind);
          return this.#stored({ key, version: counter, hash, updatedAt, ...(deleted ? { deleted } : {}) });
        });
        checkCounter(counter);
        return [state, { nodes, counter }];
      });
      return written.map(toMeta);
    });
  }

  /** A node as it is stored: a tombstone gets the moment after which it may be forgotten. */
  #stored(meta: RealityNodeMeta): NewNode {
    const until = meta.deleted ? untilWhen(this.#options.now(), this.#options.tombstoneTimeout) : undefined;
    return until === undefined ? toMeta(meta) : { ...toMeta(meta), until };
  }

  /**
   * Writes what a plan says, together with the counter's item, unless that is no longer as the plan found it;
   * then plans again.
   *
   * @param plan Gives the state that it starts from, and what is to be changed in it, if anything.
   * @returns The nodes as written.
   */
  async #commit(call: Call, plan: () => Promise<[State, Draft | undefined]>): Promise<readonly NewNode[]> {
    const commit = this.#queue.then(async () => {
      try {
        return await this.#tryCommit(call, plan);
      } finally {
        // Nothing was written after all: nobody needs to wait until it seems that this process has died.
        if (this.#last?.turn === this.#name) await this.#leaveTurn(call).catch(() => {});
      }
    });
    this.#queue = commit.catch(() => {});
    return await call.join(commit);
  }

  async #tryCommit(call: Call, plan: () => Promise<[State, Draft | undefined]>): Promise<readonly NewNode[]> {
    // Where others write, asking for the turn first costs less than a transaction that is turned down.
    if (performance.now() - this.#metOthers < CONTENTION) await this.#takeTurn(call);
    for (let attempt = 0;; attempt++) {
      call.check();
      const [state, draft] = await plan();
      if (draft === undefined) return [];
      const next = await this.#settle(call, nextState(state, draft, this.#options.now()));
      const outcome = await this.#transact(call, state, next);
      if (outcome === "done") return draft.nodes;
      if (outcome === "busy") {
        await call.pause(attempt);
        continue;
      }
      this.#metOthers = performance.now();
      // What this process remembered was old: the answer told what is new. Beyond that, others are writing.
      if (outcome === "met" || attempt > 0) await this.#takeTurn(call);
    }
  }

  /**
   * Asks the others to let this process commit next. Who commits without a pause would win for ever against
   * those who first have to learn how the counter's item stands; the name of the one who waits, put into it,
   * turns down everybody else until that one has committed, or too much time has passed.
   */
  async #takeTurn(call: Call): Promise<void> {
    while (true) {
      const state = await this.#readState(call);
      if (state.turn === this.#name) return;
      if (state.turn !== undefined) this.#metOthers = performance.now();
      // Others' transactions leave but short moments in which the item can be written: no time to read it first.
      while (this.#mayPass(state)) {
        const outcome = await this.#update(call, "SET #turn = :name", "attribute_exists(#bucket)", {
          names: ["bucket"],
          values: { ":name": { S: this.#name } },
          turn: state.turn,
        });
        if (outcome === "old") break;
        if (outcome !== "met") return;
        await call.pause(0);
      }
      await call.pause(0);
    }
  }

  async #leaveTurn(call: Call): Promise<void> {
    for (let attempt = 0; attempt < 5; attempt++) {
      const turn = this.#name;
      const more = { names: ["bucket"], values: {}, turn };
      if (await this.#update(call, "REMOVE #turn", "attribute_exists(#bucket)", more) !== "met") return;
      await call.pause(0);
    }
  }

  /** Whether nobody else is to be let pass; who has been for long may have died. */
  #mayPass({ turn, revision }: State): boolean {
    if (turn === undefined || turn === this.#name) return true;
    if (this.#passing?.turn !== turn || this.#passing.revision !== revision) {
      this.#passing = { turn, revision, since: performance.now() };
    }
    return performance.now() - this.#passing.since >= PATIENCE;
  }

  /** The state to be written, without commits of which every reader can see all. */
  async #settle(call: Call, state: State): Promise<State> {
    const isSettled = (revision: number) => this.#settled.has(revision);
    const [trimmed, unsettled] = trimCommits(state, isSettled);
    if (unsettled.length === 0) return trimmed;
    // Written by other processes: only they know that their transactions are over. So the rows are looked at.
    const written = unsettled.flatMap(({ nodes }) => nodes);
    for (let attempt = 0;; attempt++) {
      const rows = new Map(
        (await this.#readRows(call, written.map(({ key }) => key))).map((row) => [row.key, row]),
      );
      const now = this.#options.now();
      const isVisible = (node: StoredNode) =>
        (rows.get(node.key)?.revision ?? 0) >= node.revision || isSwept(node, state.sweptVersion, now);
      if (written.every(isVisible)) break;
      await call.pause(attempt);
    }
    for (const { revision } of unsettled) this.#settled.add(revision);
    return trimCommits(state, isSettled)[0];
  }

  /** Moves the table from one state to the next, in one transaction; says whether it did, or what hindered it. */
  async #transact(call: Call, state: State, next: State): Promise<"done" | "old" | "met" | "busy"> {
    const TableName = this.#tableName;
    const nodes = next.commits.at(-1)?.nodes ?? [];
    const counter: Fields = {
      TableName,
      Item: formatState(next),
      ConditionExpression: "#epoch = :epoch AND #revision = :revision AND #counter = :counter " +
        "AND (attribute_not_exists(#turn) OR #turn = :name)",
      ExpressionAttributeNames: toNames(["epoch", "revision", "counter", "turn"]),
      ExpressionAttributeValues: {
        ":epoch": { S: state.epoch },
        ":revision": { N: String(state.revision) },
        ":counter": { N: String(state.counter) },
        ":name": { S: this.#name },
      },
      ReturnValuesOnConditionCheckFailure: "ALL_OLD",
    };
    const input: Fields = {
      // With it, asking again after an answer was lost does not write twice.
      ClientRequestToken: crypto.randomUUID(),
      TransactItems: [
        { Put: counter },
        ...nodes.map((node) => ({ Put: { TableName, Item: formatNode(node) } })),
      ],
    };
    try {
      await call.request("transactWriteItems", input, ["TransactionCanceledException"]);
    } catch (error) {
      if (nameOf(error) !== "TransactionCanceledException") throw error;
      return this.#readCancellation(call, error as Error);
    }
    this.#note(next);
    this.#settled.add(next.revision);
    return "done";
  }

  /** Why a transaction was cancelled, and what that tells of the counter; throws where no other try would help. */
  #readCancellation(call: Call, error: Error & { CancellationReasons?: unknown }): "old" | "met" | "busy" {
    const reasons = (error.CancellationReasons ?? []) as readonly { Code?: string; Item?: Item }[];
    const codes = reasons.map(({ Code }) => Code ?? "None").filter((code) => code !== "None");
    if (codes.length === 0 || codes.some((code) => !PASSING.has(code))) {
      throw new StorageError(
        call.operation,
        new Error(`${error.message} ${[...new Set(codes)].join(", ")}`, { cause: error }),
      );
    }
    if (codes.includes("ConditionalCheckFailed")) {
      const item = reasons[0]?.Item;
      if (item?.epoch) this.#note(this.#parse(call, () => parseState(item)));
      else this.#last = undefined;
      return "old";
    }
    return codes.includes("TransactionConflict") ? "met" : "busy";
  }

  /** Moves the counter on by one step and gives the version, or what hindered it. */
  async #increment(call: Call, { counter, turn }: State): Promise<number | "old" | "met"> {
    const { counter: kind, now } = this.#options;
    const floor = counterFloor(kind, now());
    const step = counterStep(kind);
    checkCounter(Math.max(counter, floor) + step);
    // The counter only grows, so a step can be added without knowing where it stands.
    const adds = counter >= floor;
    const numbers = adds
      ? { ":step": step, ":floor": floor, ":last": Number.MAX_SAFE_INTEGER - step }
      : { ":version": floor + step, ":floor": floor };
    const values = Object.fromEntries(
      Object.entries(numbers).map(([name, value]) => [name, { N: `${value}` }]),
    );
    const outcome = await this.#update(
      call,
      adds ? "SET #counter = #counter + :step" : "SET #counter = :version",
      adds ? "#counter >= :floor AND #counter <= :last" : "#counter <= :floor",
      { names: ["counter"], values, turn },
    );
    return typeof outcome === "string" ? outcome : outcome.counter;
  }

  /** Changes the counter's item by itself and gives it: unless it is not as it should be, or a transaction is on it. */
  async #update(
    call: Call,
    change: string,
    condition: string,
    more: { readonly names: readonly string[]; readonly values: Item; readonly turn: string | undefined },
  ): Promise<State | "old" | "met"> {
    try {
      const { Attributes } = await call.request("updateItem", {
        TableName: this.#tableName,
        Key: STATE_KEY,
        UpdateExpression: change,
        ConditionExpression: `${condition} AND (attribute_not_exists(#turn) OR #turn = :turn)`,
        ExpressionAttributeNames: toNames([...more.names, "turn"]),
        ExpressionAttributeValues: { ...more.values, ":turn": { S: more.turn ?? this.#name } },
        ReturnValues: "ALL_NEW",
      }, ["ConditionalCheckFailedException", "TransactionConflictException"]);
      return this.#note(this.#parse(call, () => parseState(Attributes as Item)));
    } catch (error) {
      if (nameOf(error) === "ConditionalCheckFailedException") return "old";
      if (nameOf(error) === "TransactionConflictException") return "met";
      throw error;
    }
  }

  async #readNodes(operation: string, keys: readonly string[]): Promise<StorageReading> {
    return await this.#run(operation, async (call) => {
      const { state, nodes: stored } = await this.#look(call, keys);
      const nodes = new Map<string, RealityNodeMeta>();
      for (const node of stored.values()) if (!node.deleted) nodes.set(node.key, toMeta(node));
      const { maxVersion, epoch } = state;
      return { nodes, maxVersion, epoch, sweptVersion: sweptVersionAt(state, this.#options.now()) };
    });
  }

  /** Reads nodes and tombstones as of one state. */
  async #look(call: Call, keys: readonly string[]): Promise<View> {
    const asked = new Set(keys.filter(fitsTable));
    if (asked.size === 0) return { state: await this.#readState(call), nodes: new Map() };
    const isOnePage = asked.size < PAGE;
    // Rows are as new as the state that was known before they were asked for, however long before.
    let base = isOnePage && this.#last !== undefined ? this.#last : await this.#readState(call);
    let [state, found] = await this.#readPages(call, asked, base);
    for (let round = 0; round < MAX_ROUNDS; round++) {
      if (!tellsSince(state, base)) {
        const isFar = isOnePage || state.epoch !== base.epoch || state.late !== base.late;
        const next = state;
        if (isFar) [state, found] = await this.#readPages(call, asked, next);
        else {
          // Reading many rows again takes as long as it did, so that more is written; what was is less.
          const { nodes } = await this.#queryHistory(call, base, base.maxVersion);
          state = await this.#readState(call);
          found.push(...nodes, ...nodesOf(next), ...nodesOf(state));
        }
        base = next;
      } else if (found.some((node) => node.revision > state.revision)) {
        // A row of a transaction that the counter's item will show in a moment.
        if (round > 0) await call.pause(round - 1);
        state = await this.#readState(call);
        found.push(...nodesOf(state));
      } else {
        return { state, nodes: this.#choose(found, state, asked) };
      }
    }
    return { state: base, nodes: this.#choose(found, base, asked) };
  }

  /** Rows, with what the states before and after them tell. */
  async #readPages(call: Call, keys: ReadonlySet<string>, base: State): Promise<[State, StoredNode[]]> {
    let state: State | undefined;
    let rows: StoredNode[];
    if (keys.size < PAGE) {
      const items = await this.#readItems(call, [STATE_KEY, ...[...keys].map(keyOf)]);
      const item = items.find(isState);
      if (item) state = this.#note(this.#parse(call, () => parseState(item)));
      rows = this.#parse(call, () => items.filter((item) => !isState(item)).map(parseNode));
    } else {
      rows = await this.#readRows(call, [...keys]);
    }
    state ??= await this.#readState(call);
    return [state, [...rows, ...nodesOf(base), ...nodesOf(state)]];
  }

  /** Of each key what the latest commit wrote, without tombstones that are forgotten. */
  #choose(
    found: readonly StoredNode[],
    { sweptVersion }: State,
    keys?: ReadonlySet<string>,
  ): Map<string, StoredNode> {
    const now = this.#options.now();
    const nodes = new Map<string, StoredNode>();
    for (const node of found) {
      if (keys?.has(node.key) === false) continue;
      const other = nodes.get(node.key);
      if (other === undefined || node.revision > other.revision) nodes.set(node.key, node);
    }
    for (const node of nodes.values()) if (isSwept(node, sweptVersion, now)) nodes.delete(node.key);
    return nodes;
  }

  /** The history after a version as of one state: the first so many, or all. */
  async #readHistory(
    call: Call,
    version: number,
    limit: number,
  ): Promise<{ readonly state: State; readonly nodes: StoredNode[] }> {
    let base = await this.#readState(call);
    if (!(limit >= 1)) return { state: base, nodes: [] };
    if (tellsAfter(base, version)) {
      return { state: base, nodes: this.#cut(nodesOf(base), base, { version, limit }) };
    }
    let { nodes: found, end } = await this.#queryHistory(call, base, version, limit);
    let state = await this.#readState(call);
    for (let round = 0; round < MAX_ROUNDS; round++) {
      if (tellsSince(state, base)) {
        const all = [...found, ...nodesOf(base), ...nodesOf(state)];
        const nodes = this.#cut(all, state, { version, limit, end });
        const isEnough = end === Infinity || nodes.length >= limit;
        if (isEnough && all.every((node) => node.revision <= state.revision)) return { state, nodes };
        if (isEnough) {
          // A row of a transaction that the counter's item will show in a moment.
          if (round > 0) await call.pause(round - 1);
          state = await this.#readState(call);
          continue;
        }
      }
      // More was written than the counter's item tells. All that was found stays right where nothing is cut.
      const next = state;
      const goesOn = limit === Infinity && next.epoch === base.epoch && next.late === base.late;
      const more = await this.#queryHistory(call, next, goesOn ? base.maxVersion : version, limit);
      found = goesOn ? [...found, ...nodesOf(base), ...more.nodes] : more.nodes;
      end = more.end;
      base = next;
      state = await this.#readState(call);
    }
    // Of what came while this was read nothing is told: all of it lies above the counter that goes with it.
    end = Math.min(end, base.maxVersion);
    return { state: base, nodes: this.#cut([...found, ...nodesOf(base)], base, { version, limit, end }) };
  }

  /** Nodes in order of version: those in a range, the first so many without cutting a version apart. */
  #cut(
    found: readonly StoredNode[],
    state: State,
    range: { readonly version: number; readonly limit: number; readonly end?: number },
  ): StoredNode[] {
    const { version, limit, end = Infinity } = range;
    const nodes = [...this.#choose(found, state).values()]
      .filter((node) => node.version > version && node.version <= end)
      .sort((a, b) => a.version - b.version);
    const last = nodes[limit - 1]?.version ?? Infinity;
    return nodes.filter((node) => node.version <= last);
  }

  /** Rows above a version, at least so many from the lowest version on, or all. */
  async #queryHistory(call: Call, state: State, version: number, limit: number = Infinity): Promise<Stretch> {
    // Nodes are spread evenly, so each bucket has about its share; and some of them may have moved on.
    const wanted = limit + nodesOf(state).length;
    for (let share = Math.ceil(wanted / BUCKETS.length * 1.5) + 4;; share *= 4) {
      const parts = await inParallel(
        BUCKETS,
        (bucket) => this.#queryBucket(call, bucket, { version, limit: share }),
      );
      const nodes = parts.flatMap((part) => part.nodes);
      const end = Math.min(...parts.map((part) => part.end));
      if (end === Infinity) return { nodes, end };
      if (this.#cut(nodes, state, { version, limit: Infinity, end }).length >= wanted) return { nodes, end };
    }
  }

  async #queryBucket(
    call: Call,
    bucket: string,
    { version, limit }: { readonly version: number; readonly limit: number },
  ): Promise<Stretch> {
    const nodes: StoredNode[] = [];
    let start: unknown;
    do {
      const { Items = [], LastEvaluatedKey } = await call.request("query", {
        TableName: this.#tableName,
        IndexName: INDEX,
        ConsistentRead: true,
        KeyConditionExpression: "#bucket = :bucket AND #version > :version",
        ExpressionAttributeNames: { "#bucket": "bucket", "#version": "version" },
        ExpressionAttributeValues: { ":bucket": { S: bucket }, ":version": { N: String(version) } },
        ...(limit < Infinity ? { Limit: limit - nodes.length } : {}),
        ...(start ? { ExclusiveStartKey: start } : {}),
      });
      nodes.push(...this.#parse(call, () => (Items as Item[]).map(parseNode)));
      start = LastEvaluatedKey;
    } while (start && nodes.length < limit);
    // The next row may have the version of the last one.
    return { nodes, end: start ? (nodes.at(-1)?.version ?? version + 1) - 1 : Infinity };
  }

  async #readRows(call: Call, keys: readonly string[]): Promise<StoredNode[]> {
    const items = await this.#readItems(call, [...new Set(keys)].map(keyOf));
    return this.#parse(call, () => items.map(parseNode));
  }

  /** Reads items in pages; what DynamoDB leaves out of a page is asked for again. */
  async #readItems(call: Call, keys: readonly Item[]): Promise<Item[]> {
    const pages: (readonly Item[])[] = [];
    for (let i = 0; i < keys.length; i += PAGE) pages.push(keys.slice(i, i + PAGE));
    const items = await inParallel(pages, async (page) => {
      const found: Item[] = [];
      let left = page;
      for (let attempt = 0; left.length > 0; attempt++) {
        if (attempt > 0) await call.pause(attempt - 1);
        const { Responses = {}, UnprocessedKeys = {} } = await call.request("batchGetItem", {
          RequestItems: { [this.#tableName]: { Keys: left, ConsistentRead: true } },
        });
        found.push(...Object.values(Responses as Record<string, readonly Item[]>).flat());
        left = Object.values(UnprocessedKeys as Record<string, { Keys?: readonly Item[] }>)
          .flatMap(({ Keys = [] }) => Keys);
      }
      return found;
    });
    return items.flat();
  }

  /** Reads the counter's item; makes it where it is not there. */
  async #readState(call: Call): Promise<State> {
    const item = await this.#readStateItem(call);
    if (item) return this.#note(this.#parse(call, () => parseState(item)));
    // Never below what is there already, should somebody have taken away this one item.
    const tops = await inParallel(BUCKETS, (bucket) => this.#readTop(call, bucket));
    const names = { epoch: createEpoch(this.#options.now()), origin: createOrigin() };
    try {
      await call.request("putItem", {
        TableName: this.#tableName,
        Item: formatState(createState(names, Math.max(0, ...tops))),
        ConditionExpression: "attribute_not_exists(#bucket)",
        ExpressionAttributeNames: { "#bucket": "bucket" },
      }, ["ConditionalCheckFailedException"]);
    } catch (error) {
      // Another server was first.
      if (nameOf(error) !== "ConditionalCheckFailedException") throw error;
    }
    const made = await this.#readStateItem(call);
    if (!made) throw new StorageError(call.operation, "the counter's item is not there");
    return this.#note(this.#parse(call, () => parseState(made)));
  }

  async #readStateItem(call: Call): Promise<Item | undefined> {
    const { Item: item } = await call.request("getItem", {
      TableName: this.#tableName,
      Key: STATE_KEY,
      ConsistentRead: true,
    });
    return item as Item | undefined;
  }

  async #readTop(call: Call, bucket: string): Promise<number> {
    const { Items = [] } = await call.request("query", {
      TableName: this.#tableName,
      IndexName: INDEX,
      ConsistentRead: true,
      ScanIndexForward: false,
      Limit: 1,
      KeyConditionExpression: "#bucket = :bucket",
      ExpressionAttributeNames: { "#bucket": "bucket" },
      ExpressionAttributeValues: { ":bucket": { S: bucket } },
    });
    return this.#parse(call, () => (Items as Item[]).map(parseNode))[0]?.version ?? 0;
  }

  /** Remembers a state if it is later than the one remembered, or of another life of the data. */
  #note(state: State): State {
    const last = this.#last;
    if (last?.epoch !== state.epoch) this.#settled.clear();
    if (last?.epoch !== state.epoch || isLater(state, last)) {
      this.#last = state;
      const first = state.revision - state.commits.length;
      for (const revision of this.#settled) if (revision <= first) this.#settled.delete(revision);
    }
    return state;
  }

  #parse<T>(call: Call, read: () => T): T {
    try {
      return read();
    } catch (error) {
      throw new StorageError(call.operation, error);
    }
  }

  async #create(): Promise<void> {
    await this.#withCall("createTable", CREATE_TIMEOUT, async (call) => {
      const TableName = this.#tableName;
      try {
        await call.request("createTable", { TableName, ...TABLE_SHAPE }, ["ResourceInUseException"]);
      } catch (error) {
        if (nameOf(error) !== "ResourceInUseException") throw error;
      }
      for (let attempt = 0;; attempt++) {
        const { Table } = await call.request("describeTable", { TableName }, ["ResourceNotFoundException"])
          .catch(orEmpty("ResourceNotFoundException"));
        const table = Table as Fields | undefined;
        if (table && !hasShape(table)) throw new StorageError("createTable", describeShape(TableName));
        if (table?.TableStatus === "ACTIVE") break;
        await call.pause(attempt);
      }
      if (await this.#hasExpiry(call)) return;
      const TimeToLiveSpecification = { AttributeName: TTL_ATTRIBUTE, Enabled: true };
      try {
        await call.request("updateTimeToLive", { TableName, TimeToLiveSpecification }, [
          "ValidationException",
        ]);
      } catch (error) {
        // Another server was first.
        if (nameOf(error) !== "ValidationException" || !await this.#hasExpiry(call)) throw error;
      }
    });
  }

  async #hasExpiry(call: Call): Promise<boolean> {
    const { TimeToLiveDescription } = await call.request("describeTimeToLive", {
      TableName: this.#tableName,
    });
    const { TimeToLiveStatus, AttributeName } = (TimeToLiveDescription ?? {}) as Record<string, unknown>;
    return AttributeName === TTL_ATTRIBUTE && ["ENABLED", "ENABLING"].includes(String(TimeToLiveStatus));
  }
}

function checkKey(key: string): void {
  if (fitsTable(key)) return;
  throw new RangeError(
    `Cannot write a node: expected a key of at most ${MAX_KEY_BYTES} bytes, which a sort key takes, got ${key.length} characters`,
  );
}

/** Names for an expression: many words mean something to DynamoDB. */
function toNames(names: readonly string[]): Readonly<Record<string, string>> {
  return Object.fromEntries(names.map((name) => [`#${name}`, name]));
}

function nodesOf(state: State): StoredNode[] {
  return state.commits.flatMap(({ nodes }) => nodes);
}

/** Whether a table's description is that of ours. */
function hasShape(table: Fields): boolean {
  const keys = (of: unknown) =>
    ((of ?? []) as { AttributeName?: string }[]).map(({ AttributeName }) => AttributeName).join();
  const indexes = (table.LocalSecondaryIndexes ?? []) as readonly Fields[];
  return keys(table.KeySchema) === keys(TABLE_SHAPE.KeySchema) &&
    indexes.some(({ IndexName, KeySchema }) => IndexName === INDEX && keys(KeySchema) === "bucket,version");
}

function orEmpty(name: string): (error: unknown) => Fields {
  return (error) => {
    if (nameOf(error) === name) return {};
    throw error;
  };
}

/** Does something for each, several at once, and gives the results in order. */
async function inParallel<T, U>(values: readonly T[], work: (value: T) => Promise<U>): Promise<U[]> {
  const results: U[] = [];
  let next = 0;
  const worker = async () => {
    while (next < values.length) {
      const i = next++;
      results[i] = await work(values[i] as T);
    }
  };
  await Promise.all(Array.from({ length: Math.min(MAX_REQUESTS, values.length) }, worker));
  return results;
}
