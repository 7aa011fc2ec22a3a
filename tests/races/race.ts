/**
 * Runs a race: processes of several runtimes that write to one storage at once, one that follows its history,
 * and the faults that happen meanwhile.
 *
 * @module
 */
import assert from "node:assert/strict";
import process from "node:process";
import type { NodeChange, RealityStorage } from "../../src/store/contract.ts";
import { type Running, type Runtime, start } from "../storage/runtimes.ts";
import { open, type Place } from "./engines.ts";
import type { Entry, Sight } from "./journal.ts";
import { checkRace } from "./race_checker.ts";
import type { WalkerOrder } from "./walker.ts";
import type { WriterOrder } from "./writer.ts";

/** How large a race is. */
export interface RaceOptions {
  readonly place: Place;
  /** How many changes all writers make together. */
  readonly changes: number;
  /** On so many keys. @default {50} */
  readonly keys?: number;
  /** The numbers of the writers that `befall` kills: until then they write, however many changes they have made. */
  readonly victims?: readonly number[];
  /** What happens while they write. */
  readonly befall?: (course: Course) => Promise<void>;
  /** How long all of it may take, in milliseconds. @default {60000} */
  readonly timeout?: number;
}

/** A race that is on. */
export interface Course {
  /** Settles once so many changes were acknowledged, or all writers have ended. */
  hasAcknowledged(count: number): Promise<void>;
  /** Kills the writer of that number at once, and starts another one. */
  kill(writer: number): Promise<void>;
}

/** The figures of a race. */
export interface Outcome {
  readonly acknowledged: number;
  readonly failed: number;
  readonly reads: number;
  readonly pages: number;
  /** From the first change to the last, in milliseconds. */
  readonly duration: number;
}

const RUNTIMES: readonly Runtime[] = ["deno", "node", "bun", "node"];
const WRITERS = 64;
const PAGE = 100;

/** `REALITY_RACE_CHANGES` makes races longer or shorter than they are by themselves. */
export const CHANGES: number = Number(process.env.REALITY_RACE_CHANGES ?? 20_000);

/**
 * Runs a race and fails unless every promise was kept.
 *
 * @throws if the checker finds a fault, a process fails, or the race takes too long
 */
export async function race(options: RaceOptions): Promise<Outcome> {
  const { place, changes, keys = 50, victims = [], timeout = 60_000 } = options;
  const started: Running[] = [];
  const begin = (runtime: Runtime, script: string, order: WriterOrder | WalkerOrder) => {
    const running = start(runtime, `../races/${script}`, [JSON.stringify(order)]);
    started.push(running);
    return running;
  };
  const share = Math.ceil(changes / RUNTIMES.length);
  const beginWriter = (number: number, life: string) => {
    const name = `${life}${number}`;
    const isVictim = life === "first" && victims.includes(number);
    const order = {
      place,
      name,
      writers: WRITERS,
      changes: isVictim ? Number.MAX_SAFE_INTEGER : share,
      keys,
    };
    return { name, running: begin(RUNTIMES[number] ?? "node", "writer.ts", order) };
  };
  const { storage, close } = await open(place, { connections: 1 });
  let timer: ReturnType<typeof setTimeout> | undefined;
  const tooLong = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`The race was not over after ${timeout} ms`)), timeout);
  });
  const run = async (): Promise<Outcome> => {
    await write(storage, "before");
    const writers = RUNTIMES.map((_, i) => beginWriter(i, "first"));
    const walker = begin("node", "walker.ts", { place, limit: PAGE });
    await Promise.all(started.map((running) => running.hasPrinted(1)));
    const killed: string[] = [];
    const course: Course = {
      async hasAcknowledged(count) {
        // Each prints a line for each, and no fewer than that.
        const own = Math.ceil(count / RUNTIMES.length);
        await Promise.race(writers.map(({ running }) => running.hasPrinted(own)));
      },
      async kill(number) {
        const victim = writers[number];
        assert.ok(victim);
        victim.running.kill();
        assert.equal((await victim.running.ended).signal, "SIGKILL", "it was killed while it was writing");
        killed.push(victim.name);
        writers[number] = beginWriter(number, "second");
      },
    };
    const beginning = performance.now();
    await write(storage, "go");
    await options.befall?.(course);
    await Promise.all(writers.map(({ running }) => running.ended));
    const duration = performance.now() - beginning;
    await write(storage, "end");
    await walker.ended;
    const history = await storage.listChangedSince(0);
    const entries = started.flatMap(({ lines }) => lines.map((line) => JSON.parse(line) as Entry));
    const of = <K extends Entry["kind"]>(kind: K) =>
      entries.filter((entry): entry is Extract<Entry, { kind: K }> => entry.kind === kind);
    const told = {
      acknowledged: of("acknowledged"),
      failed: of("failed"),
      reads: of("read"),
      pages: of("page"),
    };
    const faults = checkRace({
      ...told,
      stored: history.map(({ key, version, hash }): Sight => [key, version, hash]),
      killed,
      ordered: storage.features?.ordered === true,
    });
    assert.deepEqual(faults, []);
    assert.ok(told.acknowledged.length >= share * RUNTIMES.length, "every writer made its changes");
    assert.ok(told.reads.length > 0 && told.pages.length > 1, "there were reads meanwhile");
    return {
      acknowledged: told.acknowledged.length,
      failed: told.failed.length,
      reads: told.reads.length,
      pages: told.pages.length,
      duration,
    };
  };
  const running = run();
  try {
    return await Promise.race([running, tooLong]);
  } finally {
    clearTimeout(timer);
    started.forEach((process) => process.kill());
    await Promise.allSettled([running, ...started.map(({ ended }) => ended)]);
    await close();
  }
}

/** Writes one change; again while the database is not there. */
async function write(storage: RealityStorage, key: string): Promise<void> {
  const change: NodeChange = { key, hash: key, updatedAt: Date.now() };
  for (let triesLeft = 100;; triesLeft--) {
    try {
      await storage.applyChanges?.([change]);
      return;
    } catch (error) {
      if (triesLeft === 0) throw error;
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  }
}
