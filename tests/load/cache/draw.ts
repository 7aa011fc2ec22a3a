/**
 * Draws what a cache saves as `bench/results/cache.svg`. `node tests/load/cache/draw.ts` draws it again from the newest figures.
 *
 * @module
 */
import { writeFileSync } from "node:fs";
import process from "node:process";
import { pathToFileURL } from "node:url";
import { type BarPanel, drawBars, show } from "../../../bench/bars.ts";
import { isQuick, readResult, RESULTS } from "../../../bench/report.ts";

const whole = (number: number) => Math.round(number).toLocaleString("en");

/** A row of the bench, as a panel. */
interface Shown {
  /** The finding, made of the figures of the best cache and of `POST`. */
  readonly finding: (cached: number, post: number) => string;
  readonly measured: string;
  /** Which group, and how the row's name begins. */
  readonly group: 0 | 1;
  readonly name: string;
}

const SHOWN: readonly Shown[] = [
  {
    finding: (cached, post) => `A change costs the servers ${whole(cached)} requests, not ${whole(post)}`,
    measured: "requests that reach two servers, until all clients wait again",
    group: 0,
    name: "one change: requests",
  },
  {
    finding: (cached, post) => `The servers work ${show(cached)} ms for it, not ${show(post)}`,
    measured: "processor time of both servers for one change, milliseconds",
    group: 0,
    name: "one change: processor time of the servers",
  },
  {
    finding: (cached) => `The last client is told after ${show(cached / 1000)} s`,
    measured: "milliseconds from the change on, on 2 cores",
    group: 0,
    name: "one change: the last client told",
  },
  {
    finding: (cached, post) => `Without a change, ${whole(cached)} requests in 20 s, not ${whole(post)}`,
    measured: "requests that reach the servers",
    group: 0,
    name: "requests that reach the servers in 20 s",
  },
  {
    finding: (cached, post) => `A change of all keys costs ${whole(cached)} requests, not ${whole(post)}`,
    measured: "requests that reach two servers",
    group: 1,
    name: "one change: requests",
  },
];

/** Draws them, from what lies in `bench/results/`. */
export function drawCache(): void {
  const result = readResult("cache", "node");
  if (result === undefined) return;
  const groups = [...new Set(result.rows.map(({ group }) => group))];
  const panels = SHOWN.flatMap(({ finding, measured, group, name }): BarPanel[] => {
    const row = result.rows.find((row) => row.group === groups[group] && row.name.startsWith(name));
    if (row === undefined) return [];
    const bars = Object.entries(row.figures).map(([contender, figure]) => ({
      name: contender === row.base ? "POST, no cache" : contender.replace(", ", " through "),
      isOurs: contender.startsWith("GET"),
      figure,
    }));
    const cached = Math.min(...bars.filter(({ isOurs }) => isOurs).map(({ figure }) => figure.median));
    return [{
      finding: finding(cached, row.figures[row.base]!.median),
      measured: `${measured}: ${groups[group]}`,
      bars,
    }];
  });
  const notes = [
    `${
      isQuick ? "A rough, quick run. " : ""
    }Blue is a sync by GET through a cache. Thin lines are the range of all rounds.`,
    `Two servers of ${result.runtime} on one PostgreSQL. No client missed a change.`,
    `${result.machine}, ${result.at.slice(0, 10)}`,
  ];
  const title = "A cache answers all clients of a key with a few requests";
  writeFileSync(new URL("cache.svg", RESULTS), drawBars(title, panels, notes));
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? "").href) drawCache();
