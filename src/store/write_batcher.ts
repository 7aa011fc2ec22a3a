/**
 * Groups changes: those that arrive while a commit is running go into the next commit together.
 *
 * @module
 */
import { type Deadline, Deadlines } from "../limits/deadlines.ts";
import { StorageError } from "../errors.ts";
import { attempt, type MaybePromise } from "../maybe_promise.ts";
import type { RealityNodeMeta } from "../types.ts";
import {
  type AppliedMeta,
  isMeshStorage,
  type MeshStorage,
  type NodeChange,
  type NodeHash,
  type NodeMerge,
  type OutboxChange,
  randomName,
  type RealityStorage,
  type ReplicatedNode,
  type VersionVector,
} from "./contract.ts";
import { FailedKeys } from "./failed_keys.ts";
import { isGroup } from "./groups.ts";
import { type SlowCall, type StorageCallOptions, timeoutError, withTimeout } from "./timeout.ts";

/**
 * After this share of `storageTimeout`, a commit without an answer no longer blocks the next one. It is larger than
 * that of reads: where commits queue for a lock, at most two run at the same time.
 */
const SLOW_COMMIT_SHARE = 1 / 2;

/**
 * The time limit of a change that has to wait for its commit, as a multiple of `storageTimeout`. A change whose key
 * is in an unanswered commit is sent after one `storageTimeout` and needs time for its own answer.
 */
const QUEUED_TIMEOUT_FACTOR = 1.25;

/** The maximum size of a commit if the storage does not specify one. */
const MAX_CHANGES = 1000;

/** At most this many changes run at the same time in a storage without `applyChanges`. */
const MAX_SINGLE_CHANGES = 16;

/** A change that waits for its commit. */
export interface PendingChange extends Omit<NodeChange, "unless"> {
  /** Present, and true, if nothing is to be written where the node is stored with this hash. */
  readonly ifChanged?: true;
  /** The keys of the groups that change with it, in the same commit. Not among them: its own key. */
  readonly groups?: readonly string[];
}

/** A change that rows of the outbox ask for. */
export interface PendingRows extends OutboxChange {
  /** The keys of the groups that change with it, in the same commit. */
  readonly groups?: readonly string[];
}

/** Options of a {@linkcode WriteBatcher}. */
export interface WriteBatcherOptions extends StorageCallOptions {
  /** The keys whose last change failed. Left out: no other batcher writes to the storage in this process. */
  readonly failed?: FailedKeys;
}

/** One change. Its promise settles with its commit, or at its time limit. */
class Write implements Deadline {
  readonly change: PendingChange;
  readonly promise: Promise<RealityNodeMeta>;
  /** Settles the promise. */
  resolve!: (meta: RealityNodeMeta) => void;
  reject!: (error: unknown) => void;
  /** An earlier change of the same key that this one replaces. */
  readonly older: Write | undefined;
  /** Whether an earlier change of the key had no answer when this one was sent, and may be stored after it. */
  isOvertaking = false;
  readonly #onExpire: (write: Write) => void;
  dueAt = 0;
  before: Deadline | undefined = undefined;
  after: Deadline | undefined = undefined;

  constructor(change: PendingChange, older: Write | undefined, onExpire: (write: Write) => void) {
    this.change = change;
    this.older = older;
    this.#onExpire = onExpire;
    this.promise = new Promise((resolve, reject) => {
      this.resolve = resolve;
      this.reject = reject;
    });
  }

  onExpire(): void {
    this.#onExpire(this);
  }
}

/** Changes that were sent to the storage together. */
interface Commit {
  readonly writes: readonly Write[];
  /** The keys of all of its changes: those of `writes`, then those of their groups. */
  readonly keys: readonly string[];
  /** Resolves when the commit has settled, or no longer blocks later commits. Never rejects. */
  readonly unblocked: Promise<void>;
  /** Resolves when the commit has settled. Never rejects. */
  readonly settled: Promise<void>;
}

/**
 * Group commit: changes that arrive while a commit is running go into the next commit together. Several changes of
 * one key become the last of them. The promise of each caller settles when the storage has the change, or at its time
 * limit.
 *
 * A change with `ifChanged` is written in any case if it replaces another one with another hash, or if the last change
 * of its key failed. Clients may have data of the change that was never written, and would keep them. So it is while a
 * change of its key has no answer, and after one that was sent meanwhile: the hash that is stored last may be the older.
 *
 * A commit without an answer after half of `storageTimeout` lets the next one start. Changes of its own keys still
 * wait until it is answered or given up. A commit that was given up may still reach the storage, even after a later
 * change of the same key. Then the order of versions in the storage decides which hash stays, and clients are told.
 */
