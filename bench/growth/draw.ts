/**
 * Draws how cost grows as `bench/results/growth.svg`: keys, nodes, waiters, servers from `mesh_scale.json`, and clients
 * that hop. `node bench/growth/draw.ts` draws it again from `bench/results/growth.json`.
 *
 * @module
 */
import { readFileSync, writeFileSync } from "node:fs";
import process from "node:process";
import { fileURLToPath } from "node:url";
import type { ScaleCase } from "../mesh/scale_case.ts";
import { type Axis, type Panel, plot, type Series } from "../plot.ts";
import { RESULTS } from "../report.ts";
import { type Curve, exponentOf, inWords } from "./curves.ts";

/** One panel: a measure, and in some panels another one beside it. */
interface Shown {
  readonly part: string;
  /** What grows, before the words that say how. */
  readonly title: string;
  readonly measured: string;
  /** The name of the curves. */
  readonly ours: string;
  readonly other?: readonly [curves: string, name: string];
}

const SHOWN: readonly Shown[] = [
  { part: "keys", title: "Time of a sync", measured: "µs", ours: "a sync, µs" },
  { part: "nodes", title: "Time of a sync", measured: "µs, 10 keys", ours: "a sync of 10 keys, µs" },
  { part: "nodes", title: "Time of a change", measured: "µs, updateNode", ours: "updateNode, µs" },
  { part: "nodes", title: "Reading 10 changes", measured: "µs", ours: "listChangedSince of 10, µs" },
  {
    part: "nodes",
    title: "Memory of a node",
    measured: "bytes",
    ours: "memory of a node with its key, bytes",
  },
  {
    part: "waiters",
    title: "Telling all clients",
    measured: "ms until the last has its answer",
    ours: "a connection each: last one answered, ms",
    other: ["a hundred on an HTTP/2 connection: last one answered, ms", "HTTP/2, 100 a connection"],
  },
  {
    part: "waiters",
    title: "Memory of a client",
    measured: "KiB",
    ours: "a connection each: memory, KiB",
    other: ["a hundred on an HTTP/2 connection: memory, KiB", "HTTP/2, 100 a connection"],
  },
  { part: "servers", title: "Rounds for a change", measured: "rounds of messages", ours: "rounds" },
  { part: "servers", title: "Messages for a change", measured: "messages", ours: "messages" },
  {
    part: "servers",
    title: "Bytes for a change",
    measured: "kB of each server",
    ours: "kB sent by each server",
  },
  {
    part: "hops",
    title: "Time of a sync",
    measured: "µs; each request at another server",
    ours: "a sync of a client that hops, µs",
    other: ["a sync of a client that stays, µs", "at the same server"],
  },
  {
    part: "hops",
    title: "Messages for a sync",
    measured: "between servers; each request at another server",
    ours: "messages between servers for it, hopping",
    other: ["messages between servers for it, staying", "at the same server"],
  },
];

/** What the lower axes show. */
const SIZES: Readonly<Record<string, string>> = {
  keys: "keys in the request",
  nodes: "nodes on the server",
  waiters: "waiting clients at one process",
  servers: "servers",
  hops: "clients of four servers",
};

/** Draws the curves; what the servers' part counted is added. */
export function drawGrowth(curves: readonly Curve[]): void {
  const all = [...curves, ...serverCurves()];
  const panels = SHOWN.flatMap((shown) => {
    const named = (name: string) => all.filter((curve) => curve.part === shown.part && curve.name === name);
    const own = named(shown.ours);
    return own.length === 0 ? [] : [panelOf(shown, own, named(shown.other?.[0] ?? ""))];
  });
  const svg = plot(panels, {
    ...{ width: 270, height: 150, columns: 2, hasDots: true, thickness: 2 },
    legend: { columns: 1, rows: 1 },
  });
  writeFileSync(new URL("growth.svg", RESULTS), svg);
}

/** What the simulation of many servers counted. */
function serverCurves(): Curve[] {
  let cases: ScaleCase[];
  try {
    cases = JSON.parse(readFileSync(new URL("../results/mesh_scale.json", import.meta.url), "utf8")).cases;
  } catch {
    return [];
  }
  const own = cases.filter(({ state, storage, fanout }) =>
    state === "steady" && storage === "shared" && fanout === 8
  );
  const curve = (name: string, cost: (one: ScaleCase) => number): Curve => ({
    part: "servers",
    name,
    runtime: "counted",
    points: own.map((one) => [one.servers, cost(one)] as const).toSorted((a, b) => a[0] - b[0]),
  });
  return [
    curve("rounds", ({ rounds }) => rounds),
    curve("messages", ({ messages }) => messages),
    curve("kB sent by each server", ({ bytes, servers }) => bytes / servers / 1000),
  ];
}

function panelOf(shown: Shown, own: readonly Curve[], others: readonly Curve[]): Panel {
  const seriesOf = (curves: readonly Curve[], color: string, name: string) =>
    curves.map(({ points }, i): Series => ({ name: i === 0 ? name : "", color, points }));
  const values = [...own, ...others].flatMap(({ points }) => points);
  const exponents = own.map(({ points }) => exponentOf(points));
  const mean = exponents.reduce((sum, exponent) => sum + exponent, 0) / exponents.length;
  return {
    title: `${shown.title}: ${inWords(mean)}`,
    measured: shown.measured,
    series: [...seriesOf(others, "other", shown.other?.[1] ?? ""), ...seriesOf(own, "ours", "")],
    x: {
      ...axisOf(values.map(([size]) => size)),
      title: `${SIZES[shown.part]} (exponent ${mean.toFixed(1).replace("-0.0", "0.0")})`,
    },
    y: axisOf(values.map(([, cost]) => cost)),
  };
}

/** Powers of ten around all values. */
function axisOf(values: readonly number[]): Axis {
  const positive = values.filter((value) => value > 0);
  const low = Math.floor(Math.log10(Math.min(...positive)));
  const high = Math.ceil(Math.log10(Math.max(...positive)) - 1e-9);
  const ticks = Array.from({ length: Math.max(1, high - low) + 1 }, (_, i) => 10 ** (low + i));
  return { ticks, isLogarithmic: true, show: (value) => value.toLocaleString("en", { notation: "compact" }) };
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  drawGrowth(JSON.parse(readFileSync(new URL("growth.json", RESULTS), "utf8")).curves);
}
