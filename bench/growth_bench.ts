/**
 * How cost grows with keys, nodes, waiters and clients that hop between servers: `node bench/growth_bench.ts deno`, or
 * words of it: `keys`, `nodes`, `waiters`, `hops`. All but waiters are measured in this process, so that it runs on what
 * it measures; waiters run on what is named, one process for all of them.
 *
 * @module
 */
import { execSync } from "node:child_process";
import { writeFileSync } from "node:fs";
import { freemem } from "node:os";
import process from "node:process";
import { createReality, createSequentialStorage } from "./contenders/reality.ts";
import { drawGrowth } from "./growth/draw.ts";
import { type Curve, exponentOf, inWords, readCurves } from "./growth/curves.ts";
import { growHops } from "./growth/hops.ts";
import { ServerProcess } from "./http/process.ts";
import { openStreams } from "./http/multiplexed.ts";
import { openClients } from "./http/waiting_client.ts";
import { measure } from "./measure.ts";
import { describeMachine, isQuick, progress, RESULTS, runtime, runtimeName } from "./report.ts";
import { findRuntime } from "./runtimes.ts";
import { keyOf, makeBodies } from "./workload.ts";

const effort = isQuick ? { rounds: 1, roundMs: 50 } : { rounds: 3, roundMs: 200 };
const parts = ["keys", "nodes", "waiters", "hops"].filter((part, _, all) =>
  process.argv.includes(part) || !all.some((other) => process.argv.includes(other))
);
if (parts.includes("keys")) keep([await growKeys()]);
if (parts.includes("nodes")) await growNodes();
if (parts.includes("waiters")) await growWaiters();
if (parts.includes("hops")) keep(await growHops());

/** A sync of more and more keys, a tenth of them changed. */
async function growKeys(): Promise<Curve> {
  const { server, fetch } = await createReality(10_000);
  const points: [number, number][] = [];
  for (const keys of [1, 3, 10, 30, 100, 300, 1000, 3000, 10_000]) {
    progress(`${runtime}, growth: ${keys} keys`);
    const bodies = makeBodies({ keys, changed: 0.1, nodes: 10_000 });
    let turn = 0;
    const run = async () => {
      const body = bodies[turn++ % bodies.length]!;
      const headers = { "content-type": "application/json", "content-length": `${body.length}` };
      await (await fetch(new Request("http://localhost/reality/sync", { method: "POST", headers, body })))
        .text();
    };
    points.push([keys, middle(await measure([{ name: "reality", run }], effort))]);
  }
  await server.close();
  return { part: "keys", name: "a sync, µs", runtime, points };
}

/** A sync of 10 keys, a change, a look into the history and the memory of a node, beside more and more nodes. */
async function growNodes(): Promise<void> {
  const work: Record<string, [number, number][]> = {};
  const most = isQuick ? 100_000 : 10_000_000;
  for (let nodes = 1000; nodes <= most; nodes *= 10) {
    // A node takes about 120 bytes and its key 40. Creating it takes about as much again for a short time.
    if (nodes * 500 > freemem()) {
      progress(`${runtime}, growth: ${nodes} nodes are left out, since there is no memory for them`);
      break;
    }
    progress(`${runtime}, growth: ${nodes} nodes`);
    const before = used();
    const storage = createSequentialStorage();
    const { server } = await createReality(nodes, storage);
    const bytes = (used() - before) / nodes;
    let turn = 0;
    const next = () => ++turn * 104_729 % nodes;
    const contenders = [
      {
        name: "a sync of 10 keys, µs",
        run: () => {
          const known: Record<string, number> = {};
          for (let i = 0; i < 10; i++) known[keyOf(next())] = 1;
          return server.handleSync({ known });
        },
      },
      { name: "updateNode, µs", run: () => server.updateNode(keyOf(next()), `${turn}`) },
    ];
    for (const [name, times] of Object.entries(await measure(contenders, effort))) {
      (work[name] ??= []).push([nodes, times.toSorted((a, b) => a - b)[times.length >> 1]!]);
    }
    const newest = await storage.getMaxVersion();
    const history = [{ name: "history", run: () => storage.listChangedSince(newest - 10) }];
    (work["listChangedSince of 10, µs"] ??= []).push([nodes, middle(await measure(history, effort))]);
    (work["memory of a node with its key, bytes"] ??= []).push([nodes, bytes]);
    await server.close();
    // The next size takes ten times as long and may not finish.
    keep(Object.entries(work).map(([name, points]) => ({ part: "nodes", name, runtime, points })));
  }
}