export class WriteBatcher {
  readonly #storage: RealityStorage;
  readonly #options: StorageCallOptions;
  readonly #failed: FailedKeys;
  readonly #onCommit: (keys: readonly string[], version: number) => void;
  readonly #waiting = new Map<string, Write>();
  /** Time limits of changes that had to wait. */
  readonly #deadlines: Deadlines;
  /** All commits without an answer. */
  readonly #commits = new Set<Commit>();
  #running: Promise<void> | undefined;
  #sent = 0;

  /**
   * @param storage The storage to write to.
   * @param options Clock, time limit and callbacks of storage calls.
   * @param onCommit Receives the keys of every commit and its highest version. A failed commit may have reached the
   *   storage, so its keys are passed too, with version 0.
   */
  constructor(
    storage: RealityStorage,
    options: WriteBatcherOptions,
    onCommit: (keys: readonly string[], version: number) => void,
  ) {
    this.#storage = storage;
    this.#options = options;
    this.#failed = options.failed ?? new FailedKeys();
    this.#onCommit = onCommit;
    this.#deadlines = new Deadlines(options.clock, options.timeout * QUEUED_TIMEOUT_FACTOR);
  }

  /** How many commits have been sent. */
  get sent(): number {
    return this.#sent;
  }

  /**
   * Makes one change.
   *
   * @returns The meta as written, once the storage has it; the stored one if nothing was written. A live storage may
   *   return it without a promise.
   * @throws {StorageError} When the storage fails or takes too long; rejects with it. The change may or may not have
   *   been made.
   */
  write(change: PendingChange): MaybePromise<RealityNodeMeta> {
    const { features, applyChanges } = this.#storage;
    const isLive = features?.live && applyChanges !== undefined && !this.#isBusy;
    return isLive ? this.#writeLive(change) : this.#queue(change);
  }

