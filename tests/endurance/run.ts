/**
 * One endurance run: starts servers, clients, writers and faults, samples every ten seconds, and checks
 * the promise from the outside.
 *
 * @module
 */
import { spawnSync } from "node:child_process";
import { writeFileSync } from "node:fs";
import { loadavg } from "node:os";
import process from "node:process";
import { pathToFileURL } from "node:url";
import { Worker } from "node:worker_threads";
import openSQL from "postgres";
import { SeededRandom } from "../random.ts";
import { Cluster } from "../cluster/cluster.ts";
import type { Final } from "../cluster/journal.ts";
import { Link } from "../cluster/link.ts";
import { settle } from "../cluster/trial.ts";
import type { Place } from "../races/engines.ts";
import { postgresRecipe } from "../run/databases.ts";
import { PrivateServer } from "../run/server.ts";
import { RUNTIMES } from "../storage/runtimes.ts";
import { describeMachine } from "../../bench/report.ts";
import type { CheckerInput, CheckerOutput } from "./checker.ts";
import { Clients } from "./clients.ts";
import { Faults } from "./faults.ts";
import { ProcessMonitor } from "./process_monitor.ts";
import { plotRun } from "./plot.ts";
import { Record } from "./record.ts";
import { keep, type ProcessSample, type Results, slopesOf } from "./results.ts";
import { Streams } from "./streams.ts";
import { Writers } from "./writers.ts";

/** Shorter runs, in minutes, do not replace the published figures. */
const LEAST_MINUTES = 30;

/** The longest time between two samples, and between two faults, in milliseconds. */
const SAMPLE_INTERVAL = 10_000;
const FAULT_INTERVAL = 60_000;

/** How long clients may take to hold all acknowledged changes after the last fault. */
const LONGEST_CATCH_UP = 60_000;

/** Waiting clients for each client on an event stream. */
const CLIENTS_PER_STREAM = 25;

/**
 * How long each server keeps tombstones, in milliseconds; a day by default. All collect in the same storage.
 */
const TOMBSTONE_TIMEOUTS: readonly (number | undefined)[] = [3000, 30_000, undefined];

/** How many keys one sync asks for at the end. */
const KEYS_AT_ONCE = 5000;

const [length = "60", clientsText = "5000", rateText = "200"] = process.argv.slice(2);
/** Minutes, or seconds where it ends with an "s". */
const minutes = length.endsWith("s") ? Number(length.slice(0, -1)) / 60 : Number(length);
const [clientCount, rate] = [Number(clientsText), Number(rateText)];
const duration = minutes * 60_000;
const sampleInterval = Math.min(SAMPLE_INTERVAL, duration / 24);
const faultInterval = Math.min(FAULT_INTERVAL, duration / 10);
const seed = process.env.REALITY_ENDURANCE_SEED ?? String(Math.floor(Math.random() * 1e6));
const folder = minutes < LEAST_MINUTES
  ? pathToFileURL(`${process.cwd()}/test-output/endurance/`)
  : new URL("./", import.meta.url);
const random = new SeededRandom(seed);

const checker = new Worker(new URL("./checker.ts", import.meta.url));
let say: (verdict: CheckerOutput) => void = () => {};
const lastWord = new Promise<CheckerOutput>((resolve) => say = resolve);
const tellChecker = (told: CheckerInput) => checker.postMessage(told);
const record = new Record((changes, reads) =>
  tellChecker({ changes, reads, settledUntil: writers.settledUntil })
);
checker.on("message", (verdict: CheckerOutput) => {
  for (const fault of verdict.faults) record.violate(`checker: ${fault}`);
  if (verdict.isLast) say(verdict);
});

let isOver = false;
let endEarly: () => void = () => {};
const ending = new Promise<void>((resolve) => endEarly = resolve);
process.once("SIGTERM", () => {
  results.state = "stopped by hand";
  endEarly();
});

const results: Results = {
  machine: describeMachine(),
  versions: {
    ...versions(),
    redis: said("redis-server", "--version"),
    postgres: said("postgres", "--version"),
  },
  commit: said("git", "rev-parse", "--short", "HEAD"),
  at: new Date().toISOString(),
  seed,
  minutes,
  clients: clientCount,
  changesPerSecond: rate,
  state: "running",
  lasted: 0,
  totals: {},
  slopes: [],
  violations: record.violations,
  failures: [],
  faults: [],
  samples: [],
};

