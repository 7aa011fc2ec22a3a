/**
 * A reader and a writer on one storage whose answers a test can hold back.
 *
 * @module
 */
import type { StorageError } from "../../../src/errors.ts";
import { ReadBatcher } from "../../../src/store/read_batcher.ts";
import { WriteBatcher } from "../../../src/store/write_batcher.ts";
import type { RealityNodeMeta } from "../../../src/types.ts";
import { FakeClock } from "../../clock.ts";
import { HeldStorage } from "../../storages.ts";

/** What a test works with. */
export interface Batchers {
  readonly clock: FakeClock;
  readonly storage: HeldStorage;
  readonly reader: ReadBatcher;
  readonly writer: WriteBatcher;
  /** Writes one change. */
  readonly update: (key: string, hash: string) => Promise<RealityNodeMeta>;
  /** The error message of each call of the storage; undefined for a call that succeeded. */
  readonly outcomes: (string | undefined)[];
  /** The keys of each commit. */
  readonly woken: string[][];
}

/** Makes a reader and a writer with a time limit of 1,000 ms. */
export function setUp(storage: HeldStorage = new HeldStorage()): Batchers {
  const clock = new FakeClock();
  const outcomes: (string | undefined)[] = [];
  const woken: string[][] = [];
  const options = {
    clock,
    timeout: 1000,
    onOutcome: (_: string, error?: StorageError) => void outcomes.push(error?.message),
  };
  const reader = new ReadBatcher(storage, options);
  const writer = new WriteBatcher(storage, options, (keys) => woken.push([...keys]));
  const update = async (key: string, hash: string) =>
    await writer.write({ key, hash, updatedAt: clock.now() });
  return { clock, storage, reader, writer, update, outcomes, woken };
}
