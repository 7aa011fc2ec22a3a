/**
 * Draws a run: memory, latency, work and errors over its minutes. `node tests/endurance/plot.ts` redraws it from
 * `tests/endurance/results.json`; a path names another file.
 *
 * @module
 */
import { readFileSync, writeFileSync } from "node:fs";
import process from "node:process";
import { fileURLToPath, pathToFileURL } from "node:url";
import { type Axis, COLORS, type Panel, plot, type Series } from "../../bench/plot.ts";
import { RUNTIMES } from "../storage/runtimes.ts";
import type { FaultKind } from "./faults.ts";
import type { ProcessSample, Results, Sample } from "./results.ts";

/** The letter of each fault. */
const LETTERS: Readonly<Record<FaultKind, string>> = {
  "kill": "K",
  "close": "C",
  "crash Redis": "R",
  "restart Postgres": "P",
  "break a link": "L",
  "slow bodies": "S",
  "disconnect": "H",
};

const MIB = 2 ** 20;

/** Draws a run as an SVG. */
export function plotRun({ samples, faults }: Results): string {
  const last = samples.at(-1)?.at ?? 0;
  const minutes = Math.max(1, Math.ceil(last / 60));
  const step = Math.max(1, Math.round(minutes / 12));
  const x: Axis = {
    ticks: Array.from({ length: Math.floor(minutes / step) + 1 }, (_, i) => i * step),
    range: [0, minutes],
    show: String,
    title:
      "minutes; K killed, C closed, R Redis killed, P Postgres crashed, L a link broken, S slow bodies, H clients disconnected",
  };
  const marks = faults.map(({ at, kind }) => [at / 60, LETTERS[kind]] as const);
  const panels: Panel[] = [
    {
      title: "Resident memory of each process, MiB; the heap's part of it in dashes",
      series: [
        ...perLife(samples, ({ rss }) => rss / MIB),
        ...perLife(samples, ({ heap }) => heap / MIB).map((one) => ({ ...one, name: "", isDashed: true })),
      ],
      ...{ x, marks, y: linear(samples.flatMap(({ processes }) => processes.map(({ rss }) => rss / MIB))) },
    },
    {
      title:
        "From the acknowledgement of a change to the answer of a waiting client, ms: 99th percentile; the median in dashes",
      series: [
        ...perLife(samples, ({ wakes }) => atLeast(wakes.p99)),
        ...perLife(samples, ({ wakes }) => atLeast(wakes.p50)).map((one) => ({
          ...one,
          name: "",
          isDashed: true,
        })),
      ],
      ...{ x, marks, y: { ticks: [0.1, 1, 10, 100, 1000, 10_000], isLogarithmic: true, show: grouped } },
    },
    {
      title: "Waiting requests at each server",
      series: perLife(samples, ({ waiters }) => waiters),
      ...{ x, marks, y: linear(samples.flatMap(({ processes }) => processes.map(({ waiters }) => waiters))) },
    },
    ratesPanel(samples, x, marks),
  ];
  return plot(panels, { width: 860, height: 200, columns: 1, hasDots: false, thickness: 1.6 });
}

/** One line for each process; each server has its color. */
function perLife(samples: readonly Sample[], read: (sample: ProcessSample) => number): Series[] {
  const lines = new Map<string, { server: number; points: (readonly [number, number])[] }>();
  for (const { at, processes } of samples) {
    for (const sample of processes) {
      const name = `${sample.server} ${sample.incarnation}`;
      const line = lines.get(name) ?? { server: sample.server, points: [] };
      lines.set(name, line);
      line.points.push([at / 60, read(sample)]);
    }
  }
  const named = new Set<number>();
  return [...lines.values()].map(({ server, points }) => {
    const name = named.has(server) ? "" : RUNTIMES[server]!;
    named.add(server);
    return { name, color: COLORS[server]!, points };
  });
}

function ratesPanel(samples: readonly Sample[], x: Axis, marks: NonNullable<Panel["marks"]>): Panel {
  const rate = (read: (sample: Sample) => number) =>
    samples.slice(1).map((sample, i) => {
      const before = samples[i]!;
      return [sample.at / 60, (read(sample) - read(before)) / (sample.at - before.at)] as const;
    });
  const series: Series[] = [
    { name: "answers", color: COLORS[0]!, points: rate(({ answers }) => answers) },
    { name: "changes acknowledged", color: COLORS[2]!, points: rate(({ acknowledged }) => acknowledged) },
    { name: "deletions among them", color: COLORS[3]!, points: rate(({ deleted }) => deleted) },
    {
      name: "requests without an answer",
      color: COLORS[1]!,
      points: samples.map(({ at, errors }, i) => {
        const lasted = at - (samples[i - 1]?.at ?? 0);
        return [at / 60, Object.values(errors).reduce((sum, count) => sum + count, 0) / lasted];
      }),
    },
  ];
  return {
    title: "Each second",
    series,
    ...{ x, marks, y: linear(series.flatMap(({ points }) => points.map(([, value]) => value))) },
  };
}

/** From zero to the highest value, in four steps. */
function linear(values: readonly number[]): Axis {
  const most = values.reduce((most, value) => Math.max(most, value), 1);
  const unit = 10 ** Math.floor(Math.log10(most / 4));
  const step = [1, 2, 3, 5, 10].map((factor) => factor * unit).find((step) => step * 4 >= most)!;
  return { ticks: [0, 1, 2, 3, 4].map((i) => i * step), show: grouped };
}

/** Smaller values are drawn at this one: zero has no logarithm. */
function atLeast(ms: number): number {
  return Math.max(ms, 0.1);
}

function grouped(value: number): string {
  return value.toLocaleString("en");
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const named = process.argv[2];
  const file = named === undefined ? new URL("./results.json", import.meta.url) : pathToFileURL(named);
  writeFileSync(new URL("./results.svg", file), plotRun(JSON.parse(readFileSync(file, "utf8"))));
}
