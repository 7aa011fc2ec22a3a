/**
 * What one change costs among 10, 100 and 1,000 servers, beside the least that it can: `node
 * bench/mesh/scale_bench.ts`. Real servers in one process, on simulated time and lines: all figures but the run's
 * own duration are the same on every machine.
 *
 * @module
 */
import { spawnSync } from "node:child_process";
import { mkdirSync, writeFileSync } from "node:fs";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { isQuick, progress, runtime, runtimeName } from "../report.ts";
import { findRuntime, type RuntimeName } from "../runtimes.ts";
import { Fleet, type FleetOptions, type Spread } from "./fleet.ts";
import { plotScale } from "./plot.ts";
import { signAtOnce, type Traffic } from "./rounds.ts";
import type { ScaleCase } from "./scale_case.ts";

const SIZES = isQuick ? [10, 30] : [10, 100, 1000];
/** What most have comes first, in case a run is cut short. */
const FANOUTS = [8, 2, 4, 16];
const STORAGES = ["shared", "separate"] as const;
/** What these cost grows with the square, or with the number of changes before. */
const FIRST_SIZES = isQuick ? [10] : [10, 30];
const AGED_SIZES = isQuick ? [20] : [10, 100];
const SEED = 20_201;

type Size = Pick<FleetOptions, "servers" | "storage" | "fanout">;

/** What is measured in a process of its own, so that a thousand servers leave no memory behind for the next. */
type Job = Size & { readonly kind: "steady" | "first" | "aged" };

const cases: ScaleCase[] = [];
const given = process.argv.find((word) => word.startsWith("{"));
if (given === undefined) measureAll();
else {
  signAtOnce();
  const { kind, ...job } = JSON.parse(given) as Job;
  await { steady: measureSteady, first: measureFirst, aged: measureAged }[kind](job);
  console.log(JSON.stringify(cases));
}

function measureAll(): void {
  const start = performance.now();
  const jobs: Job[] = [
    ...FIRST_SIZES.flatMap((servers) =>
      STORAGES.map((storage) => ({ kind: "first", servers, storage, fanout: 8 }) as const)
    ),
    ...AGED_SIZES.map((servers) => ({ kind: "aged", servers, storage: "separate", fanout: 8 }) as const),
    ...SIZES.flatMap((servers) =>
      FANOUTS.flatMap((fanout) =>
        STORAGES.map((storage) => ({ kind: "steady", servers, storage, fanout }) as const)
      )
    ),
  ];
  const [program = "", ...flags] = findRuntime(runtimeName as RuntimeName) ?? [];
  for (const job of jobs) {
    progress(`${job.kind}: ${job.servers} servers, ${job.storage} storage, fanout ${job.fanout}`);
    const args = [...flags, fileURLToPath(import.meta.url), JSON.stringify(job), ...process.argv.slice(2)];
    const { status, stdout } = spawnSync(program, args, {
      encoding: "utf8",
      stdio: ["ignore", "pipe", "inherit"],
    });
    if (status !== 0) throw new Error("Cannot measure: see above");
    cases.push(...JSON.parse(stdout));
    keep();
  }
  console.log(toTable());
  progress(`after ${((performance.now() - start) / 1000).toFixed(0)} s`);
}

/** A change when all have talked before, and then another with 5 % of the servers down. */
async function measureSteady(given: Size): Promise<void> {
  const fleet = await Fleet.start({ ...given, acquainted: true, seed: SEED });
  const isLarge = given.servers > 300;
  const count = isLarge ? 1 : 5;
  const steady: Spread[] = [];
  for (let i = 0; i < count; i++) steady.push(await fleet.change(0, true));
  note("steady", given, fleet, steady);
  fleet.fell(0.05);
  // Servers retry unreachable peers for a while, without further changes.
  const down = [await fleet.change(0, !isLarge)];
  note("5 % down", given, fleet, down, isLarge ? undefined : await fleet.rest());
}

