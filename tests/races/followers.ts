/**
 * Processes on all runtimes that write to one database and follow it, while a test has its data go back.
 *
 * @module
 */
import assert from "node:assert/strict";
import process from "node:process";
import type { RealityStorage } from "../../src/store/contract.ts";
import { SeededRandom } from "../random.ts";
import { type Running, RUNTIMES, start } from "../storage/runtimes.ts";
import type { FollowerLine, FollowerOrder } from "./follower.ts";

/** How many keys one group has. */
const GROUP_SIZE = 12;

/** The node that tells the processes which group they write to. */
const GROUP_KEY = "group";

/** The `storageTimeout` of each process, in milliseconds. */
const STORAGE_TIMEOUT = 5000;

/**
 * How soon after a fault each process must have written again, in milliseconds: a write that was under way fails within
 * one `storageTimeout`, and the next one succeeds within another.
 */
const RECOVERY = 2 * STORAGE_TIMEOUT;

/** Returns the random numbers of a race, from the seed in `REALITY_RACE_SEED` or a new one. Prints the seed. */
export function drawRandom(race: string): SeededRandom {
  const seed = Number(process.env.REALITY_RACE_SEED ?? Math.floor(Math.random() * 1e9));
  console.log(`REALITY_RACE_SEED=${seed}`);
  return new SeededRandom(`${race} ${seed}`);
}

/** What the storage under test is used for here. */
type Storage = Required<Pick<RealityStorage, "applyChanges" | "getNodes">>;

/** The processes, one on each runtime. */
export class Followers {
  readonly #storage: Storage;
  readonly #groups: readonly (readonly string[])[];
  #group = 0;
  readonly #processes: readonly { readonly name: string; readonly running: Running }[];

  /**
   * @param database The path of an SQLite file, or the address of a PostgreSQL.
   * @param storage A storage on it.
   * @param losses How often data will be lost.
   */
  constructor(database: string, storage: Storage, losses: number) {
    this.#storage = storage;
    const groups = this.#groups = Array.from(
      { length: losses + 1 },
      (_, group) => Array.from({ length: GROUP_SIZE }, (_, i) => `key:${group}:${i}`),
    );
    this.#processes = RUNTIMES.map((name) => {
      const order: FollowerOrder = {
        ...{ database, name, groups, groupKey: GROUP_KEY },
        storageTimeout: STORAGE_TIMEOUT,
      };
      return { name, running: start(name, "../races/follower.ts", [JSON.stringify(order)]) };
    });
  }

  /** Settles once each process has made so many more writes. */
  async haveWritten(more: number): Promise<void> {
    await this.#havePrinted(more, ({ done }) => done !== undefined);
  }

  /** Settles once so many more writes of each process were refused. */
  async haveFailed(more: number): Promise<void> {
    await this.#havePrinted(more, ({ failed }) => failed !== undefined);
  }

  /**
   * Settles once each process has made so many more writes, and then writes to other keys, so that what is lost of these
   * is not covered up by what is written later.
   */
  async haveWrittenOthers(more: number): Promise<void> {
    await this.haveWritten(more);
    const next = ++this.#group;
    await this.#storage.applyChanges([{ key: GROUP_KEY, hash: String(next), updatedAt: 1 }]);
    await this.#havePrinted(1, ({ group }) => group === next);
  }

  /**
   * Settles once each process has made a write that began later than now. Rejects when one takes too long.
   *
   * @returns The time until the last of them did, in milliseconds.
   */
  async haveRecovered(): Promise<number> {
    const moment = Date.now();
    let isLate = false;
    const timer = setTimeout(() => {
      isLate = true;
      this.#kill();
    }, RECOVERY);
    try {
      await this.#havePrinted(1, ({ begun = 0, done }) => begun >= moment && done !== undefined);
    } catch (error) {
      throw isLate ? new Error(`A process did not write within ${RECOVERY} ms after a fault`) : error;
    } finally {
      clearTimeout(timer);
    }
    return Date.now() - moment;
  }

  /** Has the processes end, and compares what their clients hold with what the storage has. */
  async check(): Promise<void> {
    await this.#storage.applyChanges([{ key: GROUP_KEY, hash: "end", updatedAt: 1 }]);
    await Promise.all(this.#processes.map(({ running }) => running.ended));
    const keys = this.#groups.flat();
    const nodes = await this.#storage.getNodes(keys);
    const none = Object.fromEntries(keys.map((key) => [key, 0]));
    const stored = { ...none, ...Object.fromEntries([...nodes].map(([key, { version }]) => [key, version])) };
    for (const { name, running: { lines } } of this.#processes) {
      const { held, streamed } = parse(lines.at(-1));
      assert.deepEqual({ ...none, ...held }, stored, `what waiting clients on ${name} hold`);
      assert.deepEqual({ ...none, ...streamed }, stored, `what a stream on ${name} told`);
    }
  }

  /** Ends the processes, whatever they are doing. */
  async end(): Promise<void> {
    this.#kill();
    await Promise.allSettled(this.#processes.map(({ running }) => running.ended));
  }

  #kill(): void {
    for (const { running } of this.#processes) running.kill();
  }

  /** Settles once each process has printed so many more lines that fit. */
  async #havePrinted(more: number, fits: (line: FollowerLine) => boolean): Promise<void> {
    await Promise.all(this.#processes.map(async ({ running }) => {
      for (let [i, left] = [running.lines.length, more]; left > 0; i++) {
        await running.hasPrinted(i + 1);
        if (fits(parse(running.lines[i]))) left--;
      }
    }));
  }
}

function parse(line: string | undefined): FollowerLine {
  return JSON.parse(line ?? "{}") as FollowerLine;
}
