/**
 * Thousands of clients that wait, in one process: each follows a key of its own and some that it shares, asks again as
 * soon as it is answered, and now and then goes to another server.
 *
 * @module
 */
import type { Chance } from "../chance.ts";
import type { Cluster } from "../cluster/cluster.ts";
import { sightsOf } from "../cluster/clients.ts";
import type { SyncResponse } from "../../src/types.ts";
import { requestBytes } from "../../bench/http/load.ts";
import { Connection } from "./connection.ts";
import type { Record } from "./record.ts";

/** How long a client asks a server to wait, and how long it is patient beyond that, in milliseconds. */
const WAIT = 25_000;
const PATIENCE = 5_000;

/** How often a client that was answered goes to another server. */
const HOP = 0.06;

/** One client in so many comes by the line that faults trouble; the others come directly, which costs half as much. */
const VIA_LINK = 5;

/** So many clients share a key, on average twenty, since each follows two of them. */
const CLIENTS_PER_SHARED_KEY = 10;
const SHARED_KEYS_EACH = 2;

/** What clients ask of the run. */
export interface ClientRooms {
  readonly cluster: Cluster;
  readonly chance: Chance;
  readonly record: Record;
}

/** A version of a key that a client or a stream holds; 0 for a key that is not there. */
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

  constructor(count: number, deps: ClientRooms) {
    const shared = Math.max(1, Math.round(count / CLIENTS_PER_SHARED_KEY));
    this.ownKeys = Array.from({ length: count }, (_, i) => `own:${i}`);
    this.sharedKeys = Array.from({ length: shared }, (_, i) => `shared:${i}`);
    this.#clients = this.ownKeys.map((own, i) => {
      const picked = Array.from({ length: SHARED_KEYS_EACH }, () => deps.chance.pick(this.sharedKeys));
      return new Client(i, [...new Set([own, ...picked])], deps);
    });
    // One timer for all of them.
    this.#sweep = setInterval(() => {
      const now = performance.now();
      for (const client of this.#clients) client.look(now);
    }, 250);
  }

  /** Lets them come, a few hundred a second. */
  async come(): Promise<void> {
    for (const [i, client] of this.#clients.entries()) {
      client.begin();
      if (i % 50 === 49) await new Promise((resolve) => setTimeout(resolve, 100));
    }
  }

  /** How many wait for an answer now. */
  get asking(): number {
    return this.#clients.filter((client) => client.isAsking).length;
  }

  /** What each of them holds. */
  get held(): Held[] {
    return this.#clients.flatMap((client) => client.held);
  }

  /** Lets some of them hang up in the middle of a wait, and come back. */
  hangUp(chance: Chance, share: number): number {
    const leaving = this.#clients.filter(() => chance.happens(share));
    for (const client of leaving) client.leave(chance.between(0, 2000));
    return leaving.length;
  }

  /** Ends them all. */
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
  readonly #rooms: ClientRooms;
  #server: number;
  #connection: Connection | undefined;
  #epoch: string | undefined;
  #asked = 0;
  /** When it gives up waiting, or comes back; `Infinity` before it came and after it was stopped. */
  #due = Infinity;
  isAsking = false;

  constructor(number: number, keys: readonly string[], deps: ClientRooms) {
    this.#number = number;
    this.#keys = keys;
    this.#known = keys.map(() => 0);
    this.#rooms = deps;
    this.#server = number % deps.cluster.servers.length;
  }

  /** What it holds. */
  get held(): Held[] {
    const who = `client ${this.#number}`;
    return this.#keys.map((key, i) => ({ who, key, version: this.#known[i]! }));
  }

  /** Comes and asks. */
  begin(): void {
    const { cluster } = this.#rooms;
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

  /** Hangs up, and comes back after so many milliseconds. */
  leave(ms: number): void {
    if (this.#connection === undefined) return;
    this.#hangUp();
    this.#due = performance.now() + ms;
  }

  /** Looks whether it is time to give up, or to come back. */
  look(now: number): void {
    if (now < this.#due) return;
    if (this.isAsking) this.#lose("no answer in time");
    else this.begin();
  }

  /** Ends it. */
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
    const { chance, record } = this.#rooms;
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
    if (!chance.happens(HOP)) return this.#ask();
    this.#hangUp();
    this.#hop();
    this.begin();
  }

  /** What it asked is lost; it tries another server, not at once and not with all others. */
  #lose(reason: string): void {
    const { chance, record } = this.#rooms;
    record.error(`a client lost its wait: ${reason}`);
    this.#hangUp();
    this.#hop();
    this.#due = performance.now() + chance.between(100, 1500);
  }

  #hop(): void {
    const { chance, cluster } = this.#rooms;
    this.#server = chance.pick(cluster.servers.filter((server) => server !== this.#server));
  }

  #hangUp(): void {
    this.#connection?.drop();
    this.#connection = undefined;
    this.isAsking = false;
  }
}
