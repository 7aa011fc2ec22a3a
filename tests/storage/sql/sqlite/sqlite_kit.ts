/**
 * What the tests of the SQLite storages share: files that vanish, and clocks that can be moved.
 *
 * @module
 */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { RealityStorage } from "../../../../src/store/contract.ts";
import type { SQLValue } from "../../../../storage/sql/sql_storage.ts";
import { DEFAULT_TOMBSTONE_TIMEOUT } from "../../../../storage/options.ts";

/** What every SQL storage has. */
export const SQL_SUPPORTS = {
  applyChanges: true,
  conditions: true,
  readNodes: true,
  readChanges: true,
  getIdentity: true,
  newEpoch: true,
  recent: true,
  close: true,
  mesh: true,
  ordered: true,
  tombstones: true,
} as const;

/** A storage, what releases it, and what runs a statement of the application if it has an outbox. */
export type Made = [
  storage: RealityStorage,
  release: () => void,
  query?: (text: string, params: SQLValue[]) => unknown,
];

/** What is behind a storage under test. */
export interface Backing {
  /** The file. */
  readonly path: string;
  /** The storage's time, in milliseconds since 1970. */
  readonly clock: { now: number };
  /** Releases everything that the test opened. */
  readonly release: () => void;
  /** Runs a statement of the application. */
  readonly query: Made[2];
}

/** Makes a folder, runs the function with it, and takes it away. */
export async function inFolder(use: (folder: string) => Promise<void>): Promise<void> {
  const folder = createFolder();
  try {
    await use(folder);
  } finally {
    removeFolder(folder);
  }
}

/** A new empty folder. */
export function createFolder(): string {
  return mkdtempSync(join(tmpdir(), "reality-"));
}

/** Takes a folder away with all that is in it. */
export function removeFolder(folder: string): void {
  rmSync(folder, { recursive: true, force: true, maxRetries: 5 });
}

/** Keeps for every storage what is behind it, and counts who uses a folder. */
export class Backings {
  readonly #backings = new Map<RealityStorage, Backing>();
  readonly #users = new Map<string, number>();

  /** Makes a storage on a new file. */
  create(make: (path: string, now: () => number) => Made): RealityStorage {
    return this.#add(join(createFolder(), "reality.db"), { now: Date.UTC(2026, 0, 1) }, make);
  }

  /** Makes another storage on the file of this one. */
  share(
    storage: RealityStorage,
    make: (path: string, now: () => number) => Made,
  ): RealityStorage {
    const { path, clock } = this.of(storage);
    return this.#add(path, clock, make);
  }

  /** What is behind a storage. */
  of(storage: RealityStorage): Backing {
    const backing = this.#backings.get(storage);
    if (!backing) throw new Error("This storage is not one of these");
    return backing;
  }

  /** Moves a storage's clock until its tombstones may be swept. */
  elapse(storage: RealityStorage): void {
    this.of(storage).clock.now += DEFAULT_TOMBSTONE_TIMEOUT;
  }

  /** Releases a storage, and its file if no other storage uses it. */
  async destroy(storage: RealityStorage): Promise<void> {
    const { path, release } = this.of(storage);
    await storage.close?.();
    release();
    this.#backings.delete(storage);
    const left = (this.#users.get(path) ?? 1) - 1;
    this.#users.set(path, left);
    if (left === 0) removeFolder(join(path, ".."));
  }

  #add(
    path: string,
    clock: { now: number },
    make: (path: string, now: () => number) => Made,
  ): RealityStorage {
    const [storage, release, query] = make(path, () => clock.now);
    this.#backings.set(storage, { path, clock, release, query });
    this.#users.set(path, (this.#users.get(path) ?? 0) + 1);
    return storage;
  }
}