/** Growing numbers of waiting clients at one process: each on its own connection, and a hundred on each connection. */
async function growWaiters(): Promise<void> {
  const named = process.argv.find((word) => word === "deno" || word === "bun" || word === "node") ?? "deno";
  const command = findRuntime(named as "deno");
  if (command === undefined) throw new Error(`Cannot find ${named}`);
  let curves: Curve[] = [];
  const connections = mostConnections();
  for (const count of isQuick ? [10, 1000] : [10, 100, 1000, 10_000, 19_000, 100_000]) {
    if (count <= connections) await measureOne(count, "a connection each", false);
    // Bun's server has no HTTP/2, and the one of Node is not used here.
    if (named === "deno" && count >= 100) await measureOne(count, "a hundred on an HTTP/2 connection", true);
  }

  async function measureOne(count: number, name: string, isShared: boolean): Promise<void> {
    progress(`${named}, growth: ${count} wait, ${name}`);
    const found = await wakeMany(count, isShared);
    add(`${name}: last one answered, ms`, [count, found.last], found.runtime);
    add(`${name}: memory, KiB`, [count, found.memory], found.runtime);
    keep(curves);
  }

  function add(name: string, point: [number, number], runtime: string): void {
    const old = curves.find((curve) => curve.name === name);
    curves = [...curves.filter((curve) => curve !== old), {
      part: "waiters",
      name,
      runtime,
      points: [...old?.points ?? [], point],
    }];
  }

  async function wakeMany(count: number, isShared: boolean) {
    // A client address has about 28,000 ports.
    const hosts = Array.from({ length: Math.ceil(count / 20_000) }, (_, i) => `127.0.0.${i + 1}`);
    const server = await ServerProcess.start(command!, "reality", hosts);
    try {
      const before = await server.memory();
      const clients = isShared
        ? await openStreams(server.port, count, hosts)
        : await openClients(server.port, count, "reality", hosts);
      for (const client of clients) void client.wait(keyOf(0), 1);
      await server.untilWaiting(count);
      const parked = await server.memory();
      const start = performance.now();
      await server.change(keyOf(0));
      const times = await Promise.all(clients.map(({ answered }) => answered));
      clients.forEach((client) => client.close());
      return {
        last: times.reduce((most, time) => Math.max(most, time), 0) - start,
        memory: (parked.memory - before.memory) / count / 1024,
        runtime: before.runtime,
      };
    } finally {
      await server.stop();
    }
  }
}

/** Keeps the curves beside those of other runtimes and parts, and draws all of them. */
function keep(curves: readonly Curve[]): void {
  const others = readCurves().filter((old) =>
    !curves.some((own) => own.part === old.part && own.runtime.split(" ")[0] === old.runtime.split(" ")[0])
  );
  const all = [...others, ...curves];
  const lines = all.map((curve) => `    ${JSON.stringify(curve, toDigits)}`);
  const head = { bench: "growth", machine: describeMachine(), at: new Date().toISOString() };
  const text = `${JSON.stringify(head, null, 2).slice(0, -2)},\n  "curves": [\n${
    lines.join(",\n")
  }\n  ]\n}\n`;
  writeFileSync(new URL("growth.json", RESULTS), text);
  drawGrowth(all);
  for (const { part, name, runtime, points } of curves) {
    // A slope needs two points.
    if (points.length < 2) continue;
    const exponent = exponentOf(points);
    console.log(`${part}: ${name}, ${runtime}: ${inWords(exponent)} (${exponent.toFixed(2)})`);
  }
}

/** Three digits are more than these figures deserve. */
function toDigits(_: string, value: unknown): unknown {
  return typeof value === "number" && !Number.isInteger(value) ? Number(value.toPrecision(3)) : value;
}

function middle(times: Record<string, number[]>): number {
  const [numbers = []] = Object.values(times);
  return numbers.toSorted((a, b) => a - b)[numbers.length >> 1]!;
}

/** The heap and the typed arrays beside it, after collecting garbage. Bun counts those as part of the heap. */
function used(): number {
  (globalThis as { gc?: () => void }).gc?.();
  const { heapUsed, external } = process.memoryUsage();
  return runtimeName === "bun" ? heapUsed : heapUsed + external;
}

/** How many connections a process may have open. */
function mostConnections(): number {
  const limit = Number(execSync("ulimit -Hn", { encoding: "utf8", shell: "/bin/sh" }));
  return Number.isFinite(limit) ? Math.max(100, limit - 500) : Infinity;
}
