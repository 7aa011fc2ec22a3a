/**
 * Draws the newest figures of Node as `bench/results/contenders.svg`: this package beside the least possible and what
 * people use. `node bench/draw.ts` draws them again.
 *
 * @module
 */
import { writeFileSync } from "node:fs";
import process from "node:process";
import { pathToFileURL } from "node:url";
import { type Bar, type BarPanel, drawBars, show } from "./bars.ts";
import { PACKAGES } from "./contenders/packages.ts";
import { isQuick, readResult, type Result, RESULTS } from "./report.ts";

/** Returns the median of a contender. */
type Read = (contender: string) => number;

/** A row of a bench, as a panel. */
interface Shown {
  /** The finding, made of the figures, so that it is as new as they are. */
  readonly finding: (read: Read) => string;
  readonly measured: string;
  readonly bench: string;
  /** How the row's group and name begin. */
  readonly group: string;
  readonly name: string;
}

const times = (a: number, b: number) => `${(a / b).toFixed(1)} times`;

const SHOWN: readonly Shown[] = [
  {
    finding: (read) => `A client at another server is told in ${show(read("mesh"))} ms`,
    measured: "from the change on to the answer of a waiting client, median, milliseconds",
    bench: "across",
    group: "",
    name: "median",
  },
  {
    finding: (read) => `One client of 10,000 is told in ${show(read("reality"))} ms`,
    measured: "the same at one server, median, milliseconds",
    bench: "waiters",
    group: "",
    name: "one change wakes one: median",
  },
  {
    finding: (read) => `All 10,000 clients are told in ${show(read("reality") / 1000)} s`,
    measured: "until the last one has its answer, milliseconds",
    bench: "waiters",
    group: "",
    name: "one change wakes all: the last answer",
  },
  {
    finding: (read) => `A waiting client needs ${show(read("reality"))} KiB`,
    measured: "memory of the server for one client with its connection, KiB",
    bench: "waiters",
    group: "",
    name: "memory of one waiting client",
  },
  {
    finding: (read) => `A sync costs ${times(read("reality"), read("limit"))} the least possible`,
    measured: "10 keys over HTTP, processor time, microseconds",
    bench: "http",
    group: "64 connections, processor time",
    name: "10 keys, 10 % changed",
  },
  {
    finding: (read) => `Without HTTP it is ${times(read("reality"), read("limit"))}`,
    measured: "10 keys, fetch handler in the same process, processor time, microseconds",
    bench: "sync",
    group: "fetch handler",
    name: "10 keys, 10 % changed",
  },
  {
    finding: (read) => `A change in memory takes ${show(read("reality"))} µs`,
    measured: "updateNode among 10,000 nodes, microseconds",
    bench: "storage",
    group: "a change in memory",
    name: "updateNode, 10",
  },
  {
    finding: (read) => `A process starts ${show(read("reality") - read("bare"))} ms later than a bare server`,
    measured: "from its start to its first answer, milliseconds",
    bench: "start",
    group: "",
    name: "",
  },
];

/** What readers of the picture can understand without the page. */
const NAMES: Readonly<Record<string, string>> = {
  limit: "least possible",
  reality: "Reality",
  "reality, SSE": "Reality, event stream",
  "reality, Express": "Reality in Express",
  mesh: "Reality",
  "mesh and Redis": "Reality with Redis",
  "long poll": "bare long poll",
  "plain SSE": "bare event stream",
  bare: "bare server",
  "1.2.2": "version 1.2.2",
  "socket.io and Redis": "socket.io with Redis",
};

/** Draws them, from what lies in `bench/results/`. */
export function drawContenders(): void {
  const head = readResult("sync", "node") ?? readResult("waiters", "node");
  const notes = [
    `${isQuick ? "A rough, quick run. " : ""}Blue is this package. Thin lines are the range of all rounds.`,
    "Least possible: reads the request, looks up and answers. It checks nothing.",
    `Version 1.2.2 has Express in front. socket.io is ${PACKAGES["socket.io"]}.`,
    `${head?.runtime ?? "Node"}. Deno and Bun are in the tables.`,
    `${head?.machine ?? ""}, ${head?.at.slice(0, 10) ?? ""}`,
  ];
  const svg = drawBars("What Reality costs. Shorter is better", panels(), notes);
  writeFileSync(new URL("contenders.svg", RESULTS), svg);
}

function panels(): BarPanel[] {
  return SHOWN.flatMap(({ finding, measured, bench, group, name }) => {
    const result = readResult(bench, "node");
    const row = result?.rows.find((row) => row.group.startsWith(group) && row.name.startsWith(name));
    if (row === undefined) return [];
    const read: Read = (contender) => row.figures[contender]?.median ?? NaN;
    return [{ finding: finding(read), measured, bars: barsOf(row) }];
  });
}

function barsOf({ figures }: Result["rows"][number]): Bar[] {
  // Rows for a part of the work are not contenders.
  return Object.entries(figures)
    .filter(([name]) => !["Request and Response", "awaited Map.set"].includes(name))
    .map(([name, figure]) => ({ name: NAMES[name] ?? name, isOurs: /^(?:reality|mesh)/.test(name), figure }));
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? "").href) drawContenders();
