/**
 * Finds out what other processes changed in a shared storage, while somebody here waits for it.
 *
 * @module
 */

import { slowRead, type StorageCallOptions, withTimeout } from "../store/timeout.ts";
import type { Clock } from "../clock.ts";
import type { NodeReader } from "../store/cached_reader.ts";
import { type HistoryMoment, isConfirmed, isSameData, lateMarksSince, laterOf } from "../store/history.ts";
import type { RealityStorage, StorageChanges, StorageReading } from "../store/contract.ts";
import { Subscription } from "./subscription.ts";
import type { Waiters } from "./waiters.ts";

/** The pause between two looks at the storage just after something changed, in milliseconds. */
const MIN_INTERVAL = 50;

/** The pause that a quiet storage's looks grow to, in milliseconds. */
const MAX_INTERVAL = 500;

/** The same for a storage that announces changes by itself: these looks only back up the announcements. */
const ANNOUNCED_INTERVAL = 5_000;

/** The pause when each look makes every waiter read again: a storage without an ordered history. */
const UNORDERED_INTERVAL = 1_000;

/** A look that finds so many changes wakes everybody instead of naming keys. */
const MAX_LISTED = 1_000;

/** The rooms that a watch works between. */
export interface ChangePollerDeps {
  readonly storage: RealityStorage;
  readonly reader: NodeReader;
  readonly waiters: Pick<Waiters, "size" | "wake" | "wakeMarked">;
  readonly clock: Clock;
  readonly calls: StorageCallOptions;
  /**
   * Whether it watches for one request only. Then it takes no announcements, which come by connections that outlive a
   * request, and news of other keys leave its pace as it is, since each request has a watch.
   */
  readonly isRequestScoped?: boolean;
}

/**
 * One small reader per process. It sleeps while nobody waits, and for good on a storage that no other process
 * can change. It asks *what came after the version that our waiters have read?*, more seldom the longer nothing
 * came; announcements of the storage make it look at once.
 */
export class ChangePoller {
  readonly #deps: ChangePollerDeps;
  /** What all parked waiters have read at least; undefined until one has parked. */
  #position: Position | undefined;
  #interval = MIN_INTERVAL;
  #cancel: (() => void) | undefined;
  readonly #subscription: Subscription;
  #polling: Promise<void> | undefined;
  /** Whether another look is wanted right after the one under way. */
  #isPollQueued = false;
  #closed = false;

  /** @param deps The storage that is watched and the waiters that are woken. */
  constructor(deps: ChangePollerDeps) {
    this.#deps = deps;
    this.#subscription = new Subscription({ ...deps, onAny: () => this.pollNow() });
  }

  /** Says that a waiter now rests on this reading. */
  register(reading: StorageReading): void {
    if (this.#closed || this.#deps.storage.features?.exclusive) return;
    const at = this.#position;
    const { epoch, replicaId, late, maxVersion, recent } = reading;
    const newest = laterOf({ maxVersion, recent }, reading.newest);
    if (at === undefined || this.#deps.isRequestScoped) {
      this.#position = { epoch, replicaId, late, version: maxVersion, newest };
    } else if (at.epoch !== epoch || at.replicaId !== replicaId) {
      // Some rest on another life of the data than others: whoever is behind has to look again.
      this.#position = { epoch, replicaId, late, version: 0, newest: null };
    } else {
      at.version = Math.min(at.version, maxVersion);
      at.newest = laterOf(at.newest, newest);
      at.late = Math.min(at.late, late);
    }
    if (this.#cancel === undefined && this.#polling === undefined) this.#start();
  }

  /** Ends the watch and settles when nothing of it is under way. */
  async close(): Promise<void> {
    this.#closed = true;
    this.#cancel?.();
    this.#cancel = undefined;
    await Promise.all([this.#polling, this.#subscription.end()]);
  }

  #start(): void {
    this.#interval = MIN_INTERVAL;
    if (!this.#deps.isRequestScoped) this.#subscription.begin();
    this.#schedule();
  }

  #schedule(): void {
    this.#cancel = this.#deps.clock.after(this.#interval, () => this.#startPoll());
  }

  #startPoll(): void {
    this.#cancel = undefined;
    this.#isPollQueued = false;
    this.#polling = this.#poll().finally(() => {
      this.#polling = undefined;
      this.#continue();
    });
  }

