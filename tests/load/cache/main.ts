/**
 * Very many clients behind a cache before two servers on one PostgreSQL: what one change costs when they ask by GET, which a cache
 * collapses, and when they ask the servers by POST. `deno task bench:cache`. It starts nginx, Varnish and PostgreSQL, which must be installed.
 *
 * @module
 */
import { execSync } from "node:child_process";
import { readdirSync, readFileSync } from "node:fs";
import process from "node:process";
import type { CacheServerOrder, CacheServerUsage } from "../../proxies/cache_server.ts";
import { withNginxBefore } from "../../proxies/nginx.ts";
import { withVarnishBefore } from "../../proxies/varnish.ts";
import { postgresRecipe } from "../../run/databases.ts";
import { findPort, PrivateServer } from "../../run/server.ts";
import type { ClientsOrder, Received, Told } from "./clients.ts";
import { drawCache } from "./draw.ts";
import { LineProcess } from "./line_process.ts";
import { finish, isQuick, progress, type Row } from "../../../bench/report.ts";
import { findRuntime } from "../../../bench/runtimes.ts";

const node = findRuntime("node");
if (node === undefined) throw new Error("Cannot find Node 24: name it in REALITY_NODE");

const count = isQuick ? 1_000 : Number(process.env.REALITY_BENCH_COUNT ?? 20_000);
const rounds = isQuick ? 1 : Number(process.env.REALITY_BENCH_ROUNDS ?? 3);
/** How long a request waits, in seconds. */
const WAIT = 20;
/** In how many processes the clients are. A process may have some 20,000 files open. */
const PROCESSES = 2;

/** What stands before the servers, and how clients ask. */
const contenders = {
  "POST": { method: "POST", cache: "none" },
  "GET, nginx": { method: "GET", cache: "nginx" },
  "GET, Varnish": { method: "GET", cache: "varnish" },
} as const;
type Contender = keyof typeof contenders;
/** Words choose among them. */
const chosen = (Object.keys(contenders) as Contender[]).filter((name, _, all) =>
  process.argv.slice(2).includes(name) || !all.some((other) => process.argv.includes(other))
);

const units = {
  "one change: requests that reach the servers until all wait again": "requests",
  "one change: processor time of the servers": "ms",
  "one change: processor time of the caches": "ms",
  "one change: half of the clients told": "ms",
  "one change: the last client told": "ms",
  "requests that reach the servers in 20 s without a change": "requests",
  "processor time of the servers in 20 s without a change": "ms",
  "processor time of the caches in 20 s without a change": "ms",
};
type Measured = Record<keyof typeof units, number>;

const scenarios = [
  { group: `${count} clients of one key`, keys: 1 },
  { group: `${count / 20} keys, 20 clients of each`, keys: count / 20 },
];

const database = await PrivateServer.start(postgresRecipe());
const rows: Row[] = [];
try {
  for (const { group, keys } of scenarios) {
    const figures = new Map<string, Record<string, number[]>>();
    for (let round = 0; round < rounds; round++) {
      for (const name of chosen) {
        progress(`${group}, round ${round + 1} of ${rounds}: ${name}`);
        const measured = await measureContender(name, keys);
        progress(JSON.stringify(measured));
        for (const [figure, number] of Object.entries(measured)) {
          const kept = figures.get(figure) ?? {};
          (kept[name] ??= []).push(number);
          figures.set(figure, kept);
        }
      }
    }
    for (const [name, figure] of figures) {
      const label = `${name}, ${units[name as keyof Measured]}`;
      rows.push({ group, name: label, unit: "as each row says", base: "POST", figures: figure });
    }
  }
} finally {
  await database.stop();
}
finish("cache", rows, `node ${execSync(`${node[0]} --version`, { encoding: "utf8" }).trim().slice(1)}`);
// The plot has all of them.
if (chosen.length === Object.keys(contenders).length) drawCache();

async function measureContender(name: Contender, keys: number): Promise<Measured> {
  const ports = [await findPort(), await findPort()];
  const tableName = `bench_${ports.join("_")}`;
  const orders = ports.map((port): CacheServerOrder => ({
    ...{ database: database.address, tableName, port, maxWait: WAIT * 1_000 },
  }));
  const servers: LineProcess[] = [];
  try {
    for (const order of orders) {
      servers.push(await LineProcess.start(node!, "../../proxies/cache_server.ts", order));
    }
    const origins = ports.map((port) => `http://127.0.0.1:${port}`);
    let measured: Measured | undefined;
    await withCaches(name, origins, async (caches) => {
      measured = await measure(name, { keys, origins, caches });
    });
    return measured!;
  } finally {
    for (const server of servers) await server.stop();
  }
}

/**
 * Runs with caches before the servers: one for each process of clients, or one nginx with four processes of its own. Without a
 * cache, each process of clients has a server.
 */
