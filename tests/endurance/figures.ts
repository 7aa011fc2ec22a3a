/**
 * Writes the figures of `tests/endurance/results.json` into `tests/endurance/README.md`, and draws them:
 * `node tests/endurance/figures.ts`.
 *
 * @module
 */
import { readFileSync, writeFileSync } from "node:fs";
import { RUNTIMES } from "../storage/runtimes.ts";
import { percentile } from "../../bench/measure.ts";
import { plotRun } from "./plot.ts";
import { type Line, type ProcessSample, type Results, slopesOf } from "./results.ts";

const README = new URL("./README.md", import.meta.url);
const BEGIN = "<!-- figures: written by tests/endurance/figures.ts -->";
const END = "<!-- end of figures -->";

/** A line that goes up or down by less than this share of the memory in an hour is called flat. */
const FLAT = 0.05;

const results = JSON.parse(readFileSync(new URL("./results.json", import.meta.url), "utf8")) as Results;
const { samples } = results;
const [before = "", rest = ""] = readFileSync(README, "utf8").split(BEGIN);
const [, after = ""] = rest.split(END);
const parts = [head(), totals(), perServer(), memory(), faults(), errors()];
writeFileSync(README, `${before}${BEGIN}\n\n${parts.join("\n\n")}\n\n${END}${after}`);
writeFileSync(new URL("./results.svg", import.meta.url), plotRun(results));

function head(): string {
  const { machine, versions, commit, at, seed, state, lasted, clients, changesPerSecond } = results;
  const loads = samples.map(({ load }) => load);
  const load = `a load of ${Math.min(...loads).toFixed(0)} to ${Math.max(...loads).toFixed(0)}`;
  const names = Object.entries(versions).map(([name, version]) =>
    `${name} ${/\d+(\.\d+)+/.exec(version)?.[0] ?? version}`
  );
  return [
    `${machine}; ${names.join(", ")}; commit ${commit}, seed ${seed}.`,
    `${at.slice(0, 10)}, ${lasted} of ${results.minutes} minutes (${state}), ${
      clients.toLocaleString("en")
    } clients`,
    `that wait, ${changesPerSecond} changes a second asked for. The machine was shared with other people's work all the`,
    `while (${load} on its cores, of which this run, at a lower priority, is a part).`,
  ].join("\n");
}

function totals(): string {
  const { acknowledged = 0, deleted = 0, uncertain = 0, heldBack = 0, answers = 0, told = 0, violated = 0 } =
    results.totals;
  const { toldGone = 0, toldBack = 0, gone = 0, tombstones = 0 } = results.totals;
  const last = samples.at(-1)?.at ?? 1;
  const count = (number: number) => number.toLocaleString("en");
  const writing = acknowledged / Math.min(last, results.minutes * 60);
  return table(["", "in all"], [
    ["broken promises", count(violated)],
    ["failures that no fault caused", count(results.failures.length)],
    ["faults", count(results.faults.length)],
    ["changes acknowledged", `${count(acknowledged)} (${writing.toFixed(0)} a second)`],
    ["deletions among them", count(deleted)],
    ["changes without an answer, or answered 503", count(uncertain)],
    ["changes held back: no writer was free for a second", count(heldBack)],
    ["syncs answered", count(answers)],
    ["other versions told", count(told)],
    ["told that a key is gone", count(toldGone)],
    ["told that a key which was gone is there", count(toldBack)],
    ["keys that were gone when all was over", count(gone)],
    ["deletions that the storage still knew then", count(tombstones)],
  ]);
}

function perServer(): string {
  const rows = RUNTIMES.map((name, server) => {
    const own = samples.flatMap(({ processes }) => processes.filter((one) => one.server === server));
    const woken = own.filter(({ wakes }) => wakes.count > 0);
    const middle = (read: (sample: ProcessSample) => number) => percentile(woken.map(read), 0.5);
    const worst = Math.max(...woken.map(({ wakes }) => wakes.p99));
    const processes = new Map(own.map((sample) => [sample.incarnation, sample]));
    const sum = (read: (sample: ProcessSample) => number) =>
      [...processes.values()].reduce((sum, sample) => sum + read(sample), 0);
    const syncs = sum(({ syncs }) => syncs);
    return [
      name,
      String(processes.size),
      woken.reduce((sum, { wakes }) => sum + wakes.count, 0).toLocaleString("en"),
      middle(({ wakes }) => wakes.p50).toFixed(1),
      middle(({ wakes }) => wakes.p99).toFixed(0),
      worst.toFixed(0),
      (sum(({ storageReads }) => storageReads) / syncs).toFixed(2),
      (sum(({ processor }) => processor) / 1000 / syncs).toFixed(2),
    ];
  });
  const names = [
    "",
    "processes",
    "wakes",
    "median, ms",
    "99 of 100, ms",
    "the worst ten seconds' 99 of 100, ms",
  ];
  return table([...names, "storage reads a sync", "processor time for everything ÷ syncs, ms"], rows) +
    "\n\nThe median and the 99 of 100 are those of a sample of ten seconds, in the middle of all samples.";
}

function memory(): string {
  const rows = slopesOf(samples, RUNTIMES).map(({ server, incarnation, from, to, rss, heap }) => [
    `${server}, process ${incarnation}`,
    `${from.toFixed(0)} to ${to.toFixed(0)}`,
    `${rss.mean} (${rss.low}–${rss.high})`,
    show(rss),
    `${heap.mean} (${heap.low}–${heap.high})`,
    show(heap),
  ]);
  const names = [
    "",
    "minutes",
    "resident, MiB",
    "MiB an hour",
    "heap, the lowest of two minutes, MiB",
    "MiB an hour",
  ];
  return table(names, rows);
}

function show({ perHour, plusMinus, mean }: Line): string {
  const isFlat = Math.abs(perHour) < Math.max(FLAT * mean, plusMinus);
  const word = isFlat ? "flat" : perHour > 0 ? "rises" : "falls";
  return `${perHour > 0 ? "+" : ""}${perHour} ± ${plusMinus}: ${word}`;
}

function faults(): string {
  const counts = new Map<string, number>();
  for (const { kind } of results.faults) counts.set(kind, (counts.get(kind) ?? 0) + 1);
  return `Faults: ${[...counts].map(([kind, count]) => `${kind} ${count}`).join(", ")}.`;
}

function errors(): string {
  const counts = new Map<string, number>();
  for (const { errors, reports } of samples) {
    for (const [kind, count] of [...Object.entries(errors), ...Object.entries(reports)]) {
      counts.set(kind, (counts.get(kind) ?? 0) + count);
    }
  }
  const sorted = [...counts].sort(([, a], [, b]) => b - a);
  return table(
    ["what clients met, and what servers reported", "times"],
    sorted.map(([kind, count]) => [kind, count.toLocaleString("en")]),
  );
}

function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const line = (cells: readonly string[]) => `| ${cells.join(" | ")} |`;
  return [line(head), `|---|${"---:|".repeat(head.length - 1)}`, ...rows.map(line)].join("\n");
}
