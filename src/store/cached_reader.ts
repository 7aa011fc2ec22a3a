/**
 * Keeps nodes in memory and revalidates them with one storage call per moment.
 *
 * @module
 */
import type { StorageCallOptions } from "./timeout.ts";
import type { ReadBatcher } from "./read_batcher.ts";
import { slowRead, withTimeout } from "./timeout.ts";
import { type HistoryMoment, isConfirmed, isSameData, lateMarksSince, laterOf, markOf } from "./history.ts";
import type { ReadableStorage, StorageChanges, StorageMoment, StorageReading } from "./contract.ts";
import type { RealityNodeMeta } from "../types.ts";

/** The cache keeps at most this many keys. The key that was read first is evicted first. */
const MAX_KEYS = 100_000;

/**
 * A revalidation that finds this many changes clears the cache. Nodes are then read again when they are requested.
 */
const MAX_CHANGES = 500;

/** Reads the state of keys: a {@linkcode ReadBatcher}, or a cache in front of it. */
export type NodeReader = Pick<ReadBatcher, "read" | "sent">;

/** Whether nodes of a storage can be cached. Its history must be ordered and include deletions. */
export function canCache(storage: ReadableStorage): boolean {
  const { ordered, tombstones, exclusive } = storage.features ?? {};
  // No other process can change an exclusive storage, so its nodes are in memory already.
  return storage.readChanges !== undefined && ordered === true && tombstones === true && exclusive !== true;
}

/**
 * Answers from memory, after asking the storage *what changed after the version that the cache is valid for?* One
 * such call serves every request that arrived before it was sent, so no answer is older than its request. Keys that
 * are not in the cache are read through the reader.
 */
export class CachedReader implements NodeReader {
  readonly #storage: ReadableStorage;
  readonly #reader: ReadBatcher;
  readonly #options: StorageCallOptions;
  /** Key → its node; `null` for a key that is known to have no node. */
  readonly #memory = new Map<string, RealityNodeMeta | null>();
  /** The moment for which the whole cache is valid. */
  #position: StorageMoment | undefined;
  /** How often the cache was cleared. */
  #generation = 0;
  /** Cached keys that were read after the position. */
  readonly #fresh = new Set<string>();
  /** The latest moment of the nodes of these keys; undefined if there are no such keys. */
  #newest: HistoryMoment | null | undefined;
  #refreshing: Promise<boolean> | undefined;
  #nextRefresh: Promise<boolean> | undefined;
  #sent = 0;

  /**
   * @param storage The storage whose history is read.
   * @param reader Reads keys that are not in the cache.
   * @param options Clock, time limit and callbacks of storage calls.
   */
  constructor(storage: ReadableStorage, reader: ReadBatcher, options: StorageCallOptions) {
    this.#storage = storage;
    this.#reader = reader;
    this.#options = options;
  }

  /** How many storage calls have been made. */
  get sent(): number {
    return this.#sent + this.#reader.sent;
  }

  /**
   * Reads the current state of some keys.
   *
   * @returns A reading that is not older than this call.
   * @throws {StorageError} When the storage fails or takes too long.
   */
  async read(keys: readonly string[]): Promise<StorageReading> {
    const current = await this.#refresh();
    const position = this.#position;
    if (!current || position === undefined) return await this.#readAll(keys);
    const nodes = new Map<string, RealityNodeMeta>();
    const missing: string[] = [];
    for (const key of keys) {
      const node = this.#memory.get(key);
      if (node === undefined) missing.push(key);
      else if (node !== null) nodes.set(key, node);
    }
    const newest = laterOf(position, this.#newest);
    if (missing.length === 0) return toReading(position, nodes, newest);
    const reading = await this.#readAll(missing);
    // The epoch changed in between, or a part of the history was lost. The cached nodes may be wrong.
    if (!isSameData(reading, position) || !isConfirmed(reading, position.maxVersion)) {
      return await this.#readAll(keys);
    }
    for (const key of missing) {
      const node = reading.nodes.get(key);
      if (node !== undefined) nodes.set(key, node);
    }
    // Each of these nodes is at least as new as the earlier of the two moments.
    return toReading(position, nodes, laterOf(newest, latestOf(reading)));
  }

  /** Reads rows. Adds them to the cache unless the cache has moved past them in the meantime. */
  async #readAll(keys: readonly string[]): Promise<StorageReading> {
    const [before, generation] = [this.#position, this.#generation];
    const reading = await this.#reader.read(keys);
    const position = this.#position;
    // Rows from before the cache was cleared may belong to a lost history. Rows must also not be older than the last
    // node that was published below the counter.
    const fits = before !== undefined && position !== undefined && generation === this.#generation &&
      isSameData(position, reading) && position.late <= reading.late &&
      isConfirmed(reading, position.maxVersion);
    if (!fits) return reading;
    for (const key of keys) this.#remember(key, reading.nodes.get(key) ?? null);
    const newest = latestOf(reading);
    if (newest?.maxVersion !== position.maxVersion) {
      for (const key of keys) this.#fresh.add(key);
      this.#newest = laterOf(newest, this.#newest);
    }
    return reading;
  }

  #remember(key: string, node: RealityNodeMeta | null): void {
    this.#memory.set(key, node);
    if (this.#memory.size <= MAX_KEYS) return;
    for (const oldest of this.#memory.keys()) {
      this.#memory.delete(oldest);
      break;
    }
  }

  /**
   * Revalidates the cache, in one call with every other request that arrives before the call is sent. If the call has
   * no answer after a part of its time limit, the next call may start, and this one resolves to false.
   *
   * @returns Whether the cache is valid now.
   */
  #refresh(): Promise<boolean> {
    this.#nextRefresh ??= this.#refreshAfter(this.#refreshing);
    return this.#nextRefresh;
  }

