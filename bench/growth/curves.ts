/**
 * What the growth bench keeps: cost over a size, and how steeply it grows.
 *
 * @module
 */
import { readFileSync } from "node:fs";
import { RESULTS } from "../report.ts";

/** Cost over one size, on one runtime. */
export interface Curve {
  /** What grows: `keys`, `nodes`, `waiters`, `servers`, `hops`. */
  readonly part: string;
  /** What it costs, with its unit. */
  readonly name: string;
  readonly runtime: string;
  readonly points: readonly (readonly [size: number, cost: number])[];
}

/** The curves that were kept. */
export function readCurves(): Curve[] {
  try {
    return JSON.parse(readFileSync(new URL("growth.json", RESULTS), "utf8")).curves;
  } catch {
    return [];
  }
}

/** The exponent of the upper part of a curve: 1 for twice as much, twice the cost. */
export function exponentOf(points: Curve["points"]): number {
  const [most = 0] = points.at(-1) ?? [];
  // For small sizes, the constant cost of a request hides the growth.
  const upper = points.filter(([size, cost], i) =>
    cost > 0 && (size >= most / 1000 || i >= points.length - 2)
  );
  const logs = upper.map(([size, cost]) => [Math.log(size), Math.log(cost)] as const);
  const [x, y] = [0, 1].map((i) => logs.reduce((sum, log) => sum + log[i]!, 0) / logs.length) as [
    number,
    number,
  ];
  const over = logs.reduce((sum, [a, b]) => sum + (a - x) * (b - y), 0);
  return over / logs.reduce((sum, [a]) => sum + (a - x) ** 2, 0);
}

/** An exponent in words. */
export function inWords(exponent: number): string {
  if (exponent < -0.1) return "falls";
  if (exponent < 0.1) return "flat";
  if (exponent < 0.4) return "hardly grows";
  if (exponent < 0.8) return "slower than the size";
  return exponent < 1.2 ? "in proportion" : "faster than the size";
}
