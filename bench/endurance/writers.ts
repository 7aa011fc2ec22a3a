/**
 * Writers that change keys at a steady rate through all servers.
 *
 * @module
 */
import type { Chance } from "../../tests/chance.ts";
import { type Cluster, WRITE_TOKEN } from "../../tests/cluster/cluster.ts";
import { requestBytes } from "../http/load.ts";
import type { Clients } from "./clients.ts";
import { Connection } from "./connection.ts";
import type { Record } from "./record.ts";

/** So many connections of writers each server has; the first of them comes by the line that faults trouble. */
const EACH = 12;

/** How long a writer waits for an answer, in milliseconds. */
const PATIENCE = 15_000;

/** How often a shared key is changed, and not one that a single client follows. */
const SHARED = 0.1;

/** How often changes are sent, in milliseconds. */
const BEAT = 10;

/** What writers ask of the run. */
export interface WriterRooms {
  readonly cluster: Cluster;
  readonly chance: Chance;
  readonly record: Record;
  readonly clients: Clients;
}

/** All writers. */
export class Writers {
  readonly #rooms: WriterRooms;
  readonly #writers: readonly Writer[];
  #timer: ReturnType<typeof setInterval> | undefined;
  #written = 0;
  /** Changes that were due while no writer was free: held back, and made later or never. */
  heldBack = 0;

  constructor(rooms: WriterRooms) {
    this.#rooms = rooms;
    this.#writers = rooms.cluster.servers.flatMap((server) =>
      Array.from({ length: EACH }, (_, i) => new Writer(server, i === 0, rooms))
    );
  }

  /** Begins to change so many keys a second. */
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
        // What cannot be sent within a second is left out: a writer does not flood a server that is well again.
        const left = Math.max(0, Math.floor(due) - rate);
        this.heldBack += left;
        due -= left;
        break;
      }
    }, BEAT);
  }

  /** Stops, and settles when all changes were answered or given up. */
  async end(): Promise<void> {
    clearInterval(this.#timer);
    while (this.#writers.some(({ isAsking }) => isAsking)) {
      await new Promise((resolve) => setTimeout(resolve, 100));
      for (const writer of this.#writers) writer.look(performance.now());
    }
    for (const writer of this.#writers) writer.stop();
  }

  #write(): boolean {
    const { chance, clients } = this.#rooms;
    const free = this.#writers.filter(({ isFree }) => isFree);
    if (free.length === 0) return false;
    const key = chance.pick(chance.happens(SHARED) ? clients.sharedKeys : clients.ownKeys);
    chance.pick(free).change(key, `change ${this.#written++}`);
    return true;
  }
}

interface Asking {
  readonly key: string;
  readonly hash: string;
  readonly asked: number;
}

/** One connection that changes are sent through. */
class Writer {
  readonly #server: number;
  readonly #isByDoor: boolean;
  readonly #rooms: WriterRooms;
  #connection: Connection | undefined;
  #asking: Asking | undefined;
  #restsUntil = 0;

  constructor(server: number, isByDoor: boolean, rooms: WriterRooms) {
    this.#server = server;
    this.#isByDoor = isByDoor;
    this.#rooms = rooms;
  }

  get isAsking(): boolean {
    return this.#asking !== undefined;
  }

  get isFree(): boolean {
    return !this.isAsking && this.#connection !== undefined;
  }

  /** Connects where that is due, and gives up where no answer came. */
  look(now: number): void {
    if (this.#asking && now - this.#asking.asked > PATIENCE) return this.#lose("no answer in time");
    if (this.#connection === undefined && now > this.#restsUntil) this.#connect();
  }

  /** Asks for a change. */
  change(key: string, hash: string): void {
    this.#asking = { key, hash, asked: performance.now() };
    const headers = [`authorization: Bearer ${WRITE_TOKEN}`];
    this.#connection?.send(requestBytes("POST", "/reality/update", JSON.stringify({ key, hash }), headers));
  }

  /** Ends it. */
  stop(): void {
    this.#connection?.drop();
    this.#connection = undefined;
  }

  #connect(): void {
    const { cluster } = this.#rooms;
    const url = this.#isByDoor ? cluster.urlOf(this.#server) : cluster.directUrlOf(this.#server);
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
    if (status !== 200) return this.#lose(`status ${status}`);
    const { versions } = JSON.parse(body) as { versions: { [key: string]: number } };
    this.#note(performance.now(), versions[this.#asking.key]!);
  }

  #lose(reason: string): void {
    if (this.#asking !== undefined) this.#rooms.record.error(`a change got no answer: ${reason}`);
    this.#note(Infinity, 0);
    this.stop();
    this.#restsUntil = performance.now() + 500;
  }

  #note(answered: number, version: number): void {
    if (this.#asking === undefined) return;
    this.#rooms.record.change({
      ...this.#asking,
      isDeletion: false,
      server: this.#server,
      answered,
      version,
    });
    this.#asking = undefined;
  }
}
