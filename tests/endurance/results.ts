/**
 * What a run leaves behind: its shape, how it is kept, and the slope of each process's memory.
 *
 * @module
 */
import { mkdirSync, renameSync, writeFileSync } from "node:fs";
import type { ServerSample } from "../cluster/server.ts";
import type { Fault } from "./faults.ts";
import type { Latencies, Violation } from "./record.ts";

/** One process at one moment; the counts are those since its start. */
export interface ProcessSample extends ServerSample {
  /** The number of the server, and which of its lives this is. */
  readonly server: number;
  readonly life: number;
  /** From the acknowledgement of a change to the answer of who waited here then, … */
  readonly wakes: Latencies;
  /** … and of who asked only afterwards: who was on the way, or had lost its server. */
  readonly returns: Latencies;
}

/** All processes at one moment. */
export interface Sample {
  /** Seconds since the run began. */
  readonly at: number;
  /** The machine's load, of the last minute, other people's work included. */
  readonly load: number;
  /** Clients that wait for an answer. */
  readonly asking: number;
  /** Totals so far. */
  readonly acknowledged: number;
  /** Of those, deletions. */
  readonly deleted: number;
  readonly answers: number;
  readonly violated: number;
  /** Since the sample before: what clients met, by kind, and what servers reported, by code. */
  readonly errors: { readonly [kind: string]: number };
  readonly reports: { readonly [code: string]: number };
  readonly processes: readonly ProcessSample[];
}

/** How the memory of a process went in one life, after its first minutes. */
export interface Slope {
  readonly server: string;
  readonly life: number;
  /** Minutes of the run: where the line begins and ends. */
  readonly from: number;
  readonly to: number;
  readonly rss: Line;
  /** Of the heap only the lowest sample of every two minutes counts: what is in use, with the least garbage. */
  readonly heap: Line;
}

/** A straight line through measurements, in MiB. */
export interface Line {
  /** MiB an hour, by least squares, and twice its standard error. */
  readonly perHour: number;
  readonly plusMinus: number;
  readonly mean: number;
  readonly low: number;
  readonly high: number;
}

/** All of a run. */
export interface Results {
  readonly machine: string;
  readonly versions: { readonly [name: string]: string };
  readonly commit: string;
  readonly at: string;
  readonly seed: string;
  readonly minutes: number;
  readonly clients: number;
  readonly changesPerSecond: number;
  /** How far it is: `running`, `complete`, or why it ended before its time. */
  state: string;
  /** Minutes that it has lasted. */
  lasted: number;
  totals: { [name: string]: number };
  slopes: readonly Slope[];
  readonly violations: readonly Violation[];
  /** What went wrong in the run itself, or in a server that nobody had touched. */
  readonly failures: Violation[];
  readonly faults: Fault[];
  readonly samples: Sample[];
}

/** What a process holds in its first minutes is not looked at. */
const WARM_UP = 10 * 60;

/** A line is drawn through so many samples at least. */
const LEAST_SAMPLES = 30;

const MIB = 2 ** 20;

/** The memory of every life that lasted long enough. */
export function slopesOf(samples: readonly Sample[], names: readonly string[]): Slope[] {
  const lives = new Map<string, { at: number; sample: ProcessSample }[]>();
  for (const { at, processes } of samples) {
    for (const sample of processes) {
      const name = `${sample.server} ${sample.life}`;
      lives.set(name, [...lives.get(name) ?? [], { at, sample }]);
    }
  }
  return [...lives.values()].flatMap((life) => {
    const begin = life[0]!.at;
    const kept = life.filter(({ at }) => at - begin >= WARM_UP);
    const [first, last] = [kept[0], kept.at(-1)];
    if (first === undefined || last === undefined || kept.length < LEAST_SAMPLES) return [];
    const line = (read: (sample: ProcessSample) => number) =>
      kept.map(({ at, sample }) => [at / 3600, read(sample) / MIB] as const);
    return [{
      server: names[first.sample.server]!,
      life: first.sample.life,
      from: Number((first.at / 60).toFixed(1)),
      to: Number((last.at / 60).toFixed(1)),
      rss: fit(line(({ rss }) => rss)),
      heap: fit(lowest(line(({ heap }) => heap))),
    }];
  });
}

/** Of every two minutes, the lowest. */
function lowest(points: readonly (readonly [hours: number, value: number])[]): (readonly [number, number])[] {
  const pieces = new Map<number, readonly [number, number]>();
  for (const point of points) {
    const piece = Math.floor(point[0] * 30);
    if (point[1] < (pieces.get(piece)?.[1] ?? Infinity)) pieces.set(piece, point);
  }
  return [...pieces.values()];
}

/** Least squares. */
export function fit(points: readonly (readonly [x: number, y: number])[]): Line {
  const n = points.length;
  const meanX = points.reduce((sum, [x]) => sum + x, 0) / n;
  const mean = points.reduce((sum, [, y]) => sum + y, 0) / n;
  const spread = points.reduce((sum, [x]) => sum + (x - meanX) ** 2, 0);
  const slope = points.reduce((sum, [x, y]) => sum + (x - meanX) * (y - mean), 0) / spread;
  const rest = points.reduce((sum, [x, y]) => sum + (y - mean - slope * (x - meanX)) ** 2, 0);
  const error = Math.sqrt(rest / (n - 2) / spread);
  const all = points.map(([, y]) => y);
  const round = (value: number) => Number(value.toFixed(1));
  return {
    perHour: round(slope),
    plusMinus: round(2 * error),
    mean: round(mean),
    low: round(Math.min(...all)),
    high: round(Math.max(...all)),
  };
}

/** Keeps what there is so far; a sample, a fault or a violation a line. */
export function keep(folder: URL, results: Results): void {
  const { slopes, violations, failures, faults, samples, ...head } = results;
  const lists = { slopes, violations, failures, faults, samples };
  const texts = Object.entries(lists).map(([name, list]) => {
    const lines = list.map((one) => `\n    ${JSON.stringify(one)}`);
    return `  ${JSON.stringify(name)}: [${lines.join(",")}\n  ]`;
  });
  const text = `${JSON.stringify(head, null, 2).slice(0, -2)},\n${texts.join(",\n")}\n}\n`;
  mkdirSync(folder, { recursive: true });
  // Whole or not at all, whenever the run is stopped.
  const unfinished = new URL("results.json.part", folder);
  writeFileSync(unfinished, text);
  renameSync(unfinished, new URL("results.json", folder));
}