async function withCaches(
  name: Contender,
  origins: readonly string[],
  run: (caches: readonly string[]) => Promise<void>,
): Promise<void> {
  if (contenders[name].cache === "none") return await run(origins);
  if (contenders[name].cache === "varnish") {
    return await withVarnishBefore(
      origins,
      [],
      (one) => withVarnishBefore(origins, [], (two) => run([one.origin, two.origin])),
    );
  }
  const edits = [
    ["worker_processes auto;", "worker_processes 4;"],
    ["worker_rlimit_nofile 131072;", ""],
    ["worker_connections 65536;", "worker_connections 19000;"],
    // All clients connect at once, on the cores that the servers have.
    ["proxy_connect_timeout 1s;", "proxy_connect_timeout 20s;"],
  ] as const;
  // With a listener for each process, all of them have equally many clients.
  await withNginxBefore(
    origins,
    { cache: true, listen: "reuseport", edits },
    ({ origin }) => run([origin, origin]),
  );
}

async function measure(
  name: Contender,
  { keys, origins, caches }: {
    readonly keys: number;
    readonly origins: readonly string[];
    readonly caches: readonly string[];
  },
): Promise<Measured> {
  const change = () => control<{ version: number }[]>(origins[0]!, `change?prefix=key:&count=${keys}`);
  await change();
  const { epoch } = await (await fetch(`${origins[0]}/reality/sync?k=key:0:0`)).json();
  const clients: LineProcess[] = [];
  try {
    const orders = Array.from({ length: PROCESSES }, (_, i): ClientsOrder => ({
      port: Number(new URL(caches[i]!).port),
      localAddress: `127.0.0.${i + 2}`,
      method: contenders[name].method,
      count: count / PROCESSES,
      ...{ prefix: "key:", keys, epoch, wait: WAIT },
    }));
    clients.push(
      ...await Promise.all(orders.map((order) => LineProcess.start(node!, "./clients.ts", order))),
    );
    await settle();
    const begin = await usage(origins);
    const start = Date.now();
    const metas = await change();
    const target = Math.min(...metas.map(({ version }) => version));
    // A client that misses the change keeps the bench from going on.
    const told = await Promise.all(clients.map((client) => client.ask<Told>(`target ${target}`)));
    await settle();
    const woken = await usage(origins);
    const before = await received(clients);
    await new Promise((resolve) => setTimeout(resolve, WAIT * 1_000));
    const quiet = await usage(origins);
    const { answers, failed } = await received(clients);
    progress(`${answers - before.answers} answers in ${WAIT} s without a change; ${failed} refused in all`);
    return {
      "one change: requests that reach the servers until all wait again": woken.requests - begin.requests,
      "one change: processor time of the servers": woken.servers - begin.servers,
      "one change: processor time of the caches": woken.caches - begin.caches,
      "one change: half of the clients told": Math.max(...told.map(({ median }) => median)) - start,
      "one change: the last client told": Math.max(...told.map(({ last }) => last)) - start,
      "requests that reach the servers in 20 s without a change": quiet.requests - woken.requests,
      "processor time of the servers in 20 s without a change": quiet.servers - woken.servers,
      "processor time of the caches in 20 s without a change": quiet.caches - woken.caches,
    };
  } finally {
    for (const client of clients) await client.stop();
  }
}

/** Lets the clients ask again, until all of them wait. */
async function settle(): Promise<void> {
  await new Promise((resolve) => setTimeout(resolve, isQuick ? 1_000 : 3_000));
}

/** What the servers and caches have received and used so far; processor time in milliseconds. */
async function usage(origins: readonly string[]) {
  const usages = await Promise.all(origins.map((origin) => control<CacheServerUsage>(origin, "usage")));
  return {
    requests: usages.reduce((sum, { gets, posts }) => sum + gets + posts, 0),
    servers: usages.reduce((sum, { processor }) => sum + processor, 0) / 1_000,
    caches: processorTimeOf(["nginx", "varnishd", "cache-main"]),
  };
}

async function received(clients: readonly LineProcess[]): Promise<Received> {
  const all = await Promise.all(clients.map((client) => client.ask<Received>("stats")));
  const sum = (name: keyof Received) => all.reduce((sum, one) => sum + one[name], 0);
  return { answers: sum("answers"), empty: sum("empty"), failed: sum("failed") };
}

async function control<T>(origin: string, path: string): Promise<T> {
  return await (await fetch(`${origin}/control/${path}`)).json();
}

/** Milliseconds of processor time that running processes with these names, started by this one, have used. */
function processorTimeOf(names: readonly string[]): number {
  const found = readdirSync("/proc").filter((name) => /^\d+$/.test(name)).flatMap((pid) => {
    try {
      // The name stands in parentheses. Times are in hundredths of a second.
      const [, comm = "", rest = ""] = /\((.*)\) (.*)/s.exec(readFileSync(`/proc/${pid}/stat`, "utf8")) ?? [];
      const fields = rest.split(" ");
      return [{ pid, comm, parent: fields[1], ms: (Number(fields[11]) + Number(fields[12])) * 10 }];
    } catch {
      return [];
    }
  });
  const isOwn = (pid: string | undefined): boolean =>
    pid === String(process.pid) || found.some((one) => one.pid === pid && isOwn(one.parent));
  return found.filter(({ comm, pid }) => names.includes(comm) && isOwn(pid))
    .reduce((sum, { ms }) => sum + ms, 0);
}
