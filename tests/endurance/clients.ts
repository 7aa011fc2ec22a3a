/**
 * Thousands of clients that wait, in one process: each follows a key of its own and some that it shares, asks again as
 * soon as it is answered, and now and then goes to another server.
 *
 * @module
 */
import type { SeededRandom } from "../random.ts";
import type { Cluster } from "../cluster/cluster.ts";
import { sightsOf } from "../cluster/clients.ts";
import type { SyncResponse } from "../../src/types.ts";
import { requestBytes } from "../../bench/http/load.ts";
import { Connection } from "./connection.ts";
import type { Record } from "./record.ts";

/** The `wait` of a sync, and the client's timeout beyond it, in milliseconds. */
const WAIT = 25_000;
const PATIENCE = 5_000;

/** The probability that a client changes its server after an answer. */
const HOP = 0.06;

/** One client in so many connects through a link with faults. The others connect directly, which costs half as much. */
const VIA_LINK = 5;

/** So many clients share a key, on average twenty, since each follows two of them. */
const CLIENTS_PER_SHARED_KEY = 10;
const SHARED_KEYS_EACH = 2;

/** What clients need of the run. */
export interface ClientDeps {
  readonly cluster: Cluster;
  readonly random: SeededRandom;
  readonly record: Record;
}

/** A version of a key that a client or a stream holds; 0 for a key without a node. */
export interface Held {
  readonly who: string;
  readonly key: string;
  readonly version: number;
}

/** All clients. */
export class Clients {
  readonly #clients: readonly Client[];
  readonly #sweep: ReturnType<typeof setInterval>;
  /** The keys that one client follows, and those that many do. */
  readonly ownKeys: readonly string[];
  readonly sharedKeys: readonly string[];

  constructor(count: number, deps: ClientDeps) {
    const shared = Math.max(1, Math.round(count / CLIENTS_PER_SHARED_KEY));
    this.ownKeys = Array.from({ length: count }, (_, i) => `own:${i}`);
    this.sharedKeys = Array.from({ length: shared }, (_, i) => `shared:${i}`);
    this.#clients = this.ownKeys.map((own, i) => {
      const picked = Array.from({ length: SHARED_KEYS_EACH }, () => deps.random.pick(this.sharedKeys));
      return new Client(i, [...new Set([own, ...picked])], deps);
    });
    // One timer for all of them.
    this.#sweep = setInterval(() => {
      const now = performance.now();
      for (const client of this.#clients) client.look(now);
    }, 250);
  }

  /** Starts the clients, a few hundred a second. */
  async come(): Promise<void> {
    for (const [i, client] of this.#clients.entries()) {
      client.begin();
      if (i % 50 === 49) await new Promise((resolve) => setTimeout(resolve, 100));
    }
  }

  /** The number of waiting clients. */
  get asking(): number {
    return this.#clients.filter((client) => client.isAsking).length;
  }

  /** The versions of each client. */
  get held(): Held[] {
    return this.#clients.flatMap((client) => client.held);
  }

  /** Disconnects some waiting clients, which come back later. */
  hangUp(random: SeededRandom, share: number): number {
    const leaving = this.#clients.filter(() => random.happens(share));
    for (const client of leaving) client.leave(random.between(0, 2000));
    return leaving.length;
  }

  /** Stops all clients. */
  stop(): void {
    clearInterval(this.#sweep);
    for (const client of this.#clients) client.stop();
  }
}

/** One client. */
class Client {
  readonly #number: number;
  readonly #keys: readonly string[];
  readonly #known: number[];
  readonly #deps: ClientDeps;
  #server: number;
  #connection: Connection | undefined;
  #epoch: string | undefined;
  #asked = 0;
  /** When it times out or reconnects; `Infinity` before the start and after the stop. */
  #due = Infinity;
  isAsking = false;

  constructor(number: number, keys: readonly string[], deps: ClientDeps) {
    this.#number = number;
    this.#keys = keys;
    this.#known = keys.map(() => 0);
    this.#deps = deps;
    this.#server = number % deps.cluster.servers.length;
  }

  /** Its versions. */
  get held(): Held[] {
    const who = `client ${this.#number}`;
    return this.#keys.map((key, i) => ({ who, key, version: this.#known[i]! }));
  }

  /** Connects and sends a sync. */
  begin(): void {
    const { cluster } = this.#deps;
    const usesLink = this.#number % VIA_LINK === 0;
    const url = usesLink ? cluster.urlOf(this.#server) : cluster.directUrlOf(this.#server);
    if (url === undefined) return this.#lose("the server is not there");
    const connection: Connection = this.#connection = new Connection(Number(new URL(url).port), {
      onReply: (status, body) => this.#take(status, body),
      onLost: (reason) => {
        if (this.#connection === connection) this.#lose(reason);
      },
    });
    this.#ask();
  }

  /** Disconnects, and reconnects after so many milliseconds. */
  leave(ms: number): void {
    if (this.#connection === undefined) return;
    this.#hangUp();
    this.#due = performance.now() + ms;
  }

  /** Times out or reconnects when it is due. */
  look(now: number): void {
    if (now < this.#due) return;
    if (this.isAsking) this.#lose("no answer in time");
    else this.begin();
  }

  /** Stops it. */
  stop(): void {
    this.#hangUp();
    this.#due = Infinity;
  }

  #ask(): void {
    const known = Object.fromEntries(this.#keys.map((key, i) => [key, this.#known[i]!]));
    this.#asked = performance.now();
    this.#due = this.#asked + WAIT + PATIENCE;
    this.isAsking = true;
    // Every other client says which epoch its versions come from. Clients need not.
    const epoch = this.#number % 2 === 0 ? this.#epoch : undefined;
    const body = JSON.stringify({ known, epoch, wait: WAIT });
    this.#connection?.send(requestBytes("POST", "/reality/sync", body));
  }

  #take(status: number, body: string): void {
    const { random, record } = this.#deps;
    const answered = performance.now();
    this.isAsking = false;
    if (status !== 200) return this.#lose(`status ${status}`);
    const held = [...this.#known];
    const known = Object.fromEntries(this.#keys.map((key, i) => [key, held[i]!]));
    const response = JSON.parse(body) as SyncResponse;
    const sights = sightsOf(known, response);
    if (response.epoch !== (this.#epoch ?? response.epoch)) record.violate("the epoch is another one");
    this.#epoch = response.epoch;
    sights.forEach(({ version }, i) => this.#known[i] = version);
    record.read({ server: this.#server, asked: this.#asked, answered, sights, held });
    if (!random.happens(HOP)) return this.#ask();
    this.#hangUp();
    this.#hop();
    this.begin();
  }

  /** Its request is lost: tries another server after a random delay. */
  #lose(reason: string): void {
    const { random, record } = this.#deps;
    record.error(`a client lost its wait: ${reason}`);
    this.#hangUp();
    this.#hop();
    this.#due = performance.now() + random.between(100, 1500);
  }

  #hop(): void {
    const { random, cluster } = this.#deps;
    this.#server = random.pick(cluster.servers.filter((server) => server !== this.#server));
  }

  #hangUp(): void {
    this.#connection?.drop();
    this.#connection = undefined;
    this.isAsking = false;
  }
}
