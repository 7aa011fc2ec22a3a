/**
 * The output of a bench: progress on stderr, a table and a file of figures.
 *
 * @module
 */
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { arch, cpus, platform, release, totalmem } from "node:os";
import process from "node:process";
import { type Figure, ratio, summarize } from "./measure.ts";

/** Whether a rough answer soon is wanted: `--quick`. */
export const isQuick: boolean = process.argv.includes("--quick");

/** Where figures are kept: rough ones never beside the others. */
export const RESULTS: URL = new URL(isQuick ? "./results/quick/" : "./results/", import.meta.url);

/** One line of the table: what several contenders took for the same work. */
export interface Row {
  readonly group: string;
  readonly name: string;
  readonly unit: string;
  /** The contender that the others are held against. */
  readonly base: string;
  /** Contender → one number a round, all in `unit`. */
  readonly figures: Readonly<Record<string, readonly number[]>>;
}

/** A row as it is kept. */
interface KeptRow extends Omit<Row, "figures"> {
  readonly figures: Readonly<Record<string, Figure>>;
  /** Contender → its figure divided by the base's, round by round. */
  readonly ratios: Readonly<Record<string, Figure>>;
}

/** All rows of a bench on one runtime, as they are kept in `bench/results/`. */
export interface Result {
  readonly bench: string;
  readonly runtime: string;
  readonly machine: string;
  readonly at: string;
  readonly quick: boolean;
  readonly rows: readonly KeptRow[];
}

const versions: Readonly<Record<string, string | undefined>> = process.versions;

/** The runtime's name in small letters: `deno`, `node` or `bun`. */
export const runtimeName: string = ["deno", "bun"].find((name) => versions[name] !== undefined) ?? "node";

/** The runtime and its version. */
export const runtime: string = `${runtimeName} ${versions[runtimeName]}`;

/** Says on stderr what is being measured. */
export function progress(text: string): void {
  process.stderr.write(`  ${text}\n`);
}

/**
 * Prints the rows as a table and keeps them in `bench/results/`.
 *
 * @param measured The runtime that was measured, where it is not the one that runs this.
 */
export function finish(bench: string, rows: readonly Row[], measured: string = runtime): void {
  const result: Result = {
    bench,
    runtime: measured,
    machine: describeMachine(),
    at: new Date().toISOString(),
    quick: isQuick,
    rows: rows.map(keep),
  };
  mkdirSync(RESULTS, { recursive: true });
  writeFileSync(new URL(`${bench}_${measured.split(" ")[0]}.json`, RESULTS), toText(result));
  console.log(toTable(result));
}

/** A result that was kept, or nothing. */
export function readResult(bench: string, runtime: string): Result | undefined {
  try {
    return JSON.parse(readFileSync(new URL(`${bench}_${runtime}.json`, RESULTS), "utf8"));
  } catch {
    return undefined;
  }
}

/** A result as tables in Markdown, one for each group. */
export function toTable({ bench, runtime, rows }: Result): string {
  const lines: string[] = [];
  for (const group of new Set(rows.map((row) => row.group))) {
    const own = rows.filter((row) => row.group === group);
    const { unit, base } = own[0]!;
    const names = [...new Set(own.flatMap((row) => Object.keys(row.figures)))];
    const others = names.filter((name) => own.some((row) => row.ratios[name] !== undefined));
    lines.push("", `**${bench} on ${runtime}: ${group}**, ${unit}`, "");
    lines.push(line(["", ...names, ...others.map((name) => `${name} ÷ ${base}`)]));
    lines.push(`|---|${"---:|".repeat(names.length + others.length)}`);
    for (const { name, figures, ratios } of own) {
      lines.push(line([name, ...names.map((n) => show(figures[n])), ...others.map((n) => show(ratios[n]))]));
    }
  }
  return lines.join("\n");
}

function keep({ figures, ...row }: Row): KeptRow {
  const base = figures[row.base];
  const kept = Object.entries(figures).map(([name, numbers]) => [name, round(summarize(numbers))]);
  const ratios = Object.entries(figures).flatMap(([name, numbers]) =>
    // There is no ratio to zero.
    base === undefined || name === row.base || base.includes(0) ? [] : [[name, round(ratio(numbers, base))]]
  );
  return { ...row, figures: Object.fromEntries(kept), ratios: Object.fromEntries(ratios) };
}

function round({ median, low, high }: Figure): Figure {
  return { median: digits(median), low: digits(low), high: digits(high) };
}

/** Three digits are more than these figures deserve. */
function digits(number: number): number {
  return Number(number.toPrecision(3));
}

function show(figure: Figure | undefined): string {
  if (figure === undefined) return "";
  const { median, low, high } = figure;
  return low === high ? `${median}` : `${median} (${low}–${high})`;
}

function line(cells: readonly string[]): string {
  return `| ${cells.join(" | ")} |`;
}

/** One row a line, so that two runs can be compared as text. */
function toText({ rows, ...head }: Result): string {
  const lines = rows.map((row) => `    ${JSON.stringify(row)}`);
  return `${JSON.stringify(head, null, 2).slice(0, -2)},\n  "rows": [\n${lines.join(",\n")}\n  ]\n}\n`;
}

/** The machine that this runs on. */
export function describeMachine(): string {
  const cores = cpus();
  const memory = Math.round(totalmem() / 2 ** 30);
  return `${cores.length} × ${
    cores[0]?.model.trim() ?? "unknown"
  }, ${memory} GiB, ${platform()} ${arch()} ${release()}`;
}
