/**
 * Finds out what other processes changed in a shared storage, while somebody here waits for it.
 *
 * @module
 */

import { type BatchOptions, guarded } from "./batch.ts";
import type { Clock } from "./clock.ts";
import type { Reading } from "./fence.ts";
import { isSameHistory, type RealityStorage, type StorageChanges, type StorageReading } from "./storage.ts";
import type { RealityNodeMeta } from "./types.ts";
import type { Waiters } from "./waiters.ts";

/** The pause between two looks at the storage just after something changed, in milliseconds. */
const SHORTEST_PAUSE = 50;

/** The pause that a quiet storage's looks grow to, in milliseconds. */
const LONGEST_PAUSE = 500;

/** The same for a storage that announces changes by itself: these looks only back up the announcements. */
const BACKUP_PAUSE = 5_000;

/** The pause when each look makes every waiter read again: a storage without an ordered history. */
const UNORDERED_PAUSE = 1_000;

/** A look that finds so many changes wakes everybody instead of naming keys. */
const MAX_LISTED = 1_000;

/** The rooms that a watch works between. */
export interface WatchRooms {
  readonly storage: RealityStorage;
  readonly reader: Reading;
  readonly waiters: Waiters;
  readonly clock: Clock;
  readonly batch: BatchOptions;
}

/**
 * One small reader per process. It sleeps while nobody waits, and for good on a storage that no other process
 * can change. It asks *what came after the version that our waiters have read?*, more seldom the longer nothing
 * came; announcements of the storage make it look at once.
 */
export class Watch {
  readonly #rooms: WatchRooms;
  /** What all parked waiters have read at least; undefined until one has parked. */
  #position: { epoch: string; origin: string; version: number } | undefined;
  #late = 0;
  #pause = SHORTEST_PAUSE;
  #cancel: (() => void) | undefined;
  #subscription: Promise<(() => Promise<void>) | undefined> | undefined;
  #looking: Promise<void> | undefined;
  #closed = false;

  /** @param rooms The storage that is watched and the waiters that are woken. */
  constructor(rooms: WatchRooms) {
    this.#rooms = rooms;
  }

  /** Says that a waiter now rests on this reading. */
  park(reading: StorageReading): void {
    if (this.#closed || this.#rooms.storage.features?.exclusive) return;
    const at = this.#position;
    const { epoch, origin, maxVersion } = reading;
    if (at === undefined) {
      this.#position = { epoch, origin, version: maxVersion };
    } else if (at.epoch !== epoch || at.origin !== origin) {
      // Some rest on another life of the data than others: whoever is behind has to look again.
      this.#position = { epoch, origin, version: 0 };
    } else if (maxVersion < at.version) {
      at.version = maxVersion;
    }
    if (this.#cancel === undefined && this.#looking === undefined) this.#begin();
  }

  /** Ends the watch and settles when nothing of it is under way. */
  async close(): Promise<void> {
    this.#closed = true;
    this.#cancel?.();
    this.#cancel = undefined;
    await this.#looking;
    await this.#unsubscribe();
  }

  #begin(): void {
    const { storage, waiters } = this.#rooms;
    this.#pause = SHORTEST_PAUSE;
    if (storage.subscribe && this.#subscription === undefined) {
      this.#subscription = storage.subscribe((keys) => waiters.wake(keys)).catch(() => {
        // Looking at the usual pace finds the same changes, only later.
        this.#subscription = undefined;
        return undefined;
      });
    }
    this.#rest();
  }

  #rest(): void {
    this.#cancel = this.#rooms.clock.after(this.#pause, () => {
      this.#cancel = undefined;
      this.#looking = this.#look().finally(() => {
        this.#looking = undefined;
        this.#next();
      });
    });
  }

  #next(): void {
    if (this.#closed) return;
    if (this.#rooms.waiters.size > 0) return this.#rest();
    this.#position = undefined;
    void this.#unsubscribe();
  }

  async #look(): Promise<void> {
    const { storage, waiters } = this.#rooms;
    const at = this.#position;
    if (waiters.size === 0 || at === undefined) return;
    if (!storage.features?.ordered) {
      this.#pause = UNORDERED_PAUSE;
      waiters.wake(null);
      return;
    }
    try {
      const from = at.version;
      const { epoch, origin, maxVersion, late, nodes } = await this.#readChanges(from);
      const ordered = isSameHistory({ epoch, origin, late }, { ...at, late: this.#late });
      const news = !ordered || maxVersion !== from;
      const longest = this.#subscription === undefined ? LONGEST_PAUSE : BACKUP_PAUSE;
      this.#pause = news ? SHORTEST_PAUSE : Math.min(this.#pause * 1.5, longest);
      if (!news) return;
      this.#late = late;
      // Somebody may have parked on an older reading meanwhile; then the next look goes back as far.
      if (this.#position === at && at.version === from) {
        this.#position = { epoch, origin, version: maxVersion };
      }
      const canName = ordered && maxVersion > from && nodes !== null && nodes.length < MAX_LISTED;
      waiters.wake(canName ? nodes.map((meta) => meta.key) : null);
    } catch {
      // It has been reported; the next look tries again.
      this.#pause = LONGEST_PAUSE;
    }
  }

  /** What came after a version; `nodes` is `null` where the storage cannot tell all of it. */
  async #readChanges(
    version: number,
  ): Promise<Omit<StorageChanges, "nodes"> & { nodes: RealityNodeMeta[] | null }> {
    const { storage, reader, batch } = this.#rooms;
    if (storage.readChanges) {
      const changes = await guarded("readChanges", () => storage.readChanges!(version, MAX_LISTED), batch);
      return { ...changes, nodes: storage.features?.tombstones ? [...changes.nodes] : null };
    }
    const reading = await reader.read([]);
    const list = storage.features?.tombstones && reading.maxVersion > version;
    const nodes = list ? await storage.listChangedSince(version, MAX_LISTED) : null;
    return { ...reading, nodes };
  }

  async #unsubscribe(): Promise<void> {
    const subscription = this.#subscription;
    this.#subscription = undefined;
    const end = await subscription;
    await end?.();
  }
}
