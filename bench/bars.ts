/**
 * Draws figures as an SVG of horizontal bars: panels below each other, in each a bar for each contender. Each panel has
 * the finding as its title.
 *
 * @module
 */
import type { Figure } from "./measure.ts";
import { STYLE } from "./svg_style.ts";

/** One bar. */
export interface Bar {
  readonly name: string;
  /** Whether it is this package. */
  readonly isOurs: boolean;
  readonly figure: Figure;
}

/** One panel. */
export interface BarPanel {
  /** What the bars show, as a sentence. */
  readonly finding: string;
  /** What was measured, and its unit. */
  readonly measured: string;
  readonly bars: readonly Bar[];
}

const WIDTH = 620;
const NAMES = 210;
const ROOM = 330;
const LINE = 21;
const HEAD = 48;
const GAP = 26;

/** Draws the panels, one below the other. The notes stand at the end, a line each. */
export function drawBars(title: string, panels: readonly BarPanel[], notes: readonly string[]): string {
  const parts: string[] = [];
  let top = 52;
  for (const panel of panels) {
    parts.push(...drawPanel(panel, top));
    top += HEAD + panel.bars.length * LINE + GAP;
  }
  for (const note of notes) {
    parts.push(`<text class="note" x="10" y="${top + 8}">${note}</text>`);
    top += 20;
  }
  const height = top + 6;
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" width="${WIDTH}" height="${height}" viewBox="0 0 ${WIDTH} ${height}"`,
    ` font-family="system-ui, sans-serif" font-size="14">`,
    STYLE,
    `<text x="10" y="28" font-size="19" font-weight="600">${title}</text>`,
    ...parts,
    "</svg>\n",
  ].join("\n");
}

function drawPanel({ finding, measured, bars }: BarPanel, top: number): string[] {
  const parts = [
    `<text x="10" y="${top + 16}" font-weight="600" font-size="16">${finding}</text>`,
    `<text class="note" x="10" y="${top + 35}">${measured}</text>`,
  ];
  // The scale ends at the largest median: one slow round would make all other bars small.
  const most = Math.max(...bars.map(({ figure }) => figure.median));
  const scale = (value: number) => Math.min(value / most, 1.06) * ROOM;
  let y = top + HEAD;
  for (const { name, isOurs, figure } of bars) {
    const middle = y + LINE / 2 - 2;
    const end = Math.max(scale(figure.median), scale(figure.high));
    const weight = isOurs ? ` font-weight="600"` : "";
    parts.push(
      `<text x="${NAMES - 8}" y="${y + 13}" text-anchor="end"${weight}>${name}</text>`,
      `<rect class="${isOurs ? "ours" : "other"} fill" x="${NAMES}" y="${y}" width="${
        scale(figure.median).toFixed(1)
      }" height="${LINE - 4}"/>`,
      `<path class="range" d="M${(NAMES + scale(figure.low)).toFixed(1)} ${middle}H${
        (NAMES + scale(figure.high)).toFixed(1)
      }"/>`,
      `<text x="${(NAMES + end + 6).toFixed(1)}" y="${y + 13}"${weight}>${show(figure.median)}</text>`,
    );
    y += LINE;
  }
  return parts;
}

/** A figure with the digits that can be read. */
export function show(value: number): string {
  return value >= 100 ? Math.round(value).toLocaleString("en") : `${Number(value.toPrecision(2))}`;
}
