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
    const heading = base === "reality" ? "reality" : `${base} → reality (ratio)`;
    lines.push(`**${group}**, ${unit}: ${heading}`, "");
    lines.push(`| | ${results.map((result) => result.runtime).join(" | ")} |`);
    lines.push(`|---|${"---:|".repeat(results.length)}`);
    for (const { name } of rows) {
      lines.push(`| ${name} | ${results.map((result) => cell(result, group, name)).join(" | ")} |`);
    }
    lines.push("");
  }
  return lines;
}

function cell({ rows }: Result, group: string, name: string): string {
  const row = rows.find((row) => row.group === group && row.name === name);
  const own = row?.figures.reality?.median;
  if (row === undefined || own === undefined) return "";
  if (row.base === "reality") return `${own}`;
  const share = row.ratios.reality?.median;
  return `${row.figures[row.base]?.median} → ${own}${
    share === undefined ? "" : ` (**${share.toFixed(2)}**)`
  }`;
}
