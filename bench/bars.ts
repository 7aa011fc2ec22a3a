/**
 * Draws figures as an SVG of horizontal bars: panels, in each a group for each runtime, in each a bar for each contender.
 *
 * @module
 */
import type { Figure } from "./measure.ts";

/** One bar. */
export interface Bar {
  readonly name: string;
  readonly color: string;
  readonly figure: Figure;
}

/** Bars that are held against each other. */
export interface BarGroup {
  readonly name: string;
  readonly bars: readonly Bar[];
}

/** One panel. */
export interface BarPanel {
  readonly title: string;
  readonly groups: readonly BarGroup[];
}

const COLUMNS = 2;
const WIDTH = 620;
const NAMES = 170;
const ROOM = 300;
const LINE = 17;
const HEAD = 44;

/** Draws the panels, two beside each other. */
export function drawBars(title: string, note: string, panels: readonly BarPanel[]): string {
  const parts: string[] = [];
  let top = 70;
  for (let i = 0; i < panels.length; i += COLUMNS) {
    const row = panels.slice(i, i + COLUMNS);
    row.forEach((panel, column) => parts.push(...drawPanel(panel, column * WIDTH + 20, top)));
    top += Math.max(...row.map(heightOf)) + 26;
  }
  const width = COLUMNS * WIDTH;
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${top}" viewBox="0 0 ${width} ${top}"`,
    ` font-family="system-ui, sans-serif" font-size="12" fill="#222">`,
    `<rect width="${width}" height="${top}" fill="#fff"/>`,
    `<text x="20" y="28" font-size="17" font-weight="600">${title}</text>`,
    `<text x="20" y="48" fill="#666">${note}</text>`,
    ...parts,
    "</svg>\n",
  ].join("\n");
}

function heightOf({ groups }: BarPanel): number {
  return HEAD + groups.reduce((sum, { bars }) => sum + bars.length * LINE + 12, 0);
}

function drawPanel({ title, groups }: BarPanel, left: number, top: number): string[] {
  const parts = [`<text x="${left}" y="${top + 16}" font-weight="600" font-size="13">${title}</text>`];
  // The scale ends at the largest median: one slow round would make all other bars small.
  const most = Math.max(...groups.flatMap(({ bars }) => bars.map(({ figure }) => figure.median)));
  const scale = (value: number) => Math.min(value / most, 1.06) * ROOM;
  let y = top + HEAD - 8;
  for (const { name, bars } of groups) {
    parts.push(`<text x="${left}" y="${y + 11}" fill="#666">${name}</text>`);
    for (const { name, color, figure } of bars) {
      const start = left + NAMES;
      const middle = y + LINE / 2 - 1;
      const end = Math.max(scale(figure.median), scale(figure.high));
      parts.push(
        `<text x="${start - 6}" y="${y + 11}" text-anchor="end">${name}</text>`,
        `<rect x="${start}" y="${y}" width="${scale(figure.median).toFixed(1)}" height="${
          LINE - 4
        }" fill="${color}"/>`,
        `<path d="M${(start + scale(figure.low)).toFixed(1)} ${middle}H${
          (start + scale(figure.high)).toFixed(1)
        }" stroke="#222" stroke-opacity="0.45"/>`,
        `<text x="${(start + end + 6).toFixed(1)}" y="${y + 11}">${show(figure.median)}</text>`,
      );
      y += LINE;
    }
    y += 12;
  }
  return parts;
}

function show(value: number): string {
  return value >= 100 ? Math.round(value).toLocaleString("en") : `${Number(value.toPrecision(3))}`;
}
