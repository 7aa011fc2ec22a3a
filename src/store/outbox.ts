/**
 * Applies the rows of a storage's outbox before the storage is read. Every read of a server goes through here, so that a
 * client that asks after a transaction was committed is told what that transaction changed.
 *
 * @module
 */
import { isGroup } from "./groups.ts";
import type { Clock } from "../clock.ts";
import { StorageError } from "../errors.ts";
import type { Changes, FaultyRow } from "./changes.ts";
import type {
  ChangeListener,
  ReadableStorage,
  RealityStorage,
  StorageChanges,
  StorageOutbox,
  StorageReading,
} from "./contract.ts";
import { kindOf } from "./node.ts";
import { type StorageCallOptions, withTimeout } from "./timeout.ts";

/** The most rows that are applied at once: some ten milliseconds. */
const PIECE = 500;

/** A row that is still there after this many attempts cannot be applied. */
const MAX_ATTEMPTS = 5;

/** Before a piece, the background drain pauses for about as long as the last one took, and at least for this many milliseconds. */
const MIN_PAUSE = 1;

/** What applies rows. */
export interface OutboxDrainOptions {
  readonly changes: Pick<Changes, "applyRows">;
  readonly calls: StorageCallOptions;
  /** Receives an error for each row that was set aside, or whose change got a random hash in place of a wrong one. */
  readonly report: (error: StorageError) => void;
  /** Whether nothing may continue after a request was answered. Then no rows are applied in the background. */
  readonly isRequestScoped?: boolean;
}

/** A pass over the pending rows, for all questions that arrived before it started. */
interface Pass {
  upTo: number;
  readonly isComplete: Promise<boolean>;
}

/**
 * Applies pending rows. A question whose reading has a pending row waits until the rows that were committed before it are
 * changes. If there are many, it waits for those of its own keys only, and the rest is applied in the background.
 */
export class OutboxDrain {
  readonly #outbox: StorageOutbox;
  readonly #options: OutboxDrainOptions;
  readonly #clock: Clock;
  #running: Promise<boolean> | undefined;
  #next: Pass | undefined;
  #background: Promise<void> | undefined;
  #hasEnded = false;

  /**
   * @param outbox The outbox.
   * @param options How rows are applied.
   */
  constructor(outbox: StorageOutbox, options: OutboxDrainOptions) {
    this.#outbox = outbox;
    this.#options = options;
    this.#clock = options.calls.clock;
  }

