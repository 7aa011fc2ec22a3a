/**
 * Finds changes that other processes made in a shared storage, while clients wait for them.
 *
 * @module
 */

import { slowRead, type StorageCallOptions, withTimeout } from "../store/timeout.ts";
import type { Clock } from "../clock.ts";
import type { NodeReader } from "../store/cached_reader.ts";
import { type HistoryMoment, isConfirmed, isSameData, lateMarksSince, laterOf } from "../store/history.ts";
import type { ReadableStorage, StorageChanges, StorageReading } from "../store/contract.ts";
import { Subscription } from "./subscription.ts";
import type { Waiters } from "./waiters.ts";

/** The interval between polls just after a change, in milliseconds. */
const MIN_INTERVAL = 50;

/** The interval that polls of a quiet storage grow to, in milliseconds. */
const MAX_INTERVAL = 500;

/** The same for a storage that announces changes. These polls are a backup for the announcements. */
const ANNOUNCED_INTERVAL = 5_000;

/** The interval for a storage without an ordered history. Each poll makes every waiter read again. */
const UNORDERED_INTERVAL = 1_000;

/** A poll that finds this many changes wakes all waiters instead of naming keys. */
const MAX_LISTED = 1_000;

/** What a change poller needs. */
export interface ChangePollerDeps {
  readonly storage: ReadableStorage;
  readonly reader: NodeReader;
  readonly waiters: Pick<Waiters, "size" | "wake" | "wakeMarked">;
  readonly clock: Clock;
  readonly calls: StorageCallOptions;
  /**
   * Whether it polls for a single request. Then it does not subscribe to announcements, because their connections
   * outlive a request. Changes of other keys do not shorten its interval either, because every request has a poller.
   */
  readonly isRequestScoped?: boolean;
}

/**
 * Polls the storage while clients wait. There is one poller per process. It never polls a storage that no other
 * process can change. It asks *what changed after the version that our waiters have read?*, less often the longer
 * nothing changes. Announcements of the storage make it poll at once.
 */
export class ChangePoller {
  readonly #deps: ChangePollerDeps;
  /** The oldest state that a waiter has read; undefined until a waiter is registered. */
  #position: Position | undefined;
  #interval = MIN_INTERVAL;
  #cancel: (() => void) | undefined;
  readonly #subscription: Subscription;
  #polling: Promise<void> | undefined;
  /** Whether another poll starts right after the running one. */
  #isPollQueued = false;
  #closed = false;

  /** @param deps The storage to poll and the waiters to wake. */
  constructor(deps: ChangePollerDeps) {
    this.#deps = deps;
    this.#subscription = new Subscription({ ...deps, onAny: () => this.pollNow() });
  }

  /** Records that a waiter now waits on the state of this reading. */
  register(reading: StorageReading): void {
    if (this.#closed || this.#deps.storage.features?.exclusive) return;
    const at = this.#position;
    const { epoch, replicaId, late, maxVersion, recent } = reading;
    const newest = laterOf({ maxVersion, recent }, reading.newest);
    if (at === undefined || this.#deps.isRequestScoped) {
      this.#position = { epoch, replicaId, late, version: maxVersion, newest };
    } else if (at.epoch !== epoch || at.replicaId !== replicaId) {
      // Waiters have read different epochs. All of them must read again.
      this.#position = { epoch, replicaId, late, version: 0, newest: null };
    } else {
      at.version = Math.min(at.version, maxVersion);
      at.newest = laterOf(at.newest, newest);
      at.late = Math.min(at.late, late);
    }
    if (this.#cancel === undefined && this.#polling === undefined) this.#start();
  }

  /** Stops polling. Resolves when nothing is running any more. */
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
   * Polls at once. If a poll is running, polls once more afterwards, because the running one may be older than the
   * announced change. Does nothing while no client waits.
   */
  pollNow(): void {
    if (this.#polling !== undefined) this.#isPollQueued = true;
    else if (this.#cancel !== undefined) {
      this.#cancel();
      this.#startPoll();
    }
  }

  /** Polls often for a while: a transaction of the application has written to the outbox, and commits at any time. */
  expectCommit(): void {
    this.#interval = MIN_INTERVAL;
    if (this.#cancel === undefined) return;
    this.#cancel();
    this.#schedule();
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
        // The failure was reported. The next poll tries again.
        this.#interval = MAX_INTERVAL;
        resolve();
      });
    });
  }

  /**
   * Wakes the waiters that changes concern.
   *
   * @param at The position when the poll was sent.
   * @param from A copy of that position as it was when the poll was sent.
   */
  #apply(at: Position, from: Position, { nodes, ...moment }: PolledChanges): void {
    // The only waiter has read again in the meantime. The next poll covers what came after that read.
    if (this.#deps.isRequestScoped && this.#position !== at) return;
    const { epoch, replicaId, maxVersion, late, collectedVersion } = moment;
    // Waiters that have read a lost history may hold a wrong state, whatever changed since.
    const ordered = isSameData(moment, from) && from.newest !== null &&
      isConfirmed(moment, from.newest.maxVersion);
    const isChanged = !ordered || maxVersion !== from.version || late !== from.late;
    // The trigger that announces rows of an outbox may be missing, or not be run.
    const isAnnounced = this.#subscription.isActive && this.#deps.storage.outbox === undefined;
    const maxInterval = isAnnounced ? ANNOUNCED_INTERVAL : MAX_INTERVAL;
    this.#interval = (isChanged || moment.outbox !== undefined) && !this.#deps.isRequestScoped
      ? MIN_INTERVAL
      : Math.min(this.#interval * 1.5, maxInterval);
    if (!isChanged) return;
    // If a waiter with an older reading was registered in the meantime, the next poll starts from that older version.
    if (this.#position === at && at.version === from.version && at.late === from.late) {
      const newest = at.newest === from.newest ? moment : laterOf(at.newest, moment);
      this.#position = { epoch, replicaId, late, version: maxVersion, newest };
    }
    const marks = lateMarksSince(moment, from.late);
    // A tombstone above the version that was collected is not among the nodes.
    const canName = ordered && marks !== null && maxVersion >= from.version &&
      collectedVersion <= from.version &&
      nodes !== null && nodes.length < MAX_LISTED;
    if (!canName) return this.#deps.waiters.wake(null);
    this.#deps.waiters.wake(nodes.map((meta) => meta.key));
    if (marks.size > 0) this.#deps.waiters.wakeMarked(marks);
  }

  /** Reads the changes after a version. */
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

/** The oldest state that a waiter has read. */
interface Position {
  epoch: string;
  replicaId: string;
  late: number;
  version: number;
  /** The latest moment that a waiter has read; `null` if the waiters may not share one history. */
  newest: HistoryMoment | null;
}

/** The changes after a version; `nodes` is `null` if the storage cannot name all of them. */
type PolledChanges = Omit<StorageChanges, "nodes"> & { nodes: StorageChanges["nodes"] | null };