async function measureFirst(given: Size): Promise<void> {
  const fleet = await Fleet.start({ ...given, acquainted: false, seed: SEED });
  note("first contact", given, fleet, [await fleet.change(0, true)]);
}

/** Changes everywhere, so that what a server knows of another is as old as their last exchange. */
async function measureAged(given: Size): Promise<void> {
  const fleet = await Fleet.start({ ...given, acquainted: true, seed: SEED });
  const spreads: Spread[] = [];
  for (let i = 0; i < 2 * given.servers; i++) spreads.push(await fleet.change(i * 37 % given.servers, true));
  note("after many changes", given, fleet, spreads.slice(-9));
}

function note(
  state: ScaleCase["state"],
  { servers, storage, fanout }: Size,
  { living }: Fleet,
  spreads: readonly Spread[],
  rest?: Traffic,
): void {
  const middle = (read: (spread: Spread) => number) =>
    spreads.map(read).sort((a, b) => a - b)[spreads.length >> 1] ?? 0;
  const after = {
    messages: middle(({ after }) => after.messages) + (rest?.messages ?? 0),
    lost: middle(({ after }) => after.lost) + (rest?.lost ?? 0),
    bytes: middle(({ after }) => after.bytes) + (rest?.bytes ?? 0),
  };
  cases.push({
    state,
    storage,
    servers,
    fanout,
    changes: spreads.length,
    rounds: middle(({ rounds }) => rounds),
    messages: middle(({ told }) => told.messages),
    bytes: middle(({ told }) => told.bytes),
    lost: middle(({ told }) => told.lost),
    after: state === "5 % down" && rest === undefined ? null : after,
    hellos: middle(({ told }) => told.hellos),
    least: {
      rounds: Math.ceil(Math.log(living) / Math.log(fanout + 1) - 1e-9),
      messages: living - 1,
      bytes: middle(({ leastBytes }) => leastBytes),
    },
    sample: spreads[spreads.length >> 1]!.sample,
  });
}

/** After every case, so that a run which is cut short leaves what it has. */
function keep(): void {
  cases.sort((a, b) =>
    Number(a.state > b.state) - Number(a.state < b.state) || a.servers - b.servers ||
    Number(a.storage > b.storage) - Number(a.storage < b.storage) || a.fanout - b.fanout
  );
  const folder = new URL(isQuick ? "../results/quick/" : "../results/", import.meta.url);
  mkdirSync(folder, { recursive: true });
  const head = { bench: "mesh_scale", runtime, at: new Date().toISOString(), seed: SEED, quick: isQuick };
  const lines = cases.map((one) => `    ${JSON.stringify(one)}`).join(",\n");
  const text = `${JSON.stringify(head, null, 2).slice(0, -2)},\n  "cases": [\n${lines}\n  ]\n}\n`;
  writeFileSync(new URL("mesh_scale.json", folder), text);
  writeFileSync(new URL("mesh_scale.svg", folder), plotScale(cases));
}

function toTable(): string {
  const lines = [
    "| | servers | fanout | rounds (least) | messages (least) | KB (least) | KB of one request | after: messages, lost |",
    "|---|---:|---:|---:|---:|---:|---:|---:|",
  ];
  const kb = (bytes: number) => Number((bytes / 1000).toPrecision(3));
  for (const { state, storage, servers, fanout, rounds, messages, bytes, after, least, sample } of cases) {
    const cells = [
      `${state}, ${storage}`,
      servers,
      fanout,
      `${rounds} (${least.rounds})`,
      `${messages} (${least.messages})`,
      `${kb(bytes)} (${kb(least.bytes)})`,
      kb(sample.whole ?? 0),
      after === null ? "" : `${after.messages}, ${after.lost}`,
    ];
    lines.push(`| ${cells.join(" | ")} |`);
  }
  return lines.join("\n");
}
