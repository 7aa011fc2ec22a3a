/**
 * Reads Prometheus' text format by its rules, and says where a text breaks them.
 *
 * @module
 */
import assert from "node:assert/strict";

/** One line with a number. */
export interface Sample {
  readonly name: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly value: number;
}

/** All lines of one name. */
export interface Family {
  readonly name: string;
  readonly type: string;
  readonly help: string;
  readonly samples: readonly Sample[];
}

const NAME = /^[a-zA-Z_:][a-zA-Z0-9_:]*$/;
const LABEL = /([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\["\\n])*)"/y;

/**
 * Reads a text, which must be right in every way: each name has HELP and TYPE, once, before its samples; no series
 * comes twice; buckets rise, cumulate and end with `+Inf`, which is the count.
 */
export function readMetrics(text: string): Map<string, Family> {
  assert.ok(text.endsWith("\n"), "the last line does not end");
  const families = new Map<string, { name: string; type: string; help: string; samples: Sample[] }>();
  let current: string | undefined;
  for (const line of text.slice(0, -1).split("\n")) {
    const [, keyword, name = "", rest = ""] = /^# (HELP|TYPE) (\S+) (.*)$/.exec(line) ?? [];
    if (keyword === "HELP") {
      assert.match(name, NAME);
      assert.ok(!families.has(name), `${name} comes twice`);
      assert.match(rest, /^(?:[^\\]|\\[\\n])+$/, name);
      families.set(current = name, { name, type: "", help: rest, samples: [] });
    } else if (keyword === "TYPE") {
      const family = families.get(name);
      assert.ok(family !== undefined && current === name && family.type === "", `TYPE of ${name}`);
      assert.match(rest, /^(counter|gauge|histogram)$/);
      family.type = rest;
    } else {
      const sample = readSample(line);
      const family = families.get(current ?? "");
      assert.ok(family !== undefined && family.type !== "", line);
      const suffix = family.type === "histogram" ? /_(bucket|sum|count)$/ : /$/;
      assert.equal(sample.name.replace(suffix, ""), family.name, line);
      family.samples.push(sample);
    }
  }
  for (const family of families.values()) checkFamily(family);
  return families;
}

/** The value of a series; 0 for one that has none yet. */
export function valueOf(
  families: ReadonlyMap<string, Family>,
  name: string,
  labels: Readonly<Record<string, string>> = {},
): number {
  const base = families.has(name) ? name : name.replace(/_(bucket|sum|count)$/, "");
  const family = families.get(base) ?? assert.fail(`Nothing is called ${name}`);
  const found = family.samples.filter((sample) =>
    sample.name === name && Object.entries(labels).every(([label, text]) => sample.labels[label] === text)
  );
  return found.reduce((sum, { value }) => sum + value, 0);
}

function readSample(line: string): Sample {
  const [, name = "", inner = "", number = ""] = /^([^\s{]+)(?:\{(.*)\})? (\S+)$/.exec(line) ??
    assert.fail(`no sample: ${line}`);
  assert.match(name, NAME);
  const labels: Record<string, string> = {};
  for (let at = 0; at < inner.length;) {
    LABEL.lastIndex = at;
    const [found, label = "", text = ""] = LABEL.exec(inner) ?? assert.fail(`no label: ${line}`);
    assert.ok(!(label in labels) && !label.startsWith("__"), line);
    labels[label] = text.replaceAll(/\\(.)/g, (_, escaped: string) => escaped === "n" ? "\n" : escaped);
    at += found.length;
    if (at < inner.length) assert.equal(inner[at++], ",", line);
  }
  assert.match(number, /^(?:[+-]?Inf|NaN|[+-]?\d+(?:\.\d+)?(?:e[+-]?\d+)?)$/, line);
  return { name, labels, value: Number(number.replace("Inf", "Infinity")) };
}

function checkFamily({ name, type, help, samples }: Family): void {
  assert.ok(help.endsWith("."), `the help of ${name} is no sentence`);
  assert.equal(name.endsWith("_total"), type === "counter", `${name} is a ${type}`);
  const series = samples.map(({ name, labels }) =>
    `${name} ${JSON.stringify(Object.entries(labels).sort())}`
  );
  assert.equal(new Set(series).size, series.length, `${name} has a series twice`);
  if (type !== "gauge") {
    for (const { value } of samples) assert.ok(value >= 0 && Number.isFinite(value), name);
  }
  if (type === "histogram") checkHistogram(name, samples);
}

function checkHistogram(name: string, samples: readonly Sample[]): void {
  const groups = new Map<string, Sample[]>();
  for (const sample of samples) {
    const { le: _, ...rest } = sample.labels;
    const key = JSON.stringify(rest);
    groups.set(key, [...groups.get(key) ?? [], sample]);
  }
  for (const [labels, group] of groups) {
    const buckets = group.filter((sample) => sample.name === `${name}_bucket`);
    const bounds = buckets.map((sample) => Number(sample.labels.le?.replace("Inf", "Infinity")));
    const what = `${name} ${labels}`;
    assert.deepEqual(bounds, [...bounds].sort((a, b) => a - b), what);
    assert.equal(bounds.at(-1), Infinity, what);
    const counts = buckets.map(({ value }) => value);
    assert.deepEqual(counts, [...counts].sort((a, b) => a - b), what);
    const [count, ...more] = group.filter((sample) => sample.name === `${name}_count`);
    assert.deepEqual([count?.value, more.length], [counts.at(-1), 0], what);
    assert.equal(group.filter((sample) => sample.name === `${name}_sum`).length, 1, what);
  }
}
