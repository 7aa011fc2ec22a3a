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
  OutboxRow,
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

/** The same for the keys of a question. Keys with so many rows share few changes, and a row costs less than a change. */
const KEYED_PIECE = 5000;

/** After this share of `storageTimeout`, a question waits only for keys of which no row was applied yet. */
const PATIENCE = 1 / 2;

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

/** Rows that were applied or set aside. */
interface Piece {
  readonly rows: readonly OutboxRow[];
  /** The id of the last of them; `Infinity` if there are no more. */
  readonly lastId: number;
}

/** A question that waits until the background drain has passed a row. */
interface PassedRow {
  readonly upTo: number;
  readonly resolve: () => void;
  readonly reject: (error: unknown) => void;
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
  /** Questions that wait for the background drain. */
  readonly #passed = new Set<PassedRow>();
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
    const startedAt = this.#clock.elapsed();
    if (this.#background === undefined && await this.#join(upTo)) return true;
    if (keys.length === 0) return false;
    // A row of any key may change a group.
    if (!keys.some(isGroup)) await this.#drainKeys(upTo, keys, startedAt);
    else if (this.#background !== undefined) await this.#waitForBackground(upTo);
    else await this.#drainAll(upTo, startedAt);
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
    const isLast = (await this.#applyPiece(pass.upTo)).lastId === Infinity;
    if (!isLast && !this.#options.isRequestScoped && !this.#hasEnded) this.#background ??= this.#drainRest();
    return isLast;
  }

  /** Applies all rows, piece by piece. The pauses let other changes and reads pass. */
  async #drainRest(): Promise<void> {
    let failure: unknown = new StorageError("applyOutbox", "the server is closing");
    try {
      let took = 0;
      for (let isOver = false; !isOver && !this.#hasEnded;) {
        // Servers that do the same get out of step.
        const pause = Math.max(took * (0.5 + this.#clock.random()), MIN_PAUSE);
        await new Promise<void>((resolve) => void this.#clock.after(pause, resolve));
        // A question that comes during the piece may have rows before it.
        const waiting = [...this.#passed];
        const startedAt = this.#clock.elapsed();
        const { lastId } = await this.#applyPiece(Number.MAX_SAFE_INTEGER);
        took = this.#clock.elapsed() - startedAt;
        for (const question of waiting) {
          if (question.upTo > lastId) continue;
          this.#passed.delete(question);
          question.resolve();
        }
        isOver = lastId === Infinity && this.#passed.size === 0;
      }
    } catch (error) {
      // The failure was reported. The next question begins again.
      failure = error;
    } finally {
      this.#background = undefined;
      for (const { reject } of this.#passed) reject(failure);
      this.#passed.clear();
    }
  }

  /** Resolves when the background drain has applied the rows up to this id. */
  #waitForBackground(upTo: number): Promise<void> {
    return new Promise((resolve, reject) => this.#passed.add({ upTo, resolve, reject }));
  }

  /**
   * Applies the rows of some keys. A key with very many of them needs only one change that is written after the question:
   * the client then fetches what all rows so far describe. The rows that are left change the key again.
   */
  async #drainKeys(upTo: number, keys: readonly string[], startedAt: number): Promise<void> {
    const changed = new Set<unknown>();
    for (let left = keys; left.length > 0;) {
      const { rows, lastId } = await this.#applyPiece(upTo, left);
      if (lastId === Infinity) return;
      for (const { key } of rows) changed.add(key);
      if (this.#isLate(startedAt, PATIENCE)) left = left.filter((key) => !changed.has(key));
      if (left.length > 0) this.#checkTime(startedAt);
    }
  }

  /** Applies all rows for a question by itself. */
  async #drainAll(upTo: number, startedAt: number): Promise<void> {
    while ((await this.#applyPiece(upTo)).lastId !== Infinity) this.#checkTime(startedAt);
  }

  /** Ends the work for a question that has failed by its time limit. */
  #checkTime(startedAt: number): void {
    if (!this.#isLate(startedAt, 1)) return;
    throw new StorageError("applyOutbox", `too many rows are pending for ${this.#options.calls.timeout} ms`);
  }

  #isLate(startedAt: number, share: number): boolean {
    return this.#clock.elapsed() - startedAt >= this.#options.calls.timeout * share;
  }

  /** Applies the first pending rows, of some keys or of all. */
  async #applyPiece(upTo: number, keys?: readonly string[]): Promise<Piece> {
    const { changes, calls } = this.#options;
    const limit = keys === undefined ? PIECE : KEYED_PIECE;
    const read = () => withTimeout("readOutbox", () => this.#outbox.readRows(upTo, limit, keys), calls);
    let [firstId, attempts] = [0, 0];
    for (;;) {
      const rows = await read();
      const [first] = rows;
      if (first === undefined) return { rows, lastId: Infinity };
      attempts = first.id === firstId ? attempts + 1 : 1;
      firstId = first.id;
      if (attempts > MAX_ATTEMPTS) throw new StorageError("applyOutbox", `row ${firstId} cannot be removed`);
      const { isWritten, refused, rehashed } = await changes.applyRows(rows);
      if (refused.length > 0) await this.#setAside(refused);
      if (isWritten) this.#report(rehashed, "got a random hash");
      // If nothing was written, another server has applied these rows. They are read again to be sure of it.
      if (!isWritten && refused.length < rows.length) continue;
      return { rows, lastId: rows.length < limit ? Infinity : rows.at(-1)!.id };
    }
  }

  async #setAside(refused: readonly FaultyRow[]): Promise<void> {
    const rows = refused.map(({ row }) => row);
    await withTimeout("setAsideOutbox", () => this.#outbox.setAside(rows), this.#options.calls);
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
        if (!await drain.drain(changes.outbox, [])) return changes;
        const { outbox: _, ...current } = await readChanges.call(storage, version, limit);
        return current;
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
