/**
 * Draws what the scale bench found: rounds, messages and bytes over the number of servers. `node bench/mesh/plot.ts`
 * draws it once more from `bench/results/mesh_scale.json`.
 *
 * @module
 */
import { readFileSync, writeFileSync } from "node:fs";
import process from "node:process";
import { fileURLToPath } from "node:url";
import type { ScaleCase } from "./scale_bench.ts";

/** One line in a panel. */
interface Series {
  readonly name: string;
  readonly color: string;
  /** Drawn in dashes: what is best possible. */
  readonly isLeast?: boolean;
  readonly points: readonly (readonly [servers: number, value: number])[];
}

/** One panel: its values stand beside the servers, both as logarithms unless it says otherwise. */
interface Panel {
  readonly title: string;
  readonly series: readonly Series[];
  readonly isLinear?: boolean;
  readonly ticks: readonly number[];
  readonly show: (value: number) => string;
}

const WIDTH = 300;
const HEIGHT = 230;
const LEFT = 52;
const TOP = 46;
const GAP = 34;
const LEGEND = 74;
const COLORS = ["#1b6ca8", "#d1495b", "#3a7d44", "#8e5ea2"];

/** Draws the cases as an SVG. */
export function plotScale(cases: readonly ScaleCase[]): string {
  const panels = [roundsPanel(cases), messagesPanel(cases), bytesPanel(cases)];
  const width = panels.length * (LEFT + WIDTH + GAP);
  const height = TOP + HEIGHT + 40 + LEGEND;
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}" viewBox="0 0 ${width} ${height}"`,
    ` font-family="system-ui, sans-serif" font-size="12" fill="#222">`,
    `<rect width="${width}" height="${height}" fill="#fff"/>`,
    ...panels.map((panel, i) => draw(panel, i * (LEFT + WIDTH + GAP) + LEFT)),
    "</svg>\n",
  ].join("\n");
}

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
        color: "#222",
        isLeast: true,
        points: own.map(({ servers, least }) => [servers, least.rounds]),
      },
    ];
  });
  const most = Math.max(...series.flatMap(({ points }) => points.map(([, rounds]) => rounds)));
  return {
    title: "Rounds until all have told their clients",
    series,
    isLinear: true,
    ticks: Array.from({ length: most + 1 }, (_, i) => i),
    show: String,
  };
}

function messagesPanel(cases: readonly ScaleCase[]): Panel {
  const points = (state: ScaleCase["state"], storage: ScaleCase["storage"]) =>
    of(cases, state, storage).map(({ servers, messages }) => [servers, messages] as const);
  return {
    title: "Messages for one change (fanout 8)",
    series: [
      { name: "steady", color: COLORS[0]!, points: points("steady", "shared") },
      { name: "first contact, shared", color: COLORS[3]!, points: points("first contact", "shared") },
      { name: "first contact, separate", color: COLORS[1]!, points: points("first contact", "separate") },
      least(cases, ({ least }) => least.messages),
    ],
    ticks: [1, 10, 100, 1000, 10_000],
    show: (value) => value.toLocaleString("en"),
  };
}

function bytesPanel(cases: readonly ScaleCase[]): Panel {
  const points = (state: ScaleCase["state"], storage: ScaleCase["storage"]) =>
    of(cases, state, storage).map(({ servers, bytes, least }) =>
      [servers, bytes / least.messages / 1000] as const
    );
  return {
    title: "KB for each server and change (fanout 8)",
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
    ticks: [0.1, 1, 10, 100, 1000],
    show: (value) => value.toLocaleString("en"),
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
  return { name: "best possible", color: "#222", isLeast: true, points };
}

function draw(panel: Panel, left: number): string {
  const scale = panel.isLinear ? (value: number) => value : Math.log10;
  const [low, high] = [scale(panel.ticks[0]!), scale(panel.ticks.at(-1)!)];
  const x = (servers: number) => left + (Math.log10(servers) - 0.9) / 2.2 * WIDTH;
  const y = (value: number) => TOP + HEIGHT - (scale(value) - low) / (high - low) * HEIGHT;
  const parts = [`<text x="${left - 30}" y="${TOP - 22}" font-weight="600">${panel.title}</text>`];
  for (const tick of panel.ticks) {
    const at = y(tick).toFixed(1);
    parts.push(`<path d="M${left} ${at}h${WIDTH}" stroke="#ddd"/>`);
    parts.push(
      `<text x="${left - 6}" y="${Number(at) + 4}" text-anchor="end" fill="#666">${panel.show(tick)}</text>`,
    );
  }
  for (const servers of [10, 100, 1000]) {
    const name = servers.toLocaleString("en");
    parts.push(
      `<text x="${x(servers)}" y="${TOP + HEIGHT + 18}" text-anchor="middle" fill="#666">${name}</text>`,
    );
  }
  const below = `x="${left + WIDTH / 2}" y="${TOP + HEIGHT + 34}" text-anchor="middle" fill="#666"`;
  parts.push(`<text ${below}>servers</text>`);
  const named = panel.series.filter(({ name }) => name !== "");
  // What is best possible is drawn over the rest, on which it often lies.
  const ordered = [...panel.series].sort((a, b) => Number(a.isLeast ?? false) - Number(b.isLeast ?? false));
  for (const { color, isLeast, points } of ordered) {
    const places = points.map(([servers, value]) => `${x(servers).toFixed(1)},${y(value).toFixed(1)}`);
    const dashes = isLeast ? ` stroke-dasharray="4 4"` : "";
    const width = isLeast ? 1.5 : 3;
    const path = `points="${places.join(" ")}" fill="none" stroke="${color}" stroke-width="${width}"`;
    parts.push(`<polyline ${path}${dashes}/>`);
    if (isLeast) continue;
    for (const place of places) {
      const [cx, cy] = place.split(",");
      parts.push(`<circle cx="${cx}" cy="${cy}" r="3.5" fill="${color}"/>`);
    }
  }
  named.forEach(({ name, color, isLeast }, i) => {
    const [at, row] = [left + (i % 2) * 170 - 30, TOP + HEIGHT + 60 + Math.floor(i / 2) * 20];
    const dashes = isLeast ? ` stroke-dasharray="4 4"` : "";
    parts.push(`<path d="M${at} ${row - 4}h24" stroke="${color}" stroke-width="2"${dashes}/>`);
    parts.push(`<text x="${at + 30}" y="${row}">${name}</text>`);
  });
  return parts.join("\n");
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const folder = new URL("../results/", import.meta.url);
  const { cases } = JSON.parse(readFileSync(new URL("mesh_scale.json", folder), "utf8"));
  writeFileSync(new URL("mesh_scale.svg", folder), plotScale(cases));
}
