/**
 * The tombstones of a storage in memory, and how they are collected.
 *
 * @module
 */
import type { NodeColumns } from "./node_columns.ts";
import { VersionOrder } from "./version_order.ts";

/** How many tombstones one write collects, plus two for each node that was written since the last collection, ... */
const MAX_COLLECTED = 100;
/** ... up to this many nodes. More nodes are counted for later writes. */
const MAX_COUNTED = 500;

/** Tombstones in order of the times from which on they may be collected. */
export class Tombstones {
  readonly #nodes: NodeColumns;
  readonly #elapsed: () => number;
  readonly #timeout: number;
  readonly #order = new VersionOrder();
  #collected: Map<string, number> = new Map();
  #collectedVersion = 0;
  /** How many nodes were written that no collection has counted yet. */
  #uncounted = 0;

  /**
   * @param nodes The nodes among which the tombstones are.
   * @param elapsed A monotonic clock, in milliseconds.
   * @param timeout How long a tombstone is kept, in milliseconds; `Infinity` for ever.
   */
  constructor(nodes: NodeColumns, elapsed: () => number, timeout: number) {
    this.#nodes = nodes;
    this.#elapsed = elapsed;
    this.#timeout = timeout;
  }

  /** Replica id → the highest dot version among collected tombstones. */
  get collected(): ReadonlyMap<string, number> {
    return this.#collected;
  }

  set collected(collected: ReadonlyMap<string, number>) {
    this.#collected = new Map(collected);
  }

  /** The highest version among collected tombstones. */
  get collectedVersion(): number {
    return this.#collectedVersion;
  }

  /** Records that tombstones up to a dot were collected, here or in another storage. */
  record(replicaId: string, dotVersion: number): void {
    this.#collected.set(replicaId, Math.max(this.#collected.get(replicaId) ?? 0, dotVersion));
  }

  /** Counts a node that was written: each allows later writes to collect two tombstones more. */
  countWrite(): void {
    this.#uncounted++;
  }

  /** Adds the slot of a new tombstone, unless tombstones are kept for ever. */
  add(slot: number): void {
    if (this.#timeout < Infinity) this.#order.insert(slot, this.#elapsed() + this.#timeout);
  }

  /** Removes the slot of a tombstone, before it is written again. */
  remove(slot: number): void {
    if (this.#timeout < Infinity) this.#order.remove(slot);
  }

  /** Deletes the oldest expired tombstones: so many at most that no write takes long. */
  collect(): void {
    const now = this.#elapsed();
    const written = Math.min(this.#uncounted, MAX_COUNTED);
    this.#uncounted -= written;
    for (let left = MAX_COLLECTED + 2 * written; left > 0; left--) {
      const slot = this.#order.next(0);
      if (slot === 0 || this.#order.versionOf(slot) > now) return;
      const { version, replicaId, dotVersion } = this.#nodes.replicatedAt(slot);
      this.record(replicaId, dotVersion);
      this.#collectedVersion = Math.max(this.#collectedVersion, version);
      this.#order.remove(slot);
      this.#nodes.remove(slot);
    }
  }
}
