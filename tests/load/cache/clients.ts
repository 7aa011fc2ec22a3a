/**
 * Very many clients that wait, in a process of its own: `node tests/load/cache/clients.ts ORDER`. Prints a line when all of them have
 * had their first answer. Then it reads lines: `target VERSION` is answered with a line when all clients have been told of it, and
 * `stats` at once.
 *
 * @module
 */
import { connect, type Socket } from "node:net";
import process from "node:process";
import { createInterface } from "node:readline";
import { percentile } from "../../../bench/measure.ts";
import { ReplyReader, requestBytes } from "../../../bench/http/load.ts";

/** What the process is told, as JSON. */
export interface ClientsOrder {
  readonly port: number;
  /** The address of the clients: for each one there are about 28,000 ports. */
  readonly localAddress: string;
  readonly method: "GET" | "POST";
  readonly count: number;
  /** The keys are this text and a number, and are followed by equally many clients. */
  readonly prefix: string;
  readonly keys: number;
  readonly epoch: string;
  /** How long a request waits, in seconds. */
  readonly wait: number;
}

/** When clients had been told of a change, by `Date.now()`. */
export interface Told {
  readonly median: number;
  readonly last: number;
}

/** What clients have received so far. */
export interface Received {
  readonly answers: number;
  /** How many of them told nothing. */
  readonly empty: number;
  /** How many requests were refused, and how many connections were closed. They were sent, or opened, again. */
  readonly failed: number;
}

/** After an empty answer that came sooner than this a client pauses for as long, in milliseconds: a cache had it. */
const PAUSE = 1_000;

const order = JSON.parse(process.argv[2] ?? "") as ClientsOrder;
let [answers, empty, failed] = [0, 0, 0];
let onTold = () => {};

/** One client on a connection of its own, which it opens again if it is closed. */
class Client {
  version = 0;
  /** When it was told of this version, by `Date.now()`. */
  toldAt = 0;
  #socket: Socket | undefined;
  readonly #key: string;
  #sentAt = 0;
  #onOpen: () => void = () => {};
  #onFirst: () => void = () => {};
  readonly opened: Promise<void> = new Promise((resolve) => this.#onOpen = resolve);
  readonly first: Promise<void> = new Promise((resolve) => this.#onFirst = resolve);

  constructor(key: string) {
    this.#key = key;
    this.#connect();
  }

  #connect(): void {
    const { port, localAddress } = order;
    const replies = new ReplyReader();
    const socket = this.#socket = connect({ port, host: "127.0.0.1", localAddress, noDelay: true });
    socket.on("connect", () => {
      this.#onOpen();
      this.send();
    });
    socket.on("data", (chunk) => replies.take(chunk as Uint8Array) && this.#take(replies));
    socket.on("error", () => {});
    socket.on("close", () => {
      this.#socket = undefined;
      failed++;
      setTimeout(() => this.#connect(), PAUSE);
    });
  }

  send(): void {
    const { method, epoch, wait } = order;
    // Without a connection it sends when there is one again.
    if (this.#socket === undefined) return;
    this.#sentAt = performance.now();
    if (method === "GET") {
      const path = `/reality/sync?e=${epoch}&k=${this.#key}:${this.version}&w=${wait}`;
      this.#socket.write(`GET ${path} HTTP/1.1\r\nhost: localhost\r\n\r\n`);
    } else {
      const body = JSON.stringify({ known: { [this.#key]: this.version }, epoch, wait: wait * 1_000 });
      this.#socket.write(requestBytes("POST", "/reality/sync", body));
    }
  }

  #take({ status, body }: ReplyReader): void {
    if (status !== 200) {
      failed++;
      setTimeout(() => this.send(), PAUSE);
      return;
    }
    answers++;
    this.#onFirst();
    const version = Number(/"version":(\d+)/.exec(body)?.[1] ?? 0);
    if (version > this.version) {
      this.version = version;
      this.toldAt = performance.timeOrigin + performance.now();
      onTold();
      return this.send();
    }
    empty++;
    if (performance.now() - this.#sentAt < PAUSE) setTimeout(() => this.send(), PAUSE);
    else this.send();
  }
}

const clients: Client[] = [];
// In groups that fit into the listener's backlog.
while (clients.length < order.count) {
  const length = Math.min(200, order.count - clients.length);
  const group = Array.from(
    { length },
    (_, i) => new Client(`${order.prefix}${(clients.length + i) % order.keys}`),
  );
  clients.push(...group);
  await Promise.all(group.map(({ opened }) => opened));
}
await Promise.all(clients.map(({ first }) => first));
console.log("ready");
for await (const line of createInterface(process.stdin)) {
  const [word, number] = line.split(" ");
  if (word === "stats") console.log(JSON.stringify({ answers, empty, failed } satisfies Received));
  else await tellWhenTold(Number(number));
}
process.exit();

async function tellWhenTold(version: number): Promise<void> {
  let left = 1;
  await new Promise<void>((resolve) => {
    onTold = () => {
      // Looks at all of them only when as many answers have come as were missing.
      if (--left > 0) return;
      left = clients.filter((client) => client.version < version).length;
      if (left === 0) resolve();
    };
    onTold();
  });
  onTold = () => {};
  const times = clients.map(({ toldAt }) => toldAt);
  console.log(JSON.stringify({ median: percentile(times, 0.5), last: Math.max(...times) } satisfies Told));
}
