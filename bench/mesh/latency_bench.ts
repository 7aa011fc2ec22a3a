/**
 * How soon a change in one process answers a waiting client at another, by the mesh, beside bare messages between the same
 * two processes: `node bench/mesh/latency_bench.ts deno`. What is measured runs on the runtime that is named; the
 * client is this process.
 *
 * @module
 */
import type { Socket } from "node:net";
import { loadavg } from "node:os";
import process from "node:process";
import { setTimeout as sleep } from "node:timers/promises";
import { openSocket, ReplyReader, requestBytes } from "../http/load.ts";
import { inTurn, percentile } from "../measure.ts";
import { finish, isQuick, progress, type Row } from "../report.ts";
import { findRuntime, type RuntimeName } from "../runtimes.ts";
import { BARE, KEY, MESHES, type Way } from "./contenders.ts";
import { MeshProcess, now, type Offset } from "./process.ts";
import type { Notes } from "./server.ts";

const rounds = isQuick ? 3 : 8;
/** So many changes are made by each way in a round, one at a time, the ways by turns. */
const changes = isQuick ? 15 : 50;
/** As many go before, closer together: until then, code that is used rarely is still being compiled. */
const WARM_UP = isQuick ? 100 : 700;
/** How long nothing happens before a change, in milliseconds. */
const REST = [6, 14] as const;
const SHORT_REST = [0, 2] as const;

const command = findRuntime((process.argv[2] ?? "node") as RuntimeName);
if (command === undefined) throw new Error(`Cannot find ${process.argv[2]}: name it in a REALITY_ variable`);

/** A client that waits in the second process on a connection of its own. */
class Client {
  readonly way: Way;
  readonly #socket: Socket;
  readonly #replies = new ReplyReader();
  #version = 0;
  #resolve: (time: number) => void = () => {};
  /** When each answer came, in milliseconds of this process's clock. */
  readonly times: number[] = [];

