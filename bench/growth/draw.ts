/**
 * Draws how cost grows as `bench/results/growth.svg`: keys, nodes, waiters, servers from `mesh_scale.json`, and clients
 * that hop.
 *
 * @module
 */
import { readFileSync, writeFileSync } from "node:fs";
import type { ScaleCase } from "../mesh/scale_case.ts";
import { type Axis, COLORS, type Panel, plot, type Series } from "../plot.ts";
import { RESULTS } from "../report.ts";
import { type Curve, exponentOf, inWords } from "./curves.ts";

const TITLES: Readonly<Record<string, string>> = {
  keys: "Keys in one request",
  nodes: "Nodes on the server",
  waiters: "Clients that wait at one process",
  servers: "Servers in a mesh, one change",
  hops: "Clients on four servers with storages of their own, one change for ten syncs",
};

/** Draws the curves; what the servers' part counted is added. */
export function drawGrowth(curves: readonly Curve[]): void {
  const all = [...curves, ...serverCurves()];
  const panels = Object.keys(TITLES).flatMap((part) => {
    const own = all.filter((curve) => curve.part === part);
    return own.length === 0 ? [] : [panelOf(part, own)];
  });
  const svg = plot(panels, {
    width: 600,
    height: 300,
    columns: 2,
    hasDots: true,
    thickness: 2,
    legend: { columns: 1, rows: 4 },
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

function panelOf(part: string, curves: readonly Curve[]): Panel {
  const names = [...new Set(curves.map(({ name }) => name))];
  // The same work has the same color on every runtime, and one entry in the legend.
  const series = names.flatMap((name, i) => {
    const own = curves.filter((curve) => curve.name === name);
    return own.map(({ points }, n): Series => ({
      name: n === 0 ? `${name}: ${slopesOf(own)}` : "",
      color: PALETTE[i % PALETTE.length]!,
      points,
    }));
  });
  const values = curves.flatMap(({ points }) => points);
  return {
    title: TITLES[part]!,
    series,
    x: axisOf(values.map(([size]) => size)),
    y: axisOf(values.map(([, cost]) => cost)),
  };
}

/** How steeply the same work grows: in words for all runtimes, and as a number for each. */
function slopesOf(curves: readonly Curve[]): string {
  const exponents = curves.map(({ points }) => exponentOf(points));
  const numbers = curves.map(({ runtime }, i) => {
    const digits = exponents[i]!.toFixed(2);
    return runtime === "counted" ? digits : `${runtime.split(" ")[0]} ${digits}`;
  });
  const mean = exponents.reduce((sum, exponent) => sum + exponent, 0) / exponents.length;
  return `${inWords(mean)} (${numbers.join(", ")})`;
}

const PALETTE: readonly string[] = [...COLORS, "#e08e2b", "#5b5b5b"];

/** Powers of ten around all values. */
function axisOf(values: readonly number[]): Axis {
  const positive = values.filter((value) => value > 0);
  const low = Math.floor(Math.log10(Math.min(...positive)));
  const high = Math.ceil(Math.log10(Math.max(...positive)) - 1e-9);
  const ticks = Array.from({ length: Math.max(1, high - low) + 1 }, (_, i) => 10 ** (low + i));
  return { ticks, isLogarithmic: true, show: (value) => value.toLocaleString("en", { notation: "compact" }) };
}
