/**
 * Records latencies, errors by kind and violations during a run.
 *
 * @module
 */
import type { Change, Read, Sight } from "../cluster/journal.ts";
import { percentile } from "../../bench/measure.ts";
import { Acks } from "./acks.ts";

/** A violation of the promise, or a failure. */
export interface Violation {
  /** Seconds since the run began. */
  readonly at: number;
  readonly what: string;
}

/** Latencies of one server in one interval, in milliseconds: count, median, 99th percentile, maximum. */
export interface Latencies {
  readonly count: number;
  readonly p50: number;
  readonly p99: number;
  readonly most: number;
}

/** An answer, with the versions that its client held before. */
export interface Answered extends Read {
  readonly held: readonly number[];
}

/** How many violations are recorded in full; the rest are counted. */
const MAX_TOLD = 200;

/** Records what clients observe. */
export class Record {
  readonly acks: Acks = new Acks();
  readonly violations: Violation[] = [];
  readonly #begin = performance.now();
  readonly #onPart: (changes: Change[], reads: Read[]) => void;
  #changes: Change[] = [];
  #reads: Read[] = [];
  #wakes = new Map<number, number[]>();
  #returns = new Map<number, number[]>();
  #errors = new Map<string, number>();
  /** The number of violations. */
  violated = 0;
  /** Totals of the run. */
  acknowledged = 0;
  uncertain = 0;
  /** The deletions among the acknowledged changes. */
  deleted = 0;
  answers = 0;
  told = 0;
  /** Answers that report a key as gone, and those that report a key the client held as gone. */
  toldGone = 0;
  toldBack = 0;

  /** @param onPart receives what was recorded since its last call */
  constructor(onPart: (changes: Change[], reads: Read[]) => void) {
    this.#onPart = onPart;
  }

  /** Seconds since the run began. */
  get now(): number {
    return Number(((performance.now() - this.#begin) / 1000).toFixed(2));
  }

  /** Records a change that was acknowledged or got no answer. Deletions are recorded in `acks` when they are requested. */
  change(change: Change): void {
    this.#changes.push(change);
    if (change.answered === Infinity) return void this.uncertain++;
    this.acknowledged++;
    if (change.isDeletion) return void this.deleted++;
    const { key, version, asked, answered: at } = change;
    this.acks.note(key, { version, asked, at });
  }

  /** Records an answer. */
  read({ held, ...read }: Answered): void {
    this.answers++;
    this.#reads.push(read);
    read.sights.forEach((sight, i) => this.#look(read, sight, held[i]!));
  }

  /** Records an error that faults may cause. */
  error(kind: string): void {
    this.#errors.set(kind, (this.#errors.get(kind) ?? 0) + 1);
  }

  /** Records a violation. */
  violate(what: string): void {
    this.violated++;
    if (this.violations.length < MAX_TOLD) this.violations.push({ at: this.now, what });
  }

  /** Passes on what was recorded. */
  flush(): void {
    const [changes, reads] = [this.#changes, this.#reads];
    [this.#changes, this.#reads] = [[], []];
    this.#onPart(changes, reads);
  }

  /** Latencies and errors since the last call. */
  take(): {
    wakes: (server: number) => Latencies;
    returns: (server: number) => Latencies;
    errors: { [kind: string]: number };
  } {
    const [wakes, returns] = [this.#wakes, this.#returns];
    const errors = Object.fromEntries(this.#errors);
    [this.#wakes, this.#returns, this.#errors] = [new Map(), new Map(), new Map()];
    return {
      wakes: (server) => summarize(wakes.get(server) ?? []),
      returns: (server) => summarize(returns.get(server) ?? []),
      errors,
    };
  }

  #look({ server, asked, answered }: Read, { key, version }: Sight, held: number): void {
    const untold = this.acks.untold(key, version, asked);
    if (untold !== undefined) {
      const who = `who asked server ${server} at ${asked.toFixed(1)}, answered at ${answered.toFixed(1)}`;
      this.violate(`${key} was left at ${version} for ${who}: ${untold} before`);
    }
    if (this.isBack(key, held, version)) {
      this.violate(`${key} went back from ${held} to ${version} at server ${server}`);
    }
    if (version !== held) this.#tell(server, key, [held, version], [asked, answered]);
  }

  /** Whether a version comes after one that is newer: one that is lower, or none although no client deletes. */
  isBack(key: string, held: number, version: number): boolean {
    return version < held && (version > 0 || !this.acks.mayBeGone(key));
  }

  /** Records an event of a stream. */
  streamed(server: number, key: string, [held, version]: readonly [number, number], opened: number): void {
    this.#tell(server, key, [held, version], [opened, performance.now()]);
  }

  #tell(
    server: number,
    key: string,
    [held, version]: readonly [number, number],
    [asked, answered]: readonly [number, number],
  ): void {
    this.told++;
    if (version === 0) this.toldGone++;
    else if (held === 0 && this.acks.mayBeGone(key)) this.toldBack++;
    const first = this.acks.firstNews(key, held, version);
    // Answered before the write was acknowledged.
    const latency = first === undefined ? 0 : answered - first;
    const isReturn = first !== undefined && asked > first;
    const list = isReturn ? this.#returns : this.#wakes;
    const latencies = list.get(server);
    if (latencies) latencies.push(latency);
    else list.set(server, [latency]);
  }
}

function summarize(latencies: number[]): Latencies {
  const round = (ms: number) => Number(ms.toFixed(1));
  return {
    count: latencies.length,
    p50: round(latencies.length === 0 ? 0 : percentile(latencies, 0.5)),
    p99: round(latencies.length === 0 ? 0 : percentile(latencies, 0.99)),
    most: round(latencies.reduce((most, ms) => Math.max(most, ms), 0)),
  };
}