  async #refreshAfter(previous: Promise<boolean> | undefined): Promise<boolean> {
    // Requests of this moment, and those that arrive during the previous call, share the next one.
    await previous;
    await null;
    this.#refreshing = this.#nextRefresh;
    this.#nextRefresh = undefined;
    return await this.#send();
  }

  #send(): Promise<boolean> {
    this.#sent++;
    const position = this.#position;
    const from = position?.maxVersion ?? Number.MAX_SAFE_INTEGER;
    const call = () => this.#storage.readChanges!(from, MAX_CHANGES);
    return new Promise((resolve) => {
      withTimeout("readChanges", call, this.#options, slowRead(() => resolve(false)))
        // The failure was reported. The caller reads the rows instead, and that read fails if the storage does not
        // answer.
        .then((changes) => {
          // If too many rows of the outbox are pending, those of the caller's keys are applied when the caller reads the rows.
          // The cache moves on nevertheless: otherwise each call would return all changes since the first of these rows.
          const { outbox, ...current } = changes;
          resolve(this.#apply(position, current) && outbox === undefined);
        }, () => resolve(false));
    });
  }

  /**
   * Applies changes to the cache.
   *
   * @param positionAtSend The position of the cache when the call was sent.
   * @returns Whether the cache is as new as the changes.
   */
  #apply(positionAtSend: StorageMoment | undefined, { nodes, ...moment }: StorageChanges): boolean {
    const position = this.#position;
    const late = position === undefined ? null : lateMarksSince(moment, position.late);
    const follows = position !== undefined && late !== null && isSameData(position, moment) &&
      isConfirmed(moment, position.maxVersion) &&
      moment.collectedVersion <= Math.max(position.maxVersion, position.collectedVersion) &&
      nodes.length < MAX_CHANGES;
    // A later call was answered first. These changes may be older than the cache, so they must not be applied to it.
    if (
      positionAtSend !== position &&
      !(follows && positionAtSend !== undefined && positionAtSend.maxVersion <= position.maxVersion)
    ) {
      return false;
    }
    this.#position = moment;
    if (!follows) {
      this.#memory.clear();
      this.#generation++;
    } else if (
      this.#newest !== undefined && laterOf(this.#newest, moment)?.maxVersion !== moment.maxVersion
    ) {
      // The changes are older than these rows, or the history that these rows belong to was lost.
      for (const key of this.#fresh) this.#memory.delete(key);
    }
    this.#fresh.clear();
    this.#newest = undefined;
    if (late !== null && late.size > 0) {
      for (const key of this.#memory.keys()) if (late.has(markOf(key))) this.#memory.delete(key);
    }
    for (const node of nodes) {
      if (this.#memory.has(node.key)) this.#memory.set(node.key, node.deleted ? null : node);
    }
    return true;
  }
}

/** Makes a reading of one moment whose nodes may be as new as another moment. */
function toReading(
  moment: StorageMoment,
  nodes: StorageReading["nodes"],
  newest: HistoryMoment | null,
): StorageReading {
  return newest?.maxVersion === moment.maxVersion ? { ...moment, nodes } : { ...moment, nodes, newest };
}

/** The latest moment that nodes of a reading belong to. */
function latestOf({ maxVersion, recent, newest }: StorageReading): HistoryMoment | null {
  return laterOf({ maxVersion, recent }, newest);
}
