/**
 * Shares storage reads: requests of the same moment are answered by one read.
 *
 * @module
 */
import { attempt, type MaybePromise } from "../maybe_promise.ts";
import type { RealityStorage, StorageReading } from "./contract.ts";
import { slowRead, type StorageCallOptions, withTimeout } from "./timeout.ts";

/** So many reads may be under way at once: a second one lets a question pass by a slow answer. */
const MAX_READS = 2;

/** A read that has collected so many keys takes no more questions. */
const MAX_READ_KEYS = 20_000;

interface Deferred<T> {
  readonly promise: Promise<T>;
  readonly resolve: (value: T) => void;
  readonly reject: (error: unknown) => void;
}

interface Read extends Deferred<StorageReading> {
  /** The keys of the first who asked, as they were given; a set once somebody else joins. */
  keys: readonly string[] | Set<string>;
}

/**
 * Reads the storage for everybody who asks. Questions that wait at the same moment share one read, and a
 * read serves only those who asked before it was sent: nobody gets an answer older than the question.
 */
export class ReadBatcher {
  readonly #storage: RealityStorage;
  readonly #options: StorageCallOptions;
  readonly #queue: Read[] = [];
  /** The reading of this moment, of a live storage. */
  #current: MaybePromise<StorageReading> | undefined;
  #running = 0;
  #scheduled = false;
  #sent = 0;

  /**
   * @param storage Where the nodes are.
   * @param options Clock, time limit, and who hears of failures.
   */
  constructor(storage: RealityStorage, options: StorageCallOptions) {
    this.#storage = storage;
    this.#options = options;
  }

  /** How many reads have been sent. */
  get sent(): number {
    return this.#sent;
  }

  /**
   * Reads the current state of some keys.
   *
   * @param keys No key twice; the list must stay as it is until the answer.
   * @returns A reading sent after this call; it may hold other keys as well. At once from a storage that gives it so.
   * @throws {StorageError} When the storage fails or takes too long; rejects with it.
   */
  read(keys: readonly string[]): MaybePromise<StorageReading> {
    if (this.#storage.features?.live) return this.#current ??= this.#readLive(keys);
    const last = this.#queue.at(-1);
    if (last !== undefined && countOf(last.keys) + keys.length <= MAX_READ_KEYS) {
      if (!(last.keys instanceof Set)) last.keys = new Set(last.keys);
      for (const key of keys) last.keys.add(key);
      return last.promise;
    }
    const read = { keys, ...deferred<StorageReading>() };
    this.#queue.push(read);
    this.#schedule();
    return read.promise;
  }

  /** What was read before is shared no longer: the storage has changed, or the moment is over. */
  readonly expire = (): void => {
    this.#current = undefined;
  };

  /** Every node can be looked up in a reading, as it stands then: one serves all who ask in this moment. */
  #readLive(keys: readonly string[]): MaybePromise<StorageReading> {
    queueMicrotask(this.expire);
    this.#sent++;
    this.#options.metrics?.readSizes.observe(keys.length);
    const given = attempt(() => readStorage(this.#storage, keys));
    if (given instanceof Promise) return withTimeout("getNodes", () => given, this.#options);
    this.#options.onOutcome("getNodes", undefined, 0);
    return given;
  }

  #schedule(): void {
    if (this.#scheduled || this.#running >= MAX_READS) return;
    this.#scheduled = true;
    // The questions of this moment are all asked before a microtask queued now has its turn.
    queueMicrotask(() => {
      this.#scheduled = false;
      while (this.#running < MAX_READS && this.#queue.length > 0) this.#send(this.#queue.shift()!);
    });
  }

  #send({ keys, resolve, reject }: Read): void {
    this.#running++;
    this.#sent++;
    this.#options.metrics?.readSizes.observe(countOf(keys));
    let isCounted = true;
    const leave = () => {
      if (!isCounted) return;
      isCounted = false;
      this.#running--;
      if (this.#queue.length > 0) this.#schedule();
    };
    const list = keys instanceof Set ? [...keys] : keys;
    withTimeout("getNodes", () => readStorage(this.#storage, list), this.#options, slowRead(leave))
      .then((reading) => {
        resolve(reading);
        leave();
      }, (error) => {
        reject(error);
        leave();
      });
  }
}

function readStorage(
  storage: RealityStorage,
  keys: readonly string[],
): MaybePromise<StorageReading> {
  return storage.readNodes ? storage.readNodes(keys) : readParts(storage, keys);
}

async function readParts(storage: RealityStorage, keys: readonly string[]): Promise<StorageReading> {
  // The counter first: then the nodes are at least as new as it says, and a cursor made of it skips nothing.
  const maxVersion = await storage.getMaxVersion();
  const nodes = await storage.getNodes([...keys]);
  const { epoch, replicaId } = await storage.getIdentity?.() ?? { epoch: "", replicaId: "" };
  // Nobody says whether something came into the past: no stream resumes on this. Nor what was swept: it may be anything.
  return { nodes, maxVersion, epoch, replicaId, collectedVersion: maxVersion, late: 0 };
}

function countOf(keys: readonly string[] | Set<string>): number {
  return keys instanceof Set ? keys.size : keys.length;
}

/** `Promise.withResolvers`, which Node 20 does not have. */
function deferred<T>(): Deferred<T> {
  let resolve!: (value: T) => void;
  let reject!: (error: unknown) => void;
  const promise = new Promise<T>((yes, no) => {
    resolve = yes;
    reject = no;
  });
  return { promise, resolve, reject };
}
