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
  isMeshStorage,
  type MeshStorage,
  type NodeChange,
  type NodeMerge,
  type RealityStorage,
  type ReplicatedNode,
  type VersionVector,
} from "./contract.ts";
import { type SlowCall, type StorageCallOptions, timeoutError, withTimeout } from "./timeout.ts";

/**
 * The same for a commit. It is longer, so that a storage where commits queue for a lock is not sent many at once: at
 * most two are under way.
 */
const SLOW_COMMIT_SHARE = 1 / 2;

/**
 * How long a change that has to wait for its commit may take in all, as a multiple of `storageTimeout`: one of a key
 * that an unanswered commit holds is sent after one `storageTimeout`, and needs some time for its own answer.
 */
const QUEUED_TIMEOUT_FACTOR = 1.25;

/** So many changes go in together when the storage does not say how many it takes. */
const MAX_CHANGES = 1000;

/** So many changes at once go to a storage that takes them one by one. */
const MAX_SINGLE_CHANGES = 16;

/** One change that somebody asked for. Its promise settles with its commit, or when its time is up. */
class Write implements Deadline {
  readonly change: NodeChange;
  readonly promise: Promise<RealityNodeMeta>;
  /** Settles the promise. */
  resolve!: (meta: RealityNodeMeta) => void;
  reject!: (error: unknown) => void;
  /** The change of the same key that this one stands for as well. */
  readonly older: Write | undefined;
  readonly #onExpire: (write: Write) => void;
  dueAt = 0;
  before: Deadline | undefined = undefined;
  after: Deadline | undefined = undefined;