  /**
   * Applies the rows that a question has to wait for.
   *
   * @param upTo The highest pending id in the reading of the question.
   * @param keys The keys of the question.
   * @returns Whether all rows up to that id were applied. Otherwise those of the keys were.
   * @throws {StorageError} When the storage fails; rejects with it. The question must fail as well.
   */
  async drain(upTo: number, keys: readonly string[]): Promise<boolean> {
    if (this.#background === undefined && await this.#join(upTo)) return true;
    if (keys.length > 0) await this.#drainKeys(upTo, keys);
    return false;
  }

  /** Ends the background drain. Resolves when nothing is running. */
  async close(): Promise<void> {
    this.#hasEnded = true;
    await Promise.allSettled([this.#running, this.#next?.isComplete, this.#background]);
  }

  /** Joins the next pass. The running one may already have read past a row that was committed since. */
  #join(upTo: number): Promise<boolean> {
    this.#next ??= { upTo, isComplete: this.#startAfter(this.#running) };
    this.#next.upTo = Math.max(this.#next.upTo, upTo);
    return this.#next.isComplete;
  }

  async #startAfter(previous: Promise<boolean> | undefined): Promise<boolean> {
    // Questions of this moment, and those that arrive during the previous pass, share this one.
    await previous?.catch(() => {});
    await null;
    const pass = this.#next!;
    this.#running = pass.isComplete;
    this.#next = undefined;
    const isLast = await this.#applyPiece(pass.upTo);
    if (!isLast && !this.#options.isRequestScoped && !this.#hasEnded) {
      this.#background ??= this.#drainRest().finally(() => this.#background = undefined);
    }
    return isLast;
  }

  /** Applies all rows, piece by piece. The pauses let other changes and reads pass. */
  async #drainRest(): Promise<void> {
    try {
      let took = 0;
      for (let isLast = false; !isLast && !this.#hasEnded;) {
        // Servers that do the same get out of step.
        const pause = Math.max(took * (0.5 + this.#clock.random()), MIN_PAUSE);
        await new Promise<void>((resolve) => void this.#clock.after(pause, resolve));
        const startedAt = this.#clock.elapsed();
        isLast = await this.#applyPiece(Number.MAX_SAFE_INTEGER);
        took = this.#clock.elapsed() - startedAt;
      }
    } catch {
      // The failure was reported. The next question begins again.
    }
  }

  async #drainKeys(upTo: number, keys: readonly string[]): Promise<void> {
    // A row of any key may change a group.
    const some = keys.some(isGroup) ? undefined : keys;
    while (!await this.#applyPiece(upTo, some));
  }

  /**
   * Applies the first pending rows.
   *
   * @returns Whether there were no more of them.
   */
  async #applyPiece(upTo: number, keys?: readonly string[]): Promise<boolean> {
    const { changes, calls } = this.#options;
    const read = () => withTimeout("readOutbox", () => this.#outbox.readRows(upTo, PIECE, keys), calls);
    let [firstId, attempts] = [0, 0];
    for (;;) {
      const rows = await read();
      const [first] = rows;
      if (first === undefined) return true;
      attempts = first.id === firstId ? attempts + 1 : 1;
      firstId = first.id;
      if (attempts > MAX_ATTEMPTS) throw new StorageError("applyOutbox", `row ${firstId} cannot be removed`);
      const { isWritten, refused, rehashed } = await changes.applyRows(rows);
      if (refused.length > 0) await this.#setAside(refused);
      if (isWritten) this.#report(rehashed, "got a random hash");
      // If nothing was written, another server has applied these rows. They are read again to be sure of it.
      if (isWritten || refused.length === rows.length) return rows.length < PIECE;
    }
  }

  async #setAside(refused: readonly FaultyRow[]): Promise<void> {
    const ids = refused.map(({ row }) => row.id);
    await withTimeout("setAsideOutbox", () => this.#outbox.setAside(ids), this.#options.calls);
    this.#report(refused, "was set aside");
  }

  #report(rows: readonly FaultyRow[], what: string): void {
    for (const { row: { id, key }, fault } of rows) {
      const message = `row ${id} of the outbox ${what}: ${fault}; key ${quote(key)}`;
      this.#options.report(new StorageError("applyOutbox", message));
    }
  }
}

/** The most characters of a key that a report shows. */
const MAX_SHOWN = 60;

function quote(key: unknown): string {
  if (typeof key !== "string") return kindOf(key);
  return JSON.stringify(key.length > MAX_SHOWN ? `${key.slice(0, MAX_SHOWN)}…` : key);
}

/**
 * A storage whose readings wait for the rows of its outbox. A reading of changes that still has `outbox` is not complete:
 * more rows than one piece are pending, and a server that answers for some keys has to read those.
 *
 * @param storage The storage. Without an outbox it is returned as it is.
 * @param drain Applies rows.
 */
export function drainBeforeReads(storage: RealityStorage, drain: OutboxDrain | undefined): ReadableStorage {
  if (drain === undefined) return storage;
  const { readNodes, readChanges, subscribe, getIdentity } = storage;
  return {
    features: storage.features ?? {},
    async readNodes(keys: readonly string[]): Promise<StorageReading> {
      const reading = await readNodes!.call(storage, keys);
      if (reading.outbox === undefined) return reading;
      await drain.drain(reading.outbox, keys);
      // A row that was committed meanwhile was committed after the question.
      const { outbox: _, ...current } = await readNodes!.call(storage, keys);
      return current;
    },
    ...(readChanges && {
      async readChanges(version: number, limit: number): Promise<StorageChanges> {
        const changes = await readChanges.call(storage, version, limit);
        if (changes.outbox === undefined) return changes;
        const isComplete = await drain.drain(changes.outbox, []);
        const { outbox: _, ...current } = await readChanges.call(storage, version, limit);
        return isComplete ? current : { ...current, outbox: changes.outbox };
      },
    }),
    ...(subscribe && { subscribe: (listener: ChangeListener) => subscribe.call(storage, listener) }),
    ...(getIdentity && { getIdentity: () => getIdentity.call(storage) }),
    ...(storage.outbox && { outbox: storage.outbox }),
    getNodes: (keys) => storage.getNodes(keys),
    getMaxVersion: () => storage.getMaxVersion(),
    listChangedSince: (version, limit) => storage.listChangedSince(version, limit),
  };
}