  /** Whether a new change may have to wait for others. */
  get #isBusy(): boolean {
    return this.#running !== undefined || this.#commits.size > 0;
  }

  /** Makes many changes, together with those of this moment. */
  writeMany(changes: readonly PendingChange[]): Promise<RealityNodeMeta>[] {
    return changes.map((change) => this.#queue(change));
  }

  /** A live storage commits at once, so there is nothing to gain from waiting for other changes. */
  #writeLive(change: PendingChange): MaybePromise<RealityNodeMeta> {
    const changes = this.#toNodeChanges([change]);
    this.#countCommit(changes.length);
    const given = attempt(() => this.#storage.applyChanges!(changes));
    if (given instanceof Promise) {
      const write = this.#createWrite(change, undefined);
      this.#running = this.#commitAll(this.#commit([write], changes, () => given).unblocked);
      return write.promise;
    }
    this.#options.onOutcome("applyChanges", undefined, 0);
    const meta = given[0] as AppliedMeta;
    if (meta.unchanged) return toMeta(meta);
    this.#failed.delete(change.key);
    this.#onCommit(changes.map(({ key }) => key), Math.max(...given.map(({ version }) => version)));
    return meta;
  }

  #queue(change: PendingChange): Promise<RealityNodeMeta> {
    // The newer change replaces the older one and takes a new place in the order.
    const older = this.#waiting.get(change.key);
    if (older !== undefined) this.#waiting.delete(change.key);
    const write = this.#createWrite(older ? replace(older.change, change) : change, older);
    this.#waiting.set(change.key, write);
    // A change that is sent at once has the time limit of its commit.
    if (this.#commits.size > 0) this.#deadlines.add(write);
    // All changes of this moment have arrived before the first commit is sent.
    this.#running ??= this.#commitAll(Promise.resolve());
    return write.promise;
  }

  #createWrite(change: PendingChange, older: Write | undefined): Write {
    return new Write(change, older, this.#giveUp);
  }

  /** Rejects a change at its time limit. If it was not sent yet, it is never sent. */
  readonly #giveUp = (write: Write): void => {
    const { key } = write.change;
    if (this.#waiting.get(key) === write) this.#waiting.delete(key);
    this.#failed.add(key);
    const error = new StorageError("applyChanges", timeoutError(this.#options));
    for (let each: Write | undefined = write; each !== undefined; each = each.older) each.reject(error);
  };

  /** Reads the nodes and tombstones of some keys, with their dots. */
  readReplicated(keys: readonly string[]): Promise<Map<string, ReplicatedNode>> {
    return withTimeout("readReplicated", () => this.#mesh().readReplicated(keys), this.#options);
  }

  /**
   * Merges nodes of other storages, in commits of the size that the storage allows.
   *
   * @param collected The collected tombstones that were known when the merges were decided.
   * @returns The meta of each merge as written; `null` if another node was stored than the merge was decided against.
   */
  async merge(merges: readonly NodeMerge[], collected?: VersionVector): Promise<(RealityNodeMeta | null)[]> {
    const most = this.#storage.features?.maxChanges ?? MAX_CHANGES;
    const metas: (RealityNodeMeta | null)[] = [];
    for (let i = 0; i < merges.length; i += most) {
      this.#sent++;
      const some = merges.slice(i, i + most);
      this.#options.metrics?.writeSizes.observe(some.length);
      metas.push(
        ...await withTimeout("mergeNodes", () => this.#mesh().mergeNodes(some, collected), this.#options),
      );
    }
    return metas;
  }

  /**
   * Makes the changes that rows of the outbox ask for, and removes these rows.
   *
   * @returns Whether something was written. Otherwise the rows were no longer there.
   */
  async applyRows(changes: readonly PendingRows[]): Promise<boolean> {
    let isWritten = false;
    let some: PendingRows[] = [];
    const keys = new Set<string>();
    for (const change of changes) {
      const added = [change.key, ...change.groups ?? []].filter((key) => !keys.has(key));
      if (some.length > 0 && keys.size + added.length > this.#maxChanges) {
        isWritten = await this.#applyRows(withGroups(some)) || isWritten;
        some = [];
        keys.clear();
      }
      for (const key of [change.key, ...change.groups ?? []]) keys.add(key);
      some.push(change);
    }
    return await this.#applyRows(withGroups(some)) || isWritten;
  }

  /** The most changes of one commit. */
  get #maxChanges(): number {
    return this.#storage.features?.maxChanges ?? MAX_CHANGES;
  }

  async #applyRows(changes: readonly OutboxChange[]): Promise<boolean> {
    this.#countCommit(changes.length);
    const keys = changes.map(({ key }) => key);
    const onLateAnswer = () => this.#onCommit(keys, 0);
    const slowCall = { share: SLOW_COMMIT_SHARE, onSlow: () => {}, onLateAnswer };
    let version = 0;
    try {
      const call = () => this.#storage.outbox!.applyRows(changes);
      version = await withTimeout("applyOutbox", call, this.#options, slowCall);
    } finally {
      // Also after a failure: the changes may have been made. Also if another server has made them.
      this.#onCommit(keys, version);
    }
    return version > 0;
  }

  /** Resolves once all changes so far have reached the storage or failed. */
  async flush(): Promise<void> {
    while (this.#isBusy) {
      await Promise.all([
        this.#running,
        ...[...this.#commits].map(({ settled }) => settled),
      ]);
    }
  }

  #mesh(): MeshStorage {
    if (isMeshStorage(this.#storage)) return this.#storage;
    throw new TypeError("This storage keeps no dots: it cannot merge nodes of another storage");
  }

  async #commitAll(first: Promise<void>): Promise<void> {
    await first;
    for (let writes = this.#dequeue(); writes.length > 0; writes = this.#dequeue()) {
      for (const write of this.#waiting.values()) if (write.after === undefined) this.#deadlines.add(write);
      const changes = this.#toNodeChanges(writes.map(({ change }) => change));
      this.#countCommit(changes.length);
      await this.#commit(writes, changes, () => this.#storage.applyChanges!(changes)).unblocked;
    }
    this.#running = undefined;
  }

  /** Sends a commit and settles its changes. */
  #commit(
    writes: readonly Write[],
    changes: readonly NodeChange[],
    commit: () => MaybePromise<AppliedMeta[]>,
  ): Commit {
    const keys = changes.map(({ key }) => key);
    let unblock = () => {};
    const unblocked = new Promise<void>((resolve) => unblock = resolve);
    const send = () => {
      const given = attempt(commit);
      if (given instanceof Promise) this.#noteAnswer(writes, given);
      return given;
    };
    const call = this.#storage.applyChanges
      ? this.#settle(
        writes,
        keys,
        withTimeout("applyChanges", send, this.#options, this.#slowCall(keys, unblock)),
      )
      : this.#commitSingly(writes, unblock);
    const settled = call.then(() => {
      this.#commits.delete(entry);
      // Changes of the same keys can be sent now.
      if (this.#waiting.size > 0) this.#running ??= this.#commitAll(unblocked);
      unblock();
    });
    const entry = { writes, keys, unblocked, settled };
    this.#commits.add(entry);
    return entry;
  }

  /** Remembers the keys of changes until they have their answer, even if that comes after their time limit. */
  #noteAnswer(writes: readonly Write[], answer: Promise<unknown>): void {
    for (const write of writes) write.isOvertaking = this.#failed.begin(write.change.key);
    const end = () => {
      for (const { change } of writes) this.#failed.end(change.key);
    };
    answer.then(end, end);
  }

  #slowCall(keys: readonly string[], onSlow: () => void): SlowCall {
    // The commit reached the storage only after its time limit. Its waiters were woken too early and read too early.
    const onLateAnswer = () => this.#onCommit(keys, 0);
    return { share: SLOW_COMMIT_SHARE, onSlow, onLateAnswer };
  }

  async #settle(
    writes: readonly Write[],
    keys: readonly string[],
    answer: Promise<AppliedMeta[]>,
  ): Promise<void> {
    let version = 0;
    let written = keys;
    try {
      const metas = await answer;
      if (metas.some(({ unchanged }) => unchanged)) written = keys.filter((_, i) => !metas[i]?.unchanged);
      for (const { version: one, unchanged } of metas) if (!unchanged) version = Math.max(version, one);
      writes.forEach((write, i) => {
        const applied = metas[i]!;
        const meta = applied.unchanged ? toMeta(applied) : applied;
        if (write.isOvertaking) this.#failed.add(meta.key);
        else if (!applied.unchanged) this.#failed.delete(meta.key);
        for (let each: Write | undefined = write; each !== undefined; each = each.older) {
          this.#deadlines.remove(each);
          each.resolve(meta);
        }
      });
    } catch (error) {
      for (const write of writes) {
        this.#failed.add(write.change.key);
        for (let each: Write | undefined = write; each !== undefined; each = each.older) {
          this.#deadlines.remove(each);
          each.reject(error);
        }
      }
    }
    if (written.length > 0) this.#onCommit(written, version);
  }

  /** Sends changes to a storage without `applyChanges`. Each has its own time limit and outcome. */
  async #commitSingly(writes: readonly Write[], onSlow: () => void): Promise<void> {
    await Promise.all(writes.map((write) => {
      const operation = write.change.deleted ? "deleteNode" : "setNode";
      const changes = this.#toNodeChanges([write.change]);
      const keys = changes.map(({ key }) => key);
      const call = async () => {
        const metas: RealityNodeMeta[] = [];
        for (const change of changes) metas.push(await applyChange(this.#storage, change));
        return metas;
      };
      return this.#settle(
        [write],
        keys,
        withTimeout(operation, call, this.#options, this.#slowCall(keys, onSlow)),
      );
    }));
  }

  /**
   * The changes as the storage gets them, then those of their groups. A group comes after its members, so that each
   * member that changed since a version of the group has a higher version than that. It changes if one of its members
   * does.
   */
  #toNodeChanges(pending: readonly PendingChange[]): NodeChange[] {
    const changes = pending.map((change) => this.#toNodeChange(change));
    let groups: Map<string, NodeHash[] | undefined> | undefined;
    pending.forEach(({ groups: keys = [] }, i) => {
      const { unless } = changes[i]!;
      for (const key of keys) {
        groups ??= new Map();
        const others = groups.has(key) ? groups.get(key) : [];
        groups.set(key, unless && others && [...others, ...unless]);
      }
    });
    if (groups === undefined) return changes;
    const hash = `group-${randomName(16)}`;
    const updatedAt = Math.max(...pending.map((change) => change.updatedAt));
    for (const [key, unless] of groups) {
      const own = changes.findIndex((change) => change.key === key);
      if (own === -1) changes.push(unless ? { key, hash, updatedAt, unless } : { key, hash, updatedAt });
      else changes[own] = withCondition(changes[own]!, unless);
    }
    return changes;
  }

  /** The change as the storage gets it. Its condition is decided when it is sent: an earlier change may fail until then. */
  #toNodeChange(change: PendingChange): NodeChange {
    if (!change.ifChanged && !change.groups) return change;
    const { groups: _, ifChanged, ...plain } = change;
    const { key, hash, updatedAt } = change;
    if (!ifChanged) return plain;
    const { features, outbox } = this.#storage;
    // A hash from the outbox may be that of an earlier transaction: rows are not in the order of the commits.
    const isKnown = features?.conditions && outbox === undefined && !this.#failed.has(key);
    if (!isKnown) return { key, hash, updatedAt };
    return { key, hash, updatedAt, unless: [{ key, hash }] };
  }

  #countCommit(changes: number): void {
    this.#sent++;
    this.#options.metrics?.writeSizes.observe(changes);
  }

  #dequeue(): Write[] {
    const most = this.#storage.applyChanges
      ? this.#storage.features?.maxChanges ?? MAX_CHANGES
      : MAX_SINGLE_CHANGES;
    const held = new Set([...this.#commits].flatMap(({ writes }) => writes.map(({ change }) => change.key)));
    const writes: Write[] = [];
    const keys = new Set<string>();
    let conditions = 0;
    for (const [key, write] of this.#waiting) {
      if (keys.size >= most) break;
      if (held.has(key)) continue;
      const { ifChanged, groups = [] } = write.change;
      const added = [key, ...groups].filter((each) => !keys.has(each));
      conditions += ifChanged ? 1 + groups.length : 0;
      if (writes.length > 0 && Math.max(keys.size + added.length, conditions) > most) break;
      for (const each of added) keys.add(each);
      this.#waiting.delete(key);
      writes.push(write);
    }
    if (!writes.some(({ change }) => change.groups)) return writes;
    // A group that is changed by itself as well comes after its members.
    return [
      ...writes.filter(({ change }) => !isGroup(change.key)),
      ...writes.filter(({ change }) => isGroup(change.key)),
    ];
  }
}

/**
 * Changes from the outbox, then those of their groups. A group changes if one of the rows of its members is still there.
 * Each row is first in the change of its own key: groups of groups come last.
 */
function withGroups(changes: readonly PendingRows[]): OutboxChange[] {
  const members = new Map<string, PendingRows[]>();
  for (const change of changes) {
    for (const key of change.groups ?? []) members.set(key, [...members.get(key) ?? [], change]);
  }
  if (members.size === 0) return [...changes];
  const hash = `group-${randomName(16)}`;
  const plain = changes.filter(({ key }) => !members.has(key));
  const groups = [...members].map(([key, all]): OutboxChange => {
    const own = changes.find((change) => change.key === key);
    const rows = [...own?.rows ?? [], ...all.flatMap((change) => change.rows)];
    return {
      key,
      hash: own?.hash ?? hash,
      updatedAt: Math.max(...all.map(({ updatedAt }) => updatedAt)),
      rows,
    };
  }).sort((a, b) => Number(a.key.endsWith("**")) - Number(b.key.endsWith("**")));
  return [...plain.map(({ key, hash, updatedAt, rows }) => ({ key, hash, updatedAt, rows })), ...groups];
}

/** What a change becomes that replaces an earlier one which was not sent. */
function replace(older: PendingChange, newer: PendingChange): PendingChange {
  const { ifChanged, ...change } = newer;
  const groups = older.groups && [...new Set([...older.groups, ...newer.groups ?? []])];
  const remains = ifChanged && older.ifChanged && older.hash === newer.hash;
  return { ...change, ...(remains ? { ifChanged } : {}), ...(groups ? { groups } : {}) };
}

/** A change that is written as well if one of its members is; `undefined`: in any case. */
function withCondition(change: NodeChange, members: readonly NodeHash[] | undefined): NodeChange {
  const { unless, ...plain } = change;
  return unless && members ? { ...plain, unless: [...unless, ...members] } : plain;
}

/** The meta alone. */
function toMeta({ unchanged: _, ...meta }: AppliedMeta): RealityNodeMeta {
  return meta;
}

async function applyChange(storage: RealityStorage, change: NodeChange): Promise<RealityNodeMeta> {
  const { key, hash, updatedAt } = change;
  if (change.deleted) {
    await storage.deleteNode(key);
    return { key, version: 0, hash: "", updatedAt, deleted: true };
  }
  const meta = { key, version: await storage.incrementVersion(key), hash, updatedAt };
  await storage.setNode(key, meta);
  return meta;
}
