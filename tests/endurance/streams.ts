/**
 * Clients that follow shared keys by event streams, as `EventSource` does: they resume with `Last-Event-ID` and change
 * the server when a stream ends.
 *
 * @module
 */
import { connect, type Socket } from "node:net";
import type { SeededRandom } from "../random.ts";
import type { Cluster } from "../cluster/cluster.ts";
import type { RealityNodeMeta } from "../../src/types.ts";
import type { Held } from "./clients.ts";
import type { Record } from "./record.ts";

/** The number of keys of a stream. */
const KEYS_EACH = 3;

/** How long an open stream may lack an acknowledged change, in milliseconds. */
const LONGEST_SILENCE = 30_000;

/** After how long without any byte, heartbeats included, a stream is closed, in milliseconds. */
const LONGEST_QUIET = 70_000;

/** What streams need of the run. */
export interface StreamDeps {
  readonly cluster: Cluster;
  readonly random: SeededRandom;
  readonly record: Record;
}

/** All streams. */
export class Streams {
  readonly #streams: readonly Stream[];
  readonly #sweep: ReturnType<typeof setInterval>;

  constructor(count: number, keys: readonly string[], deps: StreamDeps) {
    this.#streams = Array.from({ length: count }, (_, i) => {
      const own = new Set(Array.from({ length: KEYS_EACH }, () => deps.random.pick(keys)));
      return new Stream(i, [...own], deps);
    });
    this.#sweep = setInterval(() => {
      const now = performance.now();
      for (const stream of this.#streams) stream.look(now);
    }, 500);
  }

  /** The versions of each stream. */
  get held(): Held[] {
    return this.#streams.flatMap((stream) => stream.held);
  }

  /** Stops all streams. */
  stop(): void {
    clearInterval(this.#sweep);
    for (const stream of this.#streams) stream.stop();
  }
}

/** One stream, and the streams that replace it. */
class Stream {
  readonly #number: number;
  readonly #known: Map<string, number>;
  readonly #deps: StreamDeps;
  #server: number;
  #socket: Socket | undefined;
  #lastId = "";
  /** Bytes to come, where the head says so: of a stream that ended before its head was sent. */
  #left = Infinity;
  #isInBody = false;
  /** When it was requested, when its last byte arrived, and when it reconnects. */
  #opened = 0;
  #heard = 0;
  #due = 0;

  constructor(number: number, keys: readonly string[], deps: StreamDeps) {
    this.#number = number;
    this.#known = new Map(keys.map((key) => [key, 0]));
    this.#deps = deps;
    this.#server = number % deps.cluster.servers.length;
  }

  /** Its versions. */
  get held(): Held[] {
    return [...this.#known].map(([key, version]) => ({ who: `stream ${this.#number}`, key, version }));
  }

  /** The changes acknowledged before a moment that it has not received. */
  #behind(before: number): string[] {
    return this.held.flatMap(({ who, key, version }) => {
      const untold = this.#deps.record.acks.untold(key, version, before);
      return untold === undefined ? [] : [`${who} holds ${version} of ${key}, and ${untold}`];
    });
  }

  /** Connects, times out or reports a missing change when it is due. */
  look(now: number): void {
    if (this.#socket === undefined) {
      if (now >= this.#due) this.#open();
      return;
    }
    if (now - this.#heard > LONGEST_QUIET) return this.#lose("nothing came");
    if (now - this.#opened < LONGEST_SILENCE) return;
    const [behind] = this.#behind(now - LONGEST_SILENCE);
    if (behind === undefined) return;
    this.#deps.record.violate(`${behind} more than ${LONGEST_SILENCE} ms ago, at server ${this.#server}`);
    this.#lose("it was not told");
  }

  /** Stops it. */
  stop(): void {
    this.#drop();
    this.#due = Infinity;
  }

  #open(): void {
    const url = this.#deps.cluster.directUrlOf(this.#server);
    if (url === undefined) return this.#lose("the server is not there");
    const socket = this.#socket = connect({
      port: Number(new URL(url).port),
      host: "127.0.0.1",
      noDelay: true,
    });
    this.#opened = this.#heard = performance.now();
    [this.#left, this.#isInBody] = [Infinity, false];
    const query = [...this.#known.keys()].map((key) => `keys=${encodeURIComponent(key)}`).join("&");
    const head = [`GET /reality/events?${query} HTTP/1.1`, "host: localhost", "accept: text/event-stream"];
    if (this.#lastId !== "") head.push(`last-event-id: ${this.#lastId}`);
    socket.write(`${head.join("\r\n")}\r\n\r\n`);
    let [reason, rest] = ["closed", ""];
    socket.on("error", (error: Error & { code?: string }) => reason = error.code ?? error.message);
    socket.setEncoding("utf8").on("data", (text: string) => {
      // Chunk sizes are lines, too, but match none of the fields below.
      const lines = (rest + text).split("\n");
      rest = lines.pop() ?? "";
      for (const line of lines) if (this.#socket === socket) this.#take(line);
    });
    socket.on("close", () => {
      if (this.#socket === socket) this.#lose(reason);
    });
  }

  #take(line: string): void {
    this.#heard = performance.now();
    if (line.startsWith("id: ")) this.#lastId = line.slice(4);
    if (line.startsWith("data: {")) this.#sight(JSON.parse(line.slice(6)) as Partial<RealityNodeMeta>);
    if (/^HTTP\/1\.1 (?!200)/.test(line)) this.#lose(`status ${line.slice(9, 12)}`);
    else if (this.#isLast(line)) this.#lose("the server ended it");
  }

  /** Whether the transfer ends with this line: by its last piece, or its length. The connection may stay. */
  #isLast(line: string): boolean {
    if (this.#isInBody) this.#left -= line.length + 1;
    else if (line === "\r") this.#isInBody = true;
    else this.#left = Number(/^content-length: *(\d+)/i.exec(line)?.[1] ?? this.#left);
    return line === "0\r" || this.#left <= 0;
  }

  #sight({ key, version }: Partial<RealityNodeMeta>): void {
    if (key === undefined || version === undefined) return;
    const held = this.#known.get(key);
    if (held === undefined) return;
    const { record } = this.#deps;
    this.#known.set(key, version);
    if (record.isBack(key, held, version)) {
      record.violate(`${key} went back from ${held} to ${version} in a stream of ${this.#server}`);
    } else if (version !== held) record.streamed(this.#server, key, [held, version], this.#opened);
  }

  #lose(reason: string): void {
    const { random, cluster, record } = this.#deps;
    record.error(`a stream ended: ${reason}`);
    this.#drop();
    this.#server = random.pick(cluster.servers.filter((server) => server !== this.#server));
    this.#due = performance.now() + random.between(500, 3000);
  }

  #drop(): void {
    const socket = this.#socket;
    this.#socket = undefined;
    socket?.destroy();
  }
}
