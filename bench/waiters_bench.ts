/**
 * Very many waiting clients, beside a bare long poll and other libraries: `node bench/waiters_bench.ts deno`. The clients are connections of this
 * process; what is measured runs on the runtime that is named. Names of contenders may follow:
 * `node bench/waiters_bench.ts node "plain SSE" "reality, SSE"`; the first one is the base.
 *
 * @module
 */
import { execSync } from "node:child_process";
import process from "node:process";
import { ServerProcess } from "./http/process.ts";
import { openClients, speechOf, waitAll, type WaitingClient } from "./http/waiting_client.ts";
import { inTurn, percentile } from "./measure.ts";
import { finish, isQuick, progress, type Row } from "./report.ts";
import { findRuntime, type RuntimeName } from "./runtimes.ts";
import { keyOf } from "./workload.ts";

/** So many wait, or as many as this process may open connections. */
const count = Math.min(isQuick ? 1000 : Number(process.env.REALITY_BENCH_COUNT ?? 10_000), mostConnections());
/** So many nodes change one after another, each of which one client waits for. */
const changes = isQuick ? 50 : 200;
/** Indexes from here on have no waiting client. */
const NOBODYS = 15_000;
const rounds = isQuick ? 1 : Number(process.env.REALITY_BENCH_ROUNDS ?? 3);

const command = findRuntime((process.argv[2] ?? "node") as RuntimeName);
if (command === undefined) throw new Error(`Cannot find ${process.argv[2]}: name it in a REALITY_ variable`);

const chosen = process.argv.slice(3).filter((word) => word !== "--quick");
// The quick bench measures the first two and socket.io.
const usual = isQuick
  ? ["long poll", "reality", "socket.io"]
  : ["long poll", "reality", "1.2.2", "socket.io", "plain SSE", "reality, SSE"];
const contenders = chosen.length > 0 ? chosen : usual;
const units = {
  "memory of one waiting client, with its connection": "KiB",
  "heap memory of one waiting client": "KiB",
  "one change wakes all: the change itself": "ms",
  "one change wakes all: the first answer": "ms",
  "one change wakes all: the last answer": "ms",
  "one change wakes all: processor time for each": "µs",
  "one change wakes all: reads of the storage": "reads",
  "one change wakes one: median": "ms",
  "one change wakes one: 99th percentile": "ms",
  "one change wakes one: processor time": "µs",
};
type Measured = Record<keyof typeof units, number>;
const figures = new Map<string, Record<string, number[]>>();
let runtime = "";
for (let round = 0; round < rounds; round++) {
  for (const contender of inTurn(contenders, round)) {
    progress(`${process.argv[2]}, round ${round + 1} of ${rounds}: ${count} wait on ${contender}`);
    const measured = await measureWaiters(contender);
    for (const [name, number] of Object.entries(measured)) {
      const figure = figures.get(name) ?? {};
      (figure[contender] ??= []).push(number);
      figures.set(name, figure);
    }
  }
}
const rows = [...figures].map(([name, figure]): Row => ({
  group: `${count} connections wait`,
  name: `${name}, ${units[name as keyof Measured]}`,
  unit: "as each row says",
  base: contenders[0]!,
  figures: inOrder(figure),
}));
finish("waiters", rows, runtime);

/** In the order of the contenders, whichever was measured first. */
function inOrder(figure: Record<string, number[]>): Record<string, number[]> {
  return Object.fromEntries(contenders.flatMap((name) => figure[name] ? [[name, figure[name]]] : []));
}

async function measureWaiters(contender: string): Promise<Measured> {
  const server = await ServerProcess.start(command!, contender);
  try {
    // Code that is loaded or compiled at the first use does not count as memory of a waiter.
    for (const node of [1, 2, 3]) {
      await waitTogether(server, await openClients(server.port, 500, contender), node);
    }
    for (let i = 0; i < 300; i++) await server.change(keyOf(NOBODYS + i));
    const before = await server.memory();
    runtime = before.runtime;
    let clients = await openClients(server.port, count, contender);
    await waitAll(clients, () => [keyOf(0), 1]);
    await server.untilWaiting(count);
    const parked = await server.memory();
    const all = await wakeAll(server, clients, keyOf(0));
    if (speechOf(contender) === "events") {
      // The keys of a stream cannot be changed after it has started.
      clients.forEach((client) => client.close());
      await server.untilWaiting(0);
      clients = await openClients(server.port, count, contender);
    }
    const own = await wakeOneByOne(server, clients);
    clients.forEach((client) => client.close());
    // 1.2.2 keeps the requests of disconnected clients until their time is up.
    if (contender !== "1.2.2") await server.untilWaiting(0);
    return {
      "memory of one waiting client, with its connection": (parked.memory - before.memory) / count / 1024,
      "heap memory of one waiting client": (parked.heap - before.heap) / count / 1024,
      ...all,
      ...own,
    };
  } finally {
    await server.stop();
  }
}

async function waitTogether(
  server: ServerProcess,
  clients: readonly WaitingClient[],
  node: number,
): Promise<void> {
  await waitAll(clients, () => [keyOf(node), node + 1]);
  await server.untilWaiting(clients.length);
  const answers = Promise.all(clients.map((client) => client.answered));
  await server.change(keyOf(node));
  await answers;
  clients.forEach((client) => client.close());
  await server.untilWaiting(0);
}

async function wakeAll(server: ServerProcess, clients: readonly WaitingClient[], key: string) {
  const before = await server.usage();
  const start = performance.now();
  const took = server.change(key);
  const times = await Promise.all(clients.map((client) => client.answered));
  const change = await took;
  const after = await server.usage();
  return {
    "one change wakes all: the change itself": change,
    "one change wakes all: the first answer": Math.min(...times) - start,
    "one change wakes all: the last answer": Math.max(...times) - start,
    "one change wakes all: processor time for each": (after.processor - before.processor) / clients.length,
    // Requesting the number is a read as well.
    "one change wakes all: reads of the storage": Math.max(0, after.reads - before.reads - 1),
  };
}

async function wakeOneByOne(server: ServerProcess, clients: readonly WaitingClient[]) {
  await waitAll(clients, (i) => [keyOf(i + 10), i + 11]);
  await server.untilWaiting(clients.length);
  const before = await server.usage();
  const times: number[] = [];
  for (let n = 0; n < changes; n++) {
    const i = n * 37 % clients.length;
    const start = performance.now();
    const took = server.change(keyOf(i + 10));
    times.push(await clients[i]!.answered - start);
    await took;
  }
  const after = await server.usage();
  const answered = clients.filter((client) => client.isAnswered).length;
  if (answered !== changes) throw new Error(`Cannot go on: ${changes} changes woke ${answered} clients`);
  return {
    "one change wakes one: median": percentile(times, 0.5),
    "one change wakes one: 99th percentile": percentile(times, 0.99),
    // This includes the request that makes the change.
    "one change wakes one: processor time": (after.processor - before.processor) / changes,
  };
}

/** How many connections a process may have open: the hard limit, to which runtimes lift themselves. */
function mostConnections(): number {
  const limit = Number(execSync("ulimit -Hn", { encoding: "utf8", shell: "/bin/sh" }));
  return Number.isFinite(limit) ? Math.max(100, limit - 500) : Infinity;
}
