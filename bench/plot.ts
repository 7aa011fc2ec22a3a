/**
 * Draws figures as an SVG: panels with lines, side by side or one below the other.
 *
 * @module
 */
import { STYLE } from "./svg_style.ts";

/** One line in a panel. */
export interface Series {
  /** Its name in the legend; empty for one that is left out there. */
  readonly name: string;
  /** A color, or a class of `svg_style.ts`: `ours`, `other`, `best`. */
  readonly color: string;
  /** Drawn in thin dashes, over the rest. */
  readonly isDashed?: boolean;
  readonly points: readonly (readonly [x: number, y: number])[];
}

/** What runs along one side of a panel. */
export interface Axis {
  readonly ticks: readonly number[];
  readonly show: (value: number) => string;
  /** Where it begins and ends; left out, at the first and the last tick. */
  readonly range?: readonly [low: number, high: number];
  readonly isLogarithmic?: boolean;
  /** What stands below it, where it is the lower one. */
  readonly title?: string;
}

/** One panel. */
export interface Panel {
  readonly title: string;
  /** What the upright axis shows, with its unit; below the title. */
  readonly measured?: string;
  readonly series: readonly Series[];
  readonly x: Axis;
  readonly y: Axis;
  /** Where something happened: drawn as upright lines, with a letter each. */
  readonly marks?: readonly (readonly [x: number, letter: string])[];
}

/** How panels lie. */
export interface Layout {
  /** Of the inside of one panel. */
  readonly width: number;
  readonly height: number;
  readonly columns: number;
  /** Whether each measurement is a dot of its own: for few of them. */
  readonly hasDots: boolean;
  /** How thick lines are. */
  readonly thickness: number;
  /** How many names of the legend stand beside each other, and below; left out, as many as there is room for. */
  readonly legend?: { readonly columns: number; readonly rows: number };
}

const LEFT = 52;
const TOP = 62;
const GAP = 34;
const LEGEND = 74;

/** Colors that can be told apart, also by most of the color-blind. */
export const COLORS: readonly string[] = ["#1b6ca8", "#d1495b", "#3a7d44", "#8e5ea2"];

/** Draws the panels. */
export function plot(panels: readonly Panel[], layout: Layout): string {
  const { columns } = layout;
  const legend = layout.legend === undefined ? LEGEND : layout.legend.rows * 20 + 34;
  const [wide, high] = [LEFT + layout.width + GAP, TOP + layout.height + 40 + legend];
  const width = columns * wide;
  const height = Math.ceil(panels.length / columns) * high;
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}" viewBox="0 0 ${width} ${height}"`,
    ` font-family="system-ui, sans-serif" font-size="13">`,
    STYLE,
    ...panels.map((panel, i) =>
      draw(panel, layout, [i % columns * wide + LEFT, Math.floor(i / columns) * high + TOP])
    ),
    "</svg>\n",
  ].join("\n");
}

/** Where values lie on an axis, from 0 to 1. */
function scaleOf({ ticks, range, isLogarithmic }: Axis): (value: number) => number {
  const scale = isLogarithmic ? Math.log10 : (value: number) => value;
  const [low, high] = (range ?? [ticks[0]!, ticks.at(-1)!]).map(scale) as [number, number];
  return (value) => (scale(value) - low) / (high - low);
}

function draw(panel: Panel, layout: Layout, [left, top]: readonly [number, number]): string {
  const { width, height } = layout;
  const [across, up] = [scaleOf(panel.x), scaleOf(panel.y)];
  const x = (value: number) => left + across(value) * width;
  const y = (value: number) => top + height - up(value) * height;
  const parts = [
    `<text x="${left - 40}" y="${top - 38}" font-weight="600" font-size="14">${panel.title}</text>`,
    `<text class="note" x="${left - 40}" y="${top - 19}">${panel.measured ?? ""}</text>`,
  ];
  for (const tick of panel.y.ticks) {
    const at = y(tick).toFixed(1);
    parts.push(`<path class="grid" d="M${left} ${at}h${width}"/>`);
    parts.push(
      `<text class="note" x="${left - 6}" y="${Number(at) + 4}" text-anchor="end">${
        panel.y.show(tick)
      }</text>`,
    );
  }
  for (const tick of panel.x.ticks) {
    const place = `x="${x(tick)}" y="${top + height + 18}"`;
    parts.push(`<text class="note" ${place} text-anchor="middle">${panel.x.show(tick)}</text>`);
  }
  const below = `x="${left + width / 2}" y="${top + height + 36}" text-anchor="middle"`;
  parts.push(`<text class="note" ${below}>${panel.x.title ?? ""}</text>`);
  for (const [at, letter] of panel.marks ?? []) {
    parts.push(`<path d="M${x(at).toFixed(1)} ${top}v${height}" class="grid" stroke-dasharray="2 3"/>`);
    parts.push(
      `<text x="${x(at).toFixed(1)}" y="${
        top - 4
      }" text-anchor="middle" font-size="10" class="note">${letter}</text>`,
    );
  }
  // Dashed lines are drawn last, because they often cover others.
  const ordered = [...panel.series].sort((a, b) => Number(a.isDashed ?? false) - Number(b.isDashed ?? false));
  for (const series of ordered) {
    parts.push(...drawSeries(series, layout, (point) => [x(point[0]), y(point[1])]));
  }
  const named = panel.series.filter(({ name }) => name !== "");
  named.forEach(({ name, color, isDashed }, i) => {
    const columns = layout.legend?.columns ?? Math.max(1, Math.floor(width / 185));
    const [at, row] = [left + (i % columns) * 185 - 30, top + height + 60 + Math.floor(i / columns) * 20];
    const dashes = isDashed ? ` stroke-dasharray="4 4"` : "";
    parts.push(`<path d="M${at} ${row - 4}h24" ${paint("stroke", color)} stroke-width="2"${dashes}/>`);
    parts.push(`<text x="${at + 30}" y="${row}">${name}</text>`);
  });
  return parts.join("\n");
}

function drawSeries(
  { color, isDashed, points }: Series,
  { hasDots, thickness }: Layout,
  place: (point: readonly [number, number]) => readonly [number, number],
): string[] {
  const places = points.map((point) => place(point).map((at) => at.toFixed(1)));
  const dashes = isDashed ? ` stroke-dasharray="4 4"` : "";
  const width = isDashed ? thickness / 2 : thickness;
  const path = `points="${places.map((at) => at.join(",")).join(" ")}" ${
    paint("stroke", color)
  } fill="none" stroke-width="${width}"`;
  const line = `<polyline ${path}${dashes}/>`;
  if (isDashed || !hasDots) return [line];
  return [
    line,
    ...places.map(([cx, cy]) => `<circle cx="${cx}" cy="${cy}" r="3.5" ${paint("fill", color)}/>`),
  ];
}

/** The attribute for a color or for a class. */
function paint(what: "fill" | "stroke", color: string): string {
  return color.startsWith("#") ? `${what}="${color}"` : `class="${color} ${what}"`;
}
