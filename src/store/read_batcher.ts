/**
 * Shares storage reads: requests of the same moment are answered by one read.
 *
 * @module
 */
import { attempt, type MaybePromise } from "../maybe_promise.ts";
import type { ReadableStorage, StorageReading } from "./contract.ts";
import { isGroup } from "./groups.ts";
import { slowRead, type StorageCallOptions, withTimeout } from "./timeout.ts";

/** At most this many reads run at the same time. The second one lets a request pass a slow read. */
const MAX_READS = 2;

/** A read with this many keys accepts no more requests. */
const MAX_READ_KEYS = 20_000;

interface Deferred<T> {
  readonly promise: Promise<T>;
  readonly resolve: (value: T) => void;
  readonly reject: (error: unknown) => void;
}

interface Read extends Deferred<StorageReading> {
  /** The keys of the first request as given; a set once another request joins. */
  keys: readonly string[] | Set<string>;
  /** Whether it may have to wait until all rows of the outbox are applied. */
  readonly isSlow: boolean;
}

/**
 * Reads the storage. Requests that arrive at the same moment share one read. A read serves only requests that arrived
 * before it was sent, so no answer is older than its request.
 */
export class ReadBatcher {
  readonly #storage: ReadableStorage;
  readonly #options: StorageCallOptions;
  readonly #queue: Read[] = [];
  /** The current reading of a live storage. */
  #current: MaybePromise<StorageReading> | undefined;
  #running = 0;
  #scheduled = false;
  #sent = 0;

  /**
   * @param storage The storage to read.
   * @param options Clock, time limit and callbacks of storage calls.
   */
  constructor(storage: ReadableStorage, options: StorageCallOptions) {
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
   * @param keys No key twice. The list must not change until the answer.
   * @returns A reading that was sent after this call. It may contain other keys as well. A live storage may return it
   *   without a promise.
   * @throws {StorageError} When the storage fails or takes too long; rejects with it.
   */
  read(keys: readonly string[]): MaybePromise<StorageReading> {
    if (this.#storage.features?.live) return this.#current ??= this.#readLive(keys);
    const last = this.#queue.at(-1);
    // A row of any key may change a group. Requests for other keys do not wait for that.
    const isSlow = this.#storage.outbox !== undefined && keys.some(isGroup);
    if (last?.isSlow === isSlow && countOf(last.keys) + keys.length <= MAX_READ_KEYS) {
      if (!(last.keys instanceof Set)) last.keys = new Set(last.keys);
      for (const key of keys) last.keys.add(key);
      return last.promise;
    }
    const read = { keys, isSlow, ...deferred<StorageReading>() };
    this.#queue.push(read);
    this.#schedule();
    return read.promise;
  }

  /** Stops sharing the current reading: the storage has changed, or the moment is over. */
  readonly expire = (): void => {
    this.#current = undefined;
  };

  /** A live reading looks up any node in its current state, so one reading serves all requests of this moment. */
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
    // All requests of this moment have arrived when this microtask runs.
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
  storage: ReadableStorage,
  keys: readonly string[],
): MaybePromise<StorageReading> {
  return storage.readNodes ? storage.readNodes(keys) : readParts(storage, keys);
}

async function readParts(storage: ReadableStorage, keys: readonly string[]): Promise<StorageReading> {
  // Read the counter before the nodes. Then the nodes are at least as new as the counter, and a cursor made from it
  // skips nothing.
  const maxVersion = await storage.getMaxVersion();
  const nodes = await storage.getNodes([...keys]);
  const { epoch, replicaId } = await storage.getIdentity?.() ?? { epoch: "", replicaId: "" };
  // Such a storage does not report what was published below the counter, so no stream can resume on this reading. It
  // does not report collected tombstones either, so any may have been collected.
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
