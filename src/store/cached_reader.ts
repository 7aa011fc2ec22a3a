/**
 * Nodes kept in memory, made current by one question per moment.
 *
 * @module
 */
import type { StorageCallOptions } from "./timeout.ts";
import type { ReadBatcher } from "./read_batcher.ts";
import { slowRead, withTimeout } from "./timeout.ts";
import { type HistoryMoment, isConfirmed, isSameData, lateMarksSince, laterOf, markOf } from "./history.ts";
import type { RealityStorage, StorageChanges, StorageMoment, StorageReading } from "./contract.ts";
import type { RealityNodeMeta } from "../types.ts";

/** So many keys are remembered at most; who was read first is forgotten first. */
const MAX_KEYS = 100_000;

/** A question that finds so many changes is a flood: everything is forgotten, and read again as it is asked for. */
const MAX_CHANGES = 500;

/** How a server asks for the state of keys: its {@linkcode ReadBatcher}, or a fence before it. */
export type NodeReader = Pick<ReadBatcher, "read" | "sent">;

/** Whether a storage's history can serve as a fence: ordered, with deletions, and worth it. */
export function canCache(storage: RealityStorage): boolean {
  const { ordered, tombstones, exclusive } = storage.features ?? {};
  // Nobody else can change an exclusive storage: it has its nodes in memory itself.
  return storage.readChanges !== undefined && ordered === true && tombstones === true && exclusive !== true;
}

/**
 * Answers from memory, after asking the storage *what came after the version that my memory is of?* A question
 * serves all who asked before it was sent, so no answer is older than its question. Keys not met before are
 * read through the reader.
 */
export class CachedReader implements NodeReader {
  readonly #storage: RealityStorage;
  readonly #reader: ReadBatcher;
  readonly #options: StorageCallOptions;
  /** Key → its node, or `null` for one that is known not to be there. */
  readonly #memory = new Map<string, RealityNodeMeta | null>();
  /** What the memory is right about: everything it holds was so at this moment. */
  #position: StorageMoment | undefined;
  /** How often the memory was emptied. */
  #generation = 0;
  /** The keys in memory that were read later than the position. */
  readonly #fresh = new Set<string>();
  /** The last moment that one of them is of; undefined where there are none. */
  #newest: HistoryMoment | null | undefined;
  #refreshing: Promise<boolean> | undefined;
  #nextRefresh: Promise<boolean> | undefined;
  #sent = 0;

  /**
   * @param storage Whose history is asked.
   * @param reader Reads what is not in memory.
   * @param options Clock, time limit, and who hears of failures.
   */
  constructor(storage: RealityStorage, reader: ReadBatcher, options: StorageCallOptions) {
    this.#storage = storage;
    this.#reader = reader;
    this.#options = options;
  }

  /** How many questions and reads have been sent. */
  get sent(): number {
    return this.#sent + this.#reader.sent;
  }

  /**
   * The current state of some keys.
   *
   * @returns A reading as of a moment after this call.
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
    // Another life of the data began in between, or a part of the history was lost: what came from memory may be no more.
    if (!isSameData(reading, position) || !isConfirmed(reading, position.maxVersion)) {
      return await this.#readAll(keys);
    }
    for (const key of missing) {
      const node = reading.nodes.get(key);
      if (node !== undefined) nodes.set(key, node);
    }
    // All of these nodes are as new as the earlier of the two moments.
    return toReading(position, nodes, laterOf(newest, latestOf(reading)));
  }

  /** Reads rows, and remembers them where the memory has not gone on past them meanwhile. */
  async #readAll(keys: readonly string[]): Promise<StorageReading> {
    const [before, generation] = [this.#position, this.#generation];
    const reading = await this.#reader.read(keys);
    const position = this.#position;
    // What was read before the memory was emptied may be of a history that is lost. What was published below the counter
    // since the rows were read is not among them.
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
   * Asks, together with everybody who asks before the question is sent; says whether memory is now right. A question
   * without an answer lets the next one go after a part of its time, and says no to those who wait for it.
   */
  #refresh(): Promise<boolean> {
    this.#nextRefresh ??= this.#refreshAfter(this.#refreshing);
    return this.#nextRefresh;
  }

  async #refreshAfter(previous: Promise<boolean> | undefined): Promise<boolean> {
    // Those who ask in this moment, or while the question before is under way, ask together.
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
        // A failure was reported; the reader has the last word on whether the storage answers.
        .then((changes) => resolve(this.#apply(position, changes)), () => resolve(false));
    });
  }

  /**
   * Makes the memory right.
   *
   * @param positionAtSend What the memory was of when the question was sent.
   * @returns Whether the memory is as new as the answer.
   */
  #apply(positionAtSend: StorageMoment | undefined, { nodes, ...moment }: StorageChanges): boolean {
    const position = this.#position;
    const late = position === undefined ? null : lateMarksSince(moment, position.late);
    const follows = position !== undefined && late !== null && isSameData(position, moment) &&
      isConfirmed(moment, position.maxVersion) &&
      moment.collectedVersion <= Math.max(position.maxVersion, position.collectedVersion) &&
      nodes.length < MAX_CHANGES;
    // A later question was answered first. This answer may be the older one: then it says nothing of the memory.
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
      // The question was answered before these rows were read, or the history that they are of was lost since.
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

/** A reading of a moment, with nodes of moments up to another one. */
function toReading(
  moment: StorageMoment,
  nodes: StorageReading["nodes"],
  newest: HistoryMoment | null,
): StorageReading {
  return newest?.maxVersion === moment.maxVersion ? { ...moment, nodes } : { ...moment, nodes, newest };
}

/** The last moment that nodes of a reading are of. */
function latestOf({ maxVersion, recent, newest }: StorageReading): HistoryMoment | null {
  return laterOf({ maxVersion, recent }, newest);
}