  constructor(way: Way, socket: Socket) {
    this.way = way;
    this.#socket = socket;
    socket.on("data", (chunk) => {
      if (!this.#replies.take(chunk as Uint8Array)) return;
      const time = now();
      if (this.#replies.status !== 200) throw new Error(`${way.name}: got status ${this.#replies.status}`);
      this.#version = this.#versionOf(this.#replies.body);
      this.#resolve(time);
    });
  }

  /** Waits for the next message. */
  wait(): Promise<number> {
    const isBare = this.way.path.startsWith("/bare/");
    const body = isBare ? "{}" : JSON.stringify({ known: { [KEY]: this.#version }, wait: 20_000 });
    const bytes = requestBytes("POST", this.way.path, body);
    this.#socket.write(isBare ? withHeader(bytes, "x-wait: 1") : bytes);
    return new Promise((resolve) => this.#resolve = resolve);
  }

  close(): void {
    this.#socket.destroy();
  }

  #versionOf(body: string): number {
    if (this.way.path.startsWith("/bare/")) return 0;
    const version = /"version":(\d+)/.exec(body)?.[1];
    if (version === undefined) throw new Error(`${this.way.name}: woken for nothing`);
    return Number(version);
  }
}

const [a, b] = [await MeshProcess.start(command), await MeshProcess.start(command)];
await a.join(b);
await b.join(a);
const clients: Client[] = [];
for (const way of [...Object.values(BARE), ...Object.values(MESHES)] as Way[]) {
  const missing = way.needs !== undefined && !process.env[`REALITY_BENCH_${way.needs.toUpperCase()}`];
  if (!missing) clients.push(new Client(way, await openSocket(b.port)));
}
progress("warming up");
for (let i = 0; i < WARM_UP; i++) {
  await turn(i, SHORT_REST);
  if (i === 20) await matchSizes();
}
const offsets = { a: await a.compareClocks(), b: await b.compareClocks() };
const skipped = counts(await a.tell());
for (const client of clients) client.times.length = 0;
const arrivedBefore = arrivals(await b.tell());
for (let round = 0; round < rounds; round++) {
  progress(`round ${round + 1} of ${rounds}; the machine's load is ${loadavg()[0]!.toFixed(1)}`);
  for (let i = 0; i < changes; i++) await turn(round * changes + i);
}
const [notesA, notesB] = [await a.tell(), await b.tell()];
for (const client of clients) client.close();
await Promise.all([a.stop(), b.stop()]);
report();

/** One change by each way. */
async function turn(n: number, [least, most]: readonly [number, number] = REST): Promise<void> {
  for (const client of inTurn(clients, n)) {
    const woken = client.wait();
    // By then the client waits, and all work for the previous change is done.
    await sleep(least + Math.random() * (most - least));
    a.send(client.way.path);
    client.times.push(await woken);
  }
}

/** Makes bare messages as long as those of the mesh. */
async function matchSizes(): Promise<void> {
  const before = await a.tell();
  const [post, answer] = before.sizes[MESHES.secret.path]!;
  const { publish } = await b.tell();
  progress(
    `a message has ${post.toFixed(0)} bytes, its answer ${answer.toFixed(0)}, one by Redis ${publish}`,
  );
  await Promise.all([a.size(post, answer, publish), b.size(post, answer, publish)]);
}

function report(): void {
  const [offsetA, offsetB] = [middle(offsets.a), middle(offsets.b)];
  const width = Math.max(...Object.values(offsets).map(({ least, most }) => most - least));
  progress(`the two clocks are known to ${(width * 500).toFixed(0)} µs more or less`);
  const took: Record<string, number[]> = {};
  for (const { way, times } of clients) {
    const begun = notesA.begun[way.path]!.slice(skipped[way.path]).map((time) => time - offsetA);
    const settled = notesA.settled[way.path]!.slice(skipped[way.path]).map((time) => time - offsetA);
    took[way.name] = times.map((time, i) => time - begun[i]!);
    const arrived = notesB.arrived[way.path]?.slice(arrivedBefore[way.path]).map((time) => time - offsetB);
    if (arrived !== undefined) took[`${way.name}, one way`] = arrived.map((time, i) => time - begun[i]!);
    if (way === BARE.post) took[`${way.name}, to its answer`] = settled.map((time, i) => time - begun[i]!);
    if (way.needs === "postgres") {
      took[`${way.name}, from the commit`] = times.map((time, i) => time - settled[i]!);
    }
  }
  const rows = [
    ...rowsOf(took, "without Redis, beside a bare POST and an answer", "bare POST"),
    ...rowsOf(took, "without Redis, beside a bare POST one way", "bare POST, one way"),
    ...rowsOf(took, "with Redis, beside a bare publish and an answer", "bare publish"),
    ...rowsOf(took, "with Redis, beside a bare publish one way", "bare publish, one way"),
  ];
  finish("mesh_latency", rows, notesB.runtime);
}

/** Both figures of all ways with Redis, or without it, beside one of them. */
function rowsOf(took: Record<string, number[]>, group: string, base: string): Row[] {
  const usesRedis = (name: string) => name.startsWith(BARE.redis.name) || name === MESHES.redis.name;
  const names = Object.keys(took).filter((name) => usesRedis(name) === usesRedis(base));
  if (!names.includes(base)) return [];
  const figures = (summary: (numbers: number[]) => number[]) =>
    Object.fromEntries(names.map((name) => [name, summary([...took[name]!])]));
  const perRound = (numbers: number[]) =>
    Array.from(
      { length: rounds },
      (_, round) => percentile(numbers.slice(round * changes, (round + 1) * changes), 0.5),
    );
  return [
    { group, name: "median", unit: "ms", base, figures: figures(perRound) },
    { group, name: "99 of 100 within", unit: "ms", base, figures: figures((all) => [percentile(all, 0.99)]) },
  ];
}

/** The clocks of two processes that read the machine's are the same one. */
function middle({ least, most }: Offset): number {
  return least <= 0 && most >= 0 ? 0 : (least + most) / 2;
}

function counts({ begun }: Notes): Record<string, number> {
  return Object.fromEntries(Object.entries(begun).map(([way, times]) => [way, times.length]));
}

function arrivals({ arrived }: Notes): Record<string, number> {
  return Object.fromEntries(Object.entries(arrived).map(([way, times]) => [way, times.length]));
}

function withHeader(bytes: Uint8Array, header: string): Uint8Array {
  const text = new TextDecoder().decode(bytes);
  return new TextEncoder().encode(text.replace("\r\n\r\n", `\r\n${header}\r\n\r\n`));
}
