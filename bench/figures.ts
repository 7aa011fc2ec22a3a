/**
 * Writes the newest figures of all runtimes side by side into `bench/README.md`.
 *
 * @module
 */
import { readFileSync, writeFileSync } from "node:fs";
import { readResult, type Result } from "./report.ts";
import { RUNTIMES } from "./runtimes.ts";

const README = new URL("./README.md", import.meta.url);
const BEGIN = "<!-- figures: written by bench/figures.ts -->";
const END = "<!-- end of figures -->";

/** Brings the tables of `bench/README.md` up to what lies in `bench/results/`. */
export function writeFigures(benches: readonly string[]): void {
  const text = readFileSync(README, "utf8");
  const [before = "", rest = ""] = text.split(BEGIN);
  const [, after = ""] = rest.split(END);
  const tables = benches.flatMap((bench) => tablesOf(bench));
  writeFileSync(README, `${before}${BEGIN}\n\n${tables.join("\n")}\n${END}${after}`);
}

function tablesOf(bench: string): string[] {
  const results = RUNTIMES.map((name) => readResult(bench, name)).filter((result) => result !== undefined);
  const [first] = results;
  if (first === undefined) return [];
  const lines = [`### ${bench}`, "", `${first.machine}; ${first.at.slice(0, 10)}.`, ""];
  for (const group of new Set(first.rows.map((row) => row.group))) {
    const rows = first.rows.filter((row) => row.group === group);
    const { unit, base } = rows[0]!;
    // This package alone, or every contender if this package is measured in several ways.
    const shown = Object.keys(rows[0]!.figures).filter((name) => name !== base);
    const own = base === "reality" || shown.includes("reality") ? ["reality"] : shown;
    const heading = base === "reality"
      ? "reality"
      : `${base} → ${own.length > 1 ? "each" : "reality"} (ratio)`;
    lines.push(`**${group}**, ${unit}: ${heading}`, "");
    lines.push(`| | ${results.map((result) => result.runtime).join(" | ")} |`);
    lines.push(`|---|${"---:|".repeat(results.length)}`);
    for (const { name } of rows) {
      for (const contender of own) {
        const label = own.length > 1 ? `${name}, ${contender}` : name;
        const cells = results.map((result) => cell(result, { group, name, contender }));
        lines.push(`| ${label} | ${cells.join(" | ")} |`);
      }
    }
    lines.push("");
  }
  return lines;
}

function cell(
  { rows }: Result,
  { group, name, contender }: { group: string; name: string; contender: string },
): string {
  const row = rows.find((row) => row.group === group && row.name === name);
  const own = row?.figures[contender]?.median;
  if (row === undefined || own === undefined) return "";
  if (row.base === contender) return `${own}`;
  const share = row.ratios[contender]?.median;
  return `${row.figures[row.base]?.median} → ${own}${
    share === undefined ? "" : ` (**${share.toFixed(2)}**)`
  }`;
}