  /**
   * Looks at once, or once more after the look that is under way: it may have come before what is announced. Does nothing
   * while nobody waits.
   */
  pollNow(): void {
    if (this.#polling !== undefined) this.#isPollQueued = true;
    else if (this.#cancel !== undefined) {
      this.#cancel();
      this.#startPoll();
    }
  }

  #continue(): void {
    if (this.#closed) return;
    if (this.#deps.waiters.size > 0) return this.#isPollQueued ? this.#startPoll() : this.#schedule();
    this.#position = undefined;
    void this.#subscription.end();
  }

  async #poll(): Promise<void> {
    const { storage, waiters } = this.#deps;
    const at = this.#position;
    if (waiters.size === 0 || at === undefined) return;
    if (!storage.features?.ordered) {
      this.#interval = UNORDERED_INTERVAL;
      waiters.wake(null);
      return;
    }
    const from = { ...at };
    await new Promise<void>((resolve) => {
      this.#readChanges(from.version, resolve).then((changes) => {
        this.#apply(at, from, changes);
        resolve();
      }, () => {
        // It has been reported; the next look tries again.
        this.#interval = MAX_INTERVAL;
        resolve();
      });
    });
  }

  /** Wakes those whom changes concern that came after the version of `from`, which `at` was when they were asked for. */
  #apply(at: Position, from: Position, { nodes, ...moment }: PolledChanges): void {
    // The only one who waits has read anew meanwhile: what came after that is asked next.
    if (this.#deps.isRequestScoped && this.#position !== at) return;
    const { epoch, replicaId, maxVersion, late, collectedVersion } = moment;
    // Whoever rests on a history that was lost may hold what is no more, whatever came since.
    const ordered = isSameData(moment, from) && from.newest !== null &&
      isConfirmed(moment, from.newest.maxVersion);
    const isChanged = !ordered || maxVersion !== from.version || late !== from.late;
    const maxInterval = this.#subscription.isActive ? ANNOUNCED_INTERVAL : MAX_INTERVAL;
    this.#interval = isChanged && !this.#deps.isRequestScoped
      ? MIN_INTERVAL
      : Math.min(this.#interval * 1.5, maxInterval);
    if (!isChanged) return;
    // Somebody may have parked on an older reading meanwhile; then the next look goes back as far.
    if (this.#position === at && at.version === from.version && at.late === from.late) {
      const newest = at.newest === from.newest ? moment : laterOf(at.newest, moment);
      this.#position = { epoch, replicaId, late, version: maxVersion, newest };
    }
    const marks = lateMarksSince(moment, from.late);
    // A tombstone above the version that was swept is not among the nodes.
    const canName = ordered && marks !== null && maxVersion >= from.version &&
      collectedVersion <= from.version &&
      nodes !== null && nodes.length < MAX_LISTED;
    if (!canName) return this.#deps.waiters.wake(null);
    this.#deps.waiters.wake(nodes.map((meta) => meta.key));
    if (marks.size > 0) this.#deps.waiters.wakeMarked(marks);
  }

  /** What came after a version. */
  async #readChanges(version: number, onSlow: () => void): Promise<PolledChanges> {
    const { storage, reader, calls } = this.#deps;
    const patience = slowRead(onSlow);
    const { readChanges } = storage;
    if (readChanges !== undefined) {
      const call = () => readChanges.call(storage, version, MAX_LISTED);
      const changes = await withTimeout("readChanges", call, calls, patience);
      return storage.features?.tombstones ? changes : { ...changes, nodes: null };
    }
    const reading = await reader.read([]);
    if (!storage.features?.tombstones || reading.maxVersion <= version) return { ...reading, nodes: null };
    const call = () => storage.listChangedSince(version, MAX_LISTED);
    return { ...reading, nodes: await withTimeout("listChangedSince", call, calls, patience) };
  }
}

/** What all parked waiters have read at least. */
interface Position {
  epoch: string;
  replicaId: string;
  late: number;
  version: number;
  /** The newest moment that one of them has read; `null` where they may not all rest on its history. */
  newest: HistoryMoment | null;
}

/** What came after a version; `nodes` is `null` where the storage cannot tell all of it. */
type PolledChanges = Omit<StorageChanges, "nodes"> & { nodes: StorageChanges["nodes"] | null };
