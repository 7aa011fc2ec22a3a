/**
 * Draws the newest figures as `bench/results/contenders.svg`: this package beside the limit and what people use.
 * `node bench/draw.ts` draws them again.
 *
 * @module
 */
import { writeFileSync } from "node:fs";
import process from "node:process";
import { pathToFileURL } from "node:url";
import { type Bar, type BarPanel, drawBars } from "./bars.ts";
import { PACKAGES } from "./contenders/packages.ts";
import { isQuick, readResult, type Result, RESULTS } from "./report.ts";
import { RUNTIMES } from "./runtimes.ts";

/** A row of a bench, as a panel. */
interface Shown {
  readonly title: string;
  readonly bench: string;
  /** How the row's group and name begin. */
  readonly group: string;
  readonly name: string;
}

const SHOWN: readonly Shown[] = [
  {
    title: "A sync of 10 keys in process, µs of a processor",
    bench: "sync",
    group: "fetch handler",
    name: "10 keys, 10 % changed",
  },
  {
    title: "A sync of 10 keys over HTTP, µs of a processor",
    bench: "http",
    group: "64 connections, processor time",
    name: "10 keys, 10 % changed",
  },
  {
    title: "updateNode in memory, µs",
    bench: "storage",
    group: "a change in memory",
    name: "updateNode, 10",
  },
  {
    title: "Memory of one waiting client, with its connection, KiB",
    bench: "waiters",
    group: "",
    name: "memory of one waiting client",
  },
  {
    title: "One change wakes all: until the last has its answer, ms",
    bench: "waiters",
    group: "",
    name: "one change wakes all: the last answer",
  },
  {
    title: "One change wakes one of them, median, ms",
    bench: "waiters",
    group: "",
    name: "one change wakes one: median",
  },
  {
    title: "A change on A, until a waiting client of B has it, median, ms",
    bench: "across",
    group: "",
    name: "median",
  },
  { title: "Process start to first answer, ms", bench: "start", group: "", name: "" },
];

/** The same color for the same contender everywhere: ours strong, what is bare grey. */
function colorOf(name: string): string {
  if (/^(reality|mesh)/.test(name)) return name.includes("Express") ? "#6fa8d6" : "#1b6ca8";
  if (name === "1.2.2") return "#d1495b";
  if (name.startsWith("socket.io")) return "#8e5ea2";
  return name.includes("SSE") ? "#3a7d44" : "#a8a8a8";
}

/** Draws them, from what lies in `bench/results/`. */
export function drawContenders(): void {
  const versions = `1.2.2 is this package as npm had it; socket.io ${PACKAGES["socket.io"]}`;
  const head = readResult("sync", "node") ?? readResult("waiters", "node");
  const note = `${
    isQuick ? "A rough, quick run. " : ""
  }Shorter is better. Bars are medians, the thin line is the range. ${versions}. ${head?.machine ?? ""}, ${
    head?.at.slice(0, 10) ?? ""
  }`;
  const svg = drawBars("@rootlodge/reality-server beside the limit and what people use", note, panels());
  writeFileSync(new URL("contenders.svg", RESULTS), svg);
}

function panels(): BarPanel[] {
  return SHOWN.flatMap(({ title, bench, group, name }) => {
    const groups = RUNTIMES.flatMap((runtime) => {
      const result = readResult(bench, runtime);
      const bars = result === undefined ? [] : barsOf(result, group, name);
      return result === undefined || bars.length === 0 ? [] : [{ name: result.runtime, bars }];
    });
    return groups.length === 0 ? [] : [{ title, groups }];
  });
}

function barsOf({ rows }: Result, group: string, name: string): Bar[] {
  const row = rows.find((row) => row.group.startsWith(group) && row.name.startsWith(name));
  // Rows for a part of the work are not contenders.
  return Object.entries(row?.figures ?? {})
    .filter(([name]) => !["Request and Response", "awaited Map.set"].includes(name))
    .map(([name, figure]) => ({ name, color: colorOf(name), figure }));
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? "").href) drawContenders();