const postgres = await PrivateServer.start(postgresRecipe({ durable: true }));
const postgresLinks = await Promise.all(
  RUNTIMES.map(() => Link.open(Number(new URL(postgres.address).port))),
);
const cluster = await Cluster.start({
  places: postgresLinks.map((link, i): Place => {
    const address = new URL(postgres.address);
    address.port = String(link.port);
    const place: Place = { engine: "postgres", address: address.href, tableName: "endurance" };
    const tombstoneTimeout = TOMBSTONE_TIMEOUTS[i];
    return tombstoneTimeout === undefined ? place : { ...place, tombstoneTimeout };
  }),
  meshSecret: "known to all three servers",
  redis: ["ioredis", "node-redis", "ioredis"],
  statsInterval: sampleInterval,
});
const monitors = cluster.servers.map((server) => new ProcessMonitor(cluster, server, fail));
const clients = new Clients(clientCount, { cluster, random: random.fork("clients"), record });
const streams = new Streams(Math.round(clientCount / CLIENTS_PER_STREAM), clients.sharedKeys, {
  cluster,
  random: random.fork("streams"),
  record,
});
const writers = new Writers({ cluster, random: random.fork("writers"), record, clients });
const flushing = setInterval(() => record.flush(), 2000);
console.log(`seed ${seed}; figures go to ${folder.pathname}results.json`);

try {
  await clients.come();
  writers.begin(rate);
  const sampling = setInterval(sample, sampleInterval);
  const faults = makeFaults();
  const end = setTimeout(() => endEarly(), duration);
  await ending;
  isOver = true;
  clearTimeout(end);
  await faults;
  await writers.end();
  await finish();
  clearInterval(sampling);
  if (results.state === "running") results.state = "complete";
} catch (error) {
  results.state = `failed: ${error instanceof Error ? error.message : error}`;
  console.error(error);
} finally {
  clearInterval(flushing);
  sample();
  clients.stop();
  streams.stop();
  await cluster.stop();
  await Promise.all(postgresLinks.map((link) => link.close()));
  await postgres.stop();
  await checker.terminate();
}
writeFileSync(new URL("results.svg", folder), plotRun(results));
const isWell = results.state === "complete" && record.violated === 0 && results.failures.length === 0;
console.log(`${results.state}; ${record.violated} violations, ${results.failures.length} failures`);
process.exit(isWell ? 0 : 1);

/** Causes a fault at each interval. In each third of the run, faults hit one server, so that processes run long. */
async function makeFaults(): Promise<void> {
  const order = random.fork("victims").shuffle(cluster.servers);
  const faults = new Faults(random.fork("faults"), {
    cluster,
    postgres,
    clients,
    links: namedLinks(),
    slowBodies: Math.max(10, Math.round(clientCount / 10)),
    interval: faultInterval,
    victim: () => order[Math.min(2, Math.floor(record.now * 1000 / duration * 3))]!,
  });
  for (let turn = 1; !isOver; turn++) {
    await Promise.race([ending, pause(Math.max(0, turn * faultInterval - record.now * 1000))]);
    if (isOver || duration - record.now * 1000 < faultInterval / 2) return;
    const kind = faults.next();
    const at = record.now;
    const note = await faults.strike(kind).catch((error: Error) => {
      fail(`${kind}: ${error.message}`);
      return "failed";
    });
    results.faults.push({ at, until: record.now, kind, note });
    console.log(`${at.toFixed(0)} s: ${kind}: ${note}`);
  }
}

/** The links from the clients, between the servers, to Redis and to Postgres. */
function namedLinks(): Map<string, Link> {
  const names = cluster.names;
  const byPort = new Map(
    cluster.servers.map((server) => [Number(new URL(cluster.urlOf(server)).port), server]),
  );
  const links = cluster.links.map((link, i): [string, Link] => {
    const server = byPort.get(link.port);
    return [
      server === undefined ? `line ${i} of a server to another or Redis` : `clients to ${names[server]}`,
      link,
    ];
  });
  return new Map([
    ...links,
    ...postgresLinks.map((link, i): [string, Link] => [`${names[i]} to Postgres`, link]),
  ]);
}