  constructor(change: NodeChange, older: Write | undefined, onExpire: (write: Write) => void) {
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

/** Changes that are on their way to the storage together. */
interface Commit {
  readonly writes: readonly Write[];
  /** Settles when it has its answer, has failed, or no longer holds up those after it. Never rejects. */
  readonly unblocked: Promise<void>;
  /** Settles when it has its answer or has failed. Never rejects. */
  readonly settled: Promise<void>;
}

/**
 * Group commit: changes that wait while another commit is under way go in together. Several changes of one
 * key become one, the last; each caller's promise settles when the storage has it, or when its time is up.
 *
 * A commit that is not answered after half of `storageTimeout` lets the next one go, except for the keys that it
 * names: these wait until it is answered or given up. One that was given up may still reach the storage, also after
 * a later change of the same key: then the storage's order of versions decides which hash stays, and clients are told.
 */
export class WriteBatcher {
  readonly #storage: RealityStorage;
  readonly #options: StorageCallOptions;
  readonly #onCommit: (keys: readonly string[], version: number) => void;
  readonly #waiting = new Map<string, Write>();
  /** When changes that had to wait are given up. */
  readonly #deadlines: Deadlines;
  /** Every commit that has no answer yet. */
  readonly #commits = new Set<Commit>();
  #running: Promise<void> | undefined;
  #sent = 0;

  /**
   * @param storage Where the changes go.
   * @param options Clock, time limit, and who hears of failures.
   * @param onCommit Hears the keys of every commit, also of a failed one, since it may have reached the storage;
   *   and the highest version in it, 0 for a failed one.
   */
  constructor(
    storage: RealityStorage,
    options: StorageCallOptions,
    onCommit: (keys: readonly string[], version: number) => void,
  ) {
    this.#storage = storage;
    this.#options = options;
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
   * @returns The meta as written, once the storage has it: at once from a live storage that gives it so.
   * @throws {StorageError} When the storage fails or takes too long; rejects with it. The change may be there or not.
   */
  write(change: NodeChange): MaybePromise<RealityNodeMeta> {
    const { features, applyChanges } = this.#storage;
    const isLive = features?.live && applyChanges !== undefined && !this.#isBusy;
    return isLive ? this.#writeLive(change) : this.#queue(change);
  }

  /** Whether a change has to wait for others, or may have to. */
  get #isBusy(): boolean {
    return this.#running !== undefined || this.#commits.size > 0;
  }

  /** Makes many changes, together with those of this moment. */
  writeMany(changes: readonly NodeChange[]): Promise<RealityNodeMeta>[] {
    return changes.map((change) => this.#queue(change));
  }

  /** There is nothing to be won by waiting for others where a commit is over before it has begun. */
  #writeLive(change: NodeChange): MaybePromise<RealityNodeMeta> {
    this.#countCommit(1);
    const given = attempt(() => this.#storage.applyChanges!([change]));
    if (given instanceof Promise) {
      const write = this.#createWrite(change, undefined);
      this.#running = this.#commitAll(this.#commit([write], () => given).unblocked);
      return write.promise;
    }
    this.#options.onOutcome("applyChanges", undefined, 0);
    const meta = given[0] as RealityNodeMeta;
    this.#onCommit([change.key], meta.version);
    return meta;
  }

  #queue(change: NodeChange): Promise<RealityNodeMeta> {
    // The newest state stands for the older one; it takes the newest place in the order as well.
    const older = this.#waiting.get(change.key);
    if (older !== undefined) this.#waiting.delete(change.key);
    const write = this.#createWrite(change, older);
    this.#waiting.set(change.key, write);
    // One that is sent at once has the time limit of its commit.
    if (this.#commits.size > 0) this.#deadlines.add(write);
    // The changes of this moment are all asked for before the first commit goes.
    this.#running ??= this.#commitAll(Promise.resolve());
    return write.promise;
  }

  #createWrite(change: NodeChange, older: Write | undefined): Write {
    return new Write(change, older, this.#giveUp);
  }

  /** Refuses a change whose time is up; one that was not sent yet will not be. */
  readonly #giveUp = (write: Write): void => {
    const { key } = write.change;
    if (this.#waiting.get(key) === write) this.#waiting.delete(key);
    const error = new StorageError("applyChanges", timeoutError(this.#options));
    for (let each: Write | undefined = write; each !== undefined; each = each.older) each.reject(error);
  };

  /** The nodes and tombstones of these keys, with their stamps. */
  readReplicated(keys: readonly string[]): Promise<Map<string, ReplicatedNode>> {
    return withTimeout("readReplicated", () => this.#mesh().readReplicated(keys), this.#options);
  }

  /**
   * Writes nodes of other storages, as many at once as the storage takes.
   *
   * @param collected The swept tombstones that were known when the takes were judged.
   * @returns For each the meta as written; `null` where another node was there than it was judged against.
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

  /** Settles once every change asked for so far has reached the storage or failed. */
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
    throw new TypeError("This storage keeps no stamps: it cannot take in what another one has");
  }

  async #commitAll(first: Promise<void>): Promise<void> {
    await first;
    for (let writes = this.#dequeue(); writes.length > 0; writes = this.#dequeue()) {
      for (const write of this.#waiting.values()) if (write.after === undefined) this.#deadlines.add(write);
      this.#countCommit(writes.length);
      const changes = writes.map(({ change }) => change);
      await this.#commit(writes, () => this.#storage.applyChanges!(changes)).unblocked;
    }
    this.#running = undefined;
  }

  /** Makes a commit, and tells everybody who asked for a part of it what came of that. */
  #commit(
    writes: readonly Write[],
    commit: () => MaybePromise<RealityNodeMeta[]>,
  ): Commit {
    let unblock = () => {};
    const unblocked = new Promise<void>((resolve) => unblock = resolve);
    const call = this.#storage.applyChanges
      ? this.#settle(
        writes,
        withTimeout("applyChanges", commit, this.#options, this.#slowCall(writes, unblock)),
      )
      : this.#commitSingly(writes, unblock);
    const settled = call.then(() => {
      this.#commits.delete(entry);
      // What it held can go now.
      if (this.#waiting.size > 0) this.#running ??= this.#commitAll(unblocked);
      unblock();
    });
    const entry = { writes, unblocked, settled };
    this.#commits.add(entry);
    return entry;
  }

  #slowCall(writes: readonly Write[], onSlow: () => void): SlowCall {
    // One that was given up reaches the storage only now: who waits has looked too early.
    const onLateAnswer = () => this.#onCommit(writes.map(({ change }) => change.key), 0);
    return { share: SLOW_COMMIT_SHARE, onSlow, onLateAnswer };
  }

  async #settle(writes: readonly Write[], answer: Promise<RealityNodeMeta[]>): Promise<void> {
    let version = 0;
    try {
      const metas = await answer;
      writes.forEach((write, i) => {
        const meta = metas[i]!;
        version = Math.max(version, meta.version);
        for (let each: Write | undefined = write; each !== undefined; each = each.older) {
          this.#deadlines.remove(each);
          each.resolve(meta);
        }
      });
    } catch (error) {
      for (const write of writes) {
        for (let each: Write | undefined = write; each !== undefined; each = each.older) {
          this.#deadlines.remove(each);
          each.reject(error);
        }
      }
    }
    this.#onCommit(writes.map(({ change }) => change.key), version);
  }

  /** Makes changes of a storage that takes them one by one; each has its own time limit and outcome. */
  async #commitSingly(writes: readonly Write[], onSlow: () => void): Promise<void> {
    await Promise.all(writes.map((write) => {
      const operation = write.change.deleted ? "deleteNode" : "setNode";
      const call = async () => [await applyChange(this.#storage, write.change)];
      return this.#settle(
        [write],
        withTimeout(operation, call, this.#options, this.#slowCall([write], onSlow)),
      );
    }));
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
    for (const [key, write] of this.#waiting) {
      if (writes.length >= most) break;
      if (held.has(key)) continue;
      this.#waiting.delete(key);
      writes.push(write);
    }
    return writes;
  }
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
