/**
 * Writers that change and delete keys at a steady rate through all servers.
 *
 * @module
 */
import type { SeededRandom } from "../random.ts";
import { type Cluster, WRITE_TOKEN } from "../cluster/cluster.ts";
import { requestBytes } from "../../bench/http/load.ts";
import type { Clients } from "./clients.ts";
import { Connection } from "./connection.ts";
import type { Record } from "./record.ts";

/** Writer connections for each server. The first goes through a link with faults. */
const EACH = 12;

/** How long a writer waits for an answer, in milliseconds. */
const PATIENCE = 15_000;

/** The probability that a change is of a shared key. */
const SHARED = 0.1;

/** The probability that a change is a deletion. The next change creates the key again. */
const DELETED = 0.12;

/** How often changes are sent, in milliseconds. */
const BEAT = 10;

/** What writers need of the run. */
export interface WriterDeps {
  readonly cluster: Cluster;
  readonly random: SeededRandom;
  readonly record: Record;
  readonly clients: Clients;
}

/** All writers. */
export class Writers {
  readonly #deps: WriterDeps;
  readonly #writers: readonly Writer[];
  #timer: ReturnType<typeof setInterval> | undefined;
  #written = 0;
  /** Changes that were due while no writer was free, and are sent later or never. */
  heldBack = 0;

  constructor(deps: WriterDeps) {
    this.#deps = deps;
    this.#writers = deps.cluster.servers.flatMap((server) =>
      Array.from({ length: EACH }, (_, i) => new Writer(server, i === 0, deps))
    );
  }

  /** Starts to change so many keys a second. */
  begin(rate: number): void {
    let due = 0;
    let last = performance.now();
    this.#timer = setInterval(() => {
      const now = performance.now();
      due += (now - last) * rate / 1000;
      last = now;
      for (const writer of this.#writers) writer.look(now);
      for (; due >= 1; due--) {
        if (this.#write()) continue;
        // Changes that cannot be sent within a second are dropped: a recovered server is not flooded.
        const left = Math.max(0, Math.floor(due) - rate);
        this.heldBack += left;
        due -= left;
        break;
      }
    }, BEAT);
  }

  /** All changes requested before this moment have been recorded. */
  get settledUntil(): number {
    return Math.min(performance.now(), ...this.#writers.map(({ asked }) => asked));
  }

  /** Stops. Settles when all changes were answered or timed out. */
  async end(): Promise<void> {
    clearInterval(this.#timer);
    while (this.#writers.some(({ isAsking }) => isAsking)) {
      await new Promise((resolve) => setTimeout(resolve, 100));
      for (const writer of this.#writers) writer.look(performance.now());
    }
    for (const writer of this.#writers) writer.stop();
  }

  #write(): boolean {
    const { random, clients } = this.#deps;
    const free = this.#writers.filter(({ isFree }) => isFree);
    if (free.length === 0) return false;
    const key = random.pick(random.happens(SHARED) ? clients.sharedKeys : clients.ownKeys);
    const writer = random.pick(free);
    if (random.happens(DELETED)) writer.delete(key);
    else writer.change(key, `change ${this.#written++}`);
    return true;
  }
}

interface Asking {
  readonly key: string;
  /** Empty for a deletion. */
  readonly hash: string;
  readonly asked: number;
  /** Records the acknowledgement of the deletion; `undefined` for an update. */
  readonly deleted: ((at: number) => void) | undefined;
}

/** One connection that changes are sent through. */
class Writer {
  readonly #server: number;
  readonly #usesLink: boolean;
  readonly #deps: WriterDeps;
  #connection: Connection | undefined;
  #asking: Asking | undefined;
  #restsUntil = 0;

  constructor(server: number, usesLink: boolean, deps: WriterDeps) {
    this.#server = server;
    this.#usesLink = usesLink;
    this.#deps = deps;
  }

  get isAsking(): boolean {
    return this.#asking !== undefined;
  }

  /** When the pending request was sent; `Infinity` without one. */
  get asked(): number {
    return this.#asking?.asked ?? Infinity;
  }

  get isFree(): boolean {
    return !this.isAsking && this.#connection !== undefined;
  }

  /** Reconnects or times out when it is due. */
  look(now: number): void {
    if (this.#asking && now - this.#asking.asked > PATIENCE) return this.#lose("no answer in time");
    if (this.#connection === undefined && now > this.#restsUntil) this.#connect();
  }

  /** Requests a change. */
  change(key: string, hash: string): void {
    this.#asking = { key, hash, asked: performance.now(), deleted: undefined };
    this.#send("POST", "/reality/update", JSON.stringify({ key, hash }));
  }

  /** Requests a deletion. */
  delete(key: string): void {
    const asked = performance.now();
    const deleted = this.#deps.record.acks.beginDeletion(key, asked);
    this.#asking = { key, hash: "", asked, deleted };
    this.#send("DELETE", `/reality/nodes/${encodeURIComponent(key)}`, "");
  }

  /** Stops it. */
  stop(): void {
    this.#connection?.drop();
    this.#connection = undefined;
  }

  #send(method: string, path: string, body: string): void {
    this.#connection?.send(requestBytes(method, path, body, [`authorization: Bearer ${WRITE_TOKEN}`]));
  }

  #connect(): void {
    const { cluster } = this.#deps;
    const url = this.#usesLink ? cluster.urlOf(this.#server) : cluster.directUrlOf(this.#server);
    if (url === undefined) return;
    const connection: Connection = this.#connection = new Connection(Number(new URL(url).port), {
      onReply: (status, body) => this.#take(status, body),
      onLost: (reason) => {
        if (this.#connection === connection) this.#lose(reason);
      },
    });
  }

  #take(status: number, body: string): void {
    if (this.#asking === undefined) return;
    const { deleted } = this.#asking;
    if (status !== (deleted ? 204 : 200)) return this.#lose(`status ${status}`);
    if (deleted) {
      const at = performance.now();
      deleted(at);
      return this.#note(at, 0);
    }
    const { versions } = JSON.parse(body) as { versions: { [key: string]: number } };
    this.#note(performance.now(), versions[this.#asking.key]!);
  }

  #lose(reason: string): void {
    if (this.#asking !== undefined) this.#deps.record.error(`a change got no answer: ${reason}`);
    this.#note(Infinity, 0);
    this.stop();
    this.#restsUntil = performance.now() + 500;
  }

  #note(answered: number, version: number): void {
    if (this.#asking === undefined) return;
    const { deleted, ...asked } = this.#asking;
    this.#deps.record.change({
      ...asked,
      isDeletion: deleted !== undefined,
      server: this.#server,
      answered,
      version,
    });
    this.#asking = undefined;
  }
}
