/**
 * Draws what the scale bench found: rounds, messages and bytes over the number of servers. `node bench/mesh/plot.ts`
 * draws it once more from `bench/results/mesh_scale.json`.
 *
 * @module
 */
import { readFileSync, writeFileSync } from "node:fs";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { type Axis, COLORS, type Panel, plot, type Series } from "../plot.ts";
import type { ScaleCase } from "./scale_case.ts";

/** Draws the cases as an SVG. */
export function plotScale(cases: readonly ScaleCase[]): string {
  const panels = [roundsPanel(cases), messagesPanel(cases), bytesPanel(cases)];
  return plot(panels, {
    ...{ width: 520, height: 220, columns: 1, hasDots: true, thickness: 3 },
    legend: { columns: 3, rows: 2 },
  });
}

/** All panels stand over the number of servers. */
const SERVERS: Axis = {
  ticks: [10, 100, 1000],
  range: [10 ** 0.9, 10 ** 3.1],
  isLogarithmic: true,
  show: (servers) => servers.toLocaleString("en"),
  title: "servers",
};

function roundsPanel(cases: readonly ScaleCase[]): Panel {
  const fanouts = [...new Set(cases.map(({ fanout }) => fanout))];
  const series = fanouts.flatMap((fanout, i): Series[] => {
    const own = cases.filter((one) =>
      one.fanout === fanout && one.state === "steady" && one.storage === "shared"
    );
    const color = COLORS[i % COLORS.length]!;
    return [
      { name: `fanout ${fanout}`, color, points: own.map(({ servers, rounds }) => [servers, rounds]) },
      {
        name: fanout === fanouts.at(-1) ? "best possible" : "",
        color: "best",
        isDashed: true,
        points: own.map(({ servers, least }) => [servers, least.rounds]),
      },
    ];
  });
  const { servers, rounds } = of(cases, "steady", "shared").at(-1) ?? { servers: 0, rounds: 0 };
  const most = Math.max(...series.flatMap(({ points }) => points.map(([, rounds]) => rounds)));
  return {
    title: `${
      servers.toLocaleString("en")
    } servers have told their clients after ${rounds} rounds of messages`,
    measured: "rounds; fanout is how many servers one server tells (8 by default)",
    series,
    x: SERVERS,
    y: { ticks: Array.from({ length: most + 1 }, (_, i) => i), show: String },
  };
}

function messagesPanel(cases: readonly ScaleCase[]): Panel {
  const points = (state: ScaleCase["state"], storage: ScaleCase["storage"]) =>
    of(cases, state, storage).map(({ servers, messages }) => [servers, messages] as const);
  const last = of(cases, "steady", "shared").at(-1);
  const [sent, servers, possible] = [last?.messages, last?.servers, last?.least.messages]
    .map((value = 0) => value.toLocaleString("en"));
  return {
    title: `${sent} messages tell ${servers} servers; ${possible} is the least possible`,
    measured: "messages for one change, with fanout 8",
    series: [
      { name: "steady", color: COLORS[0]!, points: points("steady", "shared") },
      { name: "first contact, shared", color: COLORS[3]!, points: points("first contact", "shared") },
      { name: "first contact, separate", color: COLORS[1]!, points: points("first contact", "separate") },
      least(cases, ({ least }) => least.messages),
    ],
    x: SERVERS,
    y: {
      ticks: [1, 10, 100, 1000, 10_000],
      isLogarithmic: true,
      show: (value) => value.toLocaleString("en"),
    },
  };
}

function bytesPanel(cases: readonly ScaleCase[]): Panel {
  const points = (state: ScaleCase["state"], storage: ScaleCase["storage"]) =>
    of(cases, state, storage).map(({ servers, bytes, least }) =>
      [servers, bytes / least.messages / 1000] as const
    );
  return {
    title: "Messages grow with the number of servers",
    measured: "kB for each server and change, with fanout 8",
    series: [
      { name: "one shared storage", color: COLORS[0]!, points: points("steady", "shared") },
      { name: "separate storages", color: COLORS[1]!, points: points("steady", "separate") },
      {
        name: "… after many changes",
        color: COLORS[2]!,
        points: points("after many changes", "separate"),
      },
      least(cases, ({ least }) => least.bytes / least.messages / 1000),
    ],
    x: SERVERS,
    y: { ticks: [0.1, 1, 10, 100, 1000], isLogarithmic: true, show: (value) => value.toLocaleString("en") },
  };
}

function of(
  cases: readonly ScaleCase[],
  state: ScaleCase["state"],
  storage: ScaleCase["storage"],
): readonly ScaleCase[] {
  return cases.filter((one) => one.state === state && one.storage === storage && one.fanout === 8);
}

function least(cases: readonly ScaleCase[], read: (one: ScaleCase) => number): Series {
  const points = of(cases, "steady", "shared").map((one) => [one.servers, read(one)] as const);
  return { name: "best possible", color: "best", isDashed: true, points };
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const folder = new URL("../results/", import.meta.url);
  const { cases } = JSON.parse(readFileSync(new URL("mesh_scale.json", folder), "utf8"));
  writeFileSync(new URL("mesh_scale.svg", folder), plotScale(cases));
}