/** Checks the end of the run, without faults: all clients and servers have all acknowledged changes. */
async function finish(): Promise<void> {
  const deadline = performance.now() + LONGEST_CATCH_UP;
  const finals = await findFinals();
  const findBehind = () =>
    [...clients.held, ...streams.held].flatMap(({ who, key, version }) => {
      const final = finals.get(key)?.version ?? 0;
      return version === final ? [] : [`${who} holds ${version} of ${key}, which ended at ${final}`];
    });
  while (findBehind().length > 0 && performance.now() < deadline) await pause(250);
  for (const behind of findBehind()) record.violate(`when all was over, ${behind}`);
  for (const [key, { version }] of finals) {
    const untold = record.acks.untold(key, version);
    if (untold !== undefined) record.violate(`${key} ended at ${version}, and ${untold}`);
  }
  results.totals.gone = [...finals.values()].filter(({ version }) => version === 0).length;
  results.totals.tombstones = await countTombstones();
  record.flush();
  tellChecker({ finals });
  results.totals.checked = (await lastWord).checked;
  clients.stop();
  streams.stop();
  await checkEmpty();
  await cluster.end();
}

async function findFinals(): Promise<Map<string, Final>> {
  const { keys } = record.acks;
  const finals = new Map<string, Final>();
  for (let i = 0; i < keys.length; i += KEYS_AT_ONCE) {
    const piece = await settle(cluster, keys.slice(i, i + KEYS_AT_ONCE));
    for (const [key, final] of piece) finals.set(key, final);
  }
  return finals;
}

/** The number of tombstones in the storage. */
async function countTombstones(): Promise<number> {
  const sql = openSQL(postgres.address, { max: 1 });
  try {
    const [row] = await sql`SELECT count(*)::int AS count FROM endurance WHERE expires_at IS NOT NULL`;
    return row?.count as number;
  } finally {
    await sql.end();
  }
}

/** Checks that servers without clients have no waiting requests and no streams. */
async function checkEmpty(): Promise<void> {
  const deadline = performance.now() + LONGEST_CATCH_UP;
  const held = () =>
    monitors.map((monitor) => `${monitor.name} ${monitor.newest?.waiters} + ${monitor.newest?.streams}`).join(
      ", ",
    );
  while (monitors.some(({ newest }) => newest === undefined || newest.waiters + newest.streams > 0)) {
    if (performance.now() > deadline) {
      return fail(`requests or streams of disconnected clients are left: ${held()}`);
    }
    await pause(500);
    for (const monitor of monitors) monitor.read();
  }
  console.log("all clients have gone, and all places with them");
}

/** Takes a sample. */
function sample(): void {
  const { wakes, returns, errors } = record.take();
  const reports: { [code: string]: number } = {};
  const processes = monitors.flatMap((monitor): ProcessSample[] => {
    for (const { report } of monitor.read()) {
      const name = `${monitor.name}: ${report}`;
      reports[name] = (reports[name] ?? 0) + 1;
    }
    if (monitor.newest === undefined) return [];
    const { server, number } = monitor;
    return [{
      server,
      incarnation: number,
      ...monitor.newest,
      wakes: wakes(server),
      returns: returns(server),
    }];
  });
  const { acknowledged, deleted, answers, violated, uncertain, told, toldGone, toldBack } = record;
  const load = Number(loadavg()[0]!.toFixed(2));
  const { asking } = clients;
  results.samples.push({
    ...{ at: record.now, load, asking, acknowledged, deleted, answers, violated, errors, reports },
    processes,
  });
  const memory = processes.map(({ server, rss }) =>
    `${cluster.names[server]} ${Math.round(rss / 2 ** 20)} MiB`
  );
  console.log(
    `${
      record.now.toFixed(0)
    } s: ${asking} wait, ${acknowledged} changes (${deleted} deletions), ${answers} answers, ` +
      `${violated} violations, ${memory.join(", ")}`,
  );
  results.lasted = Number((record.now / 60).toFixed(1));
  Object.assign(results.totals, {
    ...{ acknowledged, deleted, uncertain, heldBack: writers.heldBack, answers },
    ...{ told, toldGone, toldBack, violated },
    failures: results.failures.length,
    faults: results.faults.length,
  });
  results.slopes = slopesOf(results.samples, cluster.names);
  keep(folder, results);
}

function fail(what: string): void {
  results.failures.push({ at: record.now, what });
  console.error(`${record.now} s: ${what}`);
}

function versions(): { [name: string]: string } {
  return Object.fromEntries(RUNTIMES.map((name) => {
    const program = process.env[`REALITY_${name.toUpperCase()}`] ?? name;
    return [name, said(program, "--version").replace(/^deno /, "")];
  }));
}

/** The first line of a program's output. */
function said(program: string, ...args: string[]): string {
  return spawnSync(program, args, { encoding: "utf8" }).stdout?.split("\n")[0]?.trim() ?? "";
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
