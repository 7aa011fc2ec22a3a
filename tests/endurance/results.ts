/**
 * The results of a run: their type, how they are written, and the slope of each process's memory.
 *
 * @module
 */
import { mkdirSync, renameSync, writeFileSync } from "node:fs";
import type { ServerSample } from "../cluster/server.ts";
import type { Fault } from "./faults.ts";
import type { Latencies, Violation } from "./record.ts";

/** One process at one moment. Counts start with the process. */
export interface ProcessSample extends ServerSample {
  /** The number of the server, and of its process, from 1 on. */
  readonly server: number;
  readonly incarnation: number;
  /** From the acknowledgement of a change to the answer of a client that waited here then, … */
  readonly wakes: Latencies;
  /** … and of a client that sent its sync later. */
  readonly returns: Latencies;
}

/** All processes at one moment. */
export interface Sample {
  /** Seconds since the run began. */
  readonly at: number;
  /** The machine's load average of the last minute. */
  readonly load: number;
  /** Clients that wait for an answer. */
  readonly asking: number;
  /** Totals so far. */
  readonly acknowledged: number;
  /** Of those, deletions. */
  readonly deleted: number;
  readonly answers: number;
  readonly violated: number;
  /** Since the last sample: errors of clients by kind, and errors that servers reported by code. */
  readonly errors: { readonly [kind: string]: number };
  readonly reports: { readonly [code: string]: number };
  readonly processes: readonly ProcessSample[];
}

/** The memory of one process over time, after its first minutes. */
export interface Slope {
  readonly server: string;
  readonly incarnation: number;
  /** Minutes of the run: where the line begins and ends. */
  readonly from: number;
  readonly to: number;
  readonly rss: Line;
  /** Of the heap only the lowest sample of every two minutes counts, with the least garbage. */
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
  /** `running`, `complete`, or why it ended early. */
  state: string;
  /** Minutes that it has lasted. */
  lasted: number;
  totals: { [name: string]: number };
  slopes: readonly Slope[];
  readonly violations: readonly Violation[];
  /** Failures of the run itself, or in a server that no fault had touched. */
  readonly failures: Violation[];
  readonly faults: Fault[];
  readonly samples: Sample[];
}

/** The first minutes of a process are left out. */
const WARM_UP = 10 * 60;

/** A line needs at least so many samples. */
const LEAST_SAMPLES = 30;

const MIB = 2 ** 20;

/** The memory of every process that ran long enough. */
export function slopesOf(samples: readonly Sample[], names: readonly string[]): Slope[] {
  const incarnations = new Map<string, { at: number; sample: ProcessSample }[]>();
  for (const { at, processes } of samples) {
    for (const sample of processes) {
      const name = `${sample.server} ${sample.incarnation}`;
      incarnations.set(name, [...incarnations.get(name) ?? [], { at, sample }]);
    }
  }
  return [...incarnations.values()].flatMap((own) => {
    const begin = own[0]!.at;
    const kept = own.filter(({ at }) => at - begin >= WARM_UP);
    const [first, last] = [kept[0], kept.at(-1)];
    if (first === undefined || last === undefined || kept.length < LEAST_SAMPLES) return [];
    const line = (read: (sample: ProcessSample) => number) =>
      kept.map(({ at, sample }) => [at / 3600, read(sample) / MIB] as const);
    return [{
      server: names[first.sample.server]!,
      incarnation: first.sample.incarnation,
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

/** Writes the results so far, one sample, fault or violation a line. */
export function keep(folder: URL, results: Results): void {
  const { slopes, violations, failures, faults, samples, ...head } = results;
  const lists = { slopes, violations, failures, faults, samples };
  const texts = Object.entries(lists).map(([name, list]) => {
    const lines = list.map((one) => `\n    ${JSON.stringify(one)}`);
    return `  ${JSON.stringify(name)}: [${lines.join(",")}\n  ]`;
  });
  const text = `${JSON.stringify(head, null, 2).slice(0, -2)},\n${texts.join(",\n")}\n}\n`;
  mkdirSync(folder, { recursive: true });
  // Replace the file atomically: the run may be stopped at any time.
  const unfinished = new URL("results.json.part", folder);
  writeFileSync(unfinished, text);
  renameSync(unfinished, new URL("results.json", folder));
}
