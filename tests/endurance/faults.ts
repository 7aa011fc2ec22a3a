/**
 * What befalls the servers, one thing at each turn: seeded, so that the same things happen in the same order.
 *
 * @module
 */
import type { Chance } from "../chance.ts";
import type { Cluster } from "../cluster/cluster.ts";
import type { Link, Trouble } from "../cluster/link.ts";
import type { PrivateServer } from "../run/server.ts";
import { requestBytes } from "../../bench/http/load.ts";
import type { Clients } from "./clients.ts";
import { Connection } from "./connection.ts";

/** Something that befalls a server, a line, or what all share. */
export type Blow =
  | "kill"
  | "close"
  | "crash Redis"
  | "restart Postgres"
  | "trouble a line"
  | "slow bodies"
  | "hang up";

/** What happens in turn; all of them before one happens again. */
const BAG: readonly Blow[] = [
  ...["kill", "close", "crash Redis", "restart Postgres"] as const,
  ...["trouble a line", "trouble a line", "slow bodies", "hang up"] as const,
];

const TROUBLES: readonly Trouble[] = ["silent", "slow", "refused", "reset", "cut"];

/** How long slow clients hold half a body, in milliseconds. */
const LONGEST_HALF = 20_000;

/** What a fault was. */
export interface Fault {
  /** Seconds since the run began, to its beginning and its end. */
  readonly at: number;
  readonly until: number;
  readonly blow: Blow;
  /** To what, and what came of it. */
  readonly note: string;
}

/** What the faults ask of the run. */
export interface FaultRooms {
  readonly cluster: Cluster;
  readonly postgres: PrivateServer;
  readonly clients: Clients;
  /** The lines that are troubled, by name. */
  readonly links: ReadonlyMap<string, Link>;
  /** How many clients hold back half a body at once. */
  readonly slowBodies: number;
  /** How much time there is between two faults, in milliseconds. */
  readonly interval: number;
  /** The servers that are killed and closed by turns, now. */
  victim(): number;
}

/** Gives one blow after the other; all of a bag before the next bag. */
export class Faults {
  readonly #chance: Chance;
  readonly #rooms: FaultRooms;
  #bag: Blow[] = [];

  constructor(chance: Chance, deps: FaultRooms) {
    this.#chance = chance;
    this.#rooms = deps;
  }

  /** What comes next. */
  next(): Blow {
    if (this.#bag.length === 0) this.#bag = this.#chance.shuffle(BAG);
    return this.#bag.pop()!;
  }

  /** Does it; all is well again when this settles. Says what it was done to. */
  async strike(blow: Blow): Promise<string> {
    const longest = this.#rooms.interval / 3;
    const ms = Math.round(this.#chance.between(longest / 4, longest));
    return await STRIKES[blow](this.#rooms, this.#chance, ms);
  }
}

const STRIKES: Readonly<Record<Blow, (deps: FaultRooms, chance: Chance, ms: number) => Promise<string>>> = {
  async "kill"({ cluster, victim }, _chance, ms) {
    const server = victim();
    await cluster.kill(server);
    await pause(ms);
    await cluster.restart(server);
    return `${cluster.names[server]}, back after ${ms} ms`;
  },
  async "close"({ cluster, victim }) {
    const server = victim();
    const begin = performance.now();
    // One that does not end is killed, so that the run goes on; the run says so.
    const failure = await cluster.retire(server).catch(String);
    const took = Math.round(performance.now() - begin);
    if (failure !== undefined && cluster.processOf(server)) await cluster.kill(server).catch(() => {});
    await cluster.restart(server);
    if (failure !== undefined) throw new Error(failure);
    return `${cluster.names[server]}, ended after ${took} ms`;
  },
  async "crash Redis"({ cluster }, _chance, ms) {
    await cluster.crashRedis();
    await pause(ms);
    await cluster.restartRedis();
    return `back after ${ms} ms`;
  },
  async "restart Postgres"({ postgres }, _chance, ms) {
    await postgres.crash();
    await pause(ms / 4);
    await postgres.restart();
    return `crashed, back after ${Math.round(ms / 4)} ms`;
  },
  async "trouble a line"({ links }, chance, ms) {
    const name = chance.pick([...links.keys()]);
    const trouble = chance.pick(TROUBLES);
    const link = links.get(name)!;
    link.trouble = trouble;
    await pause(ms);
    link.trouble = undefined;
    return `${name}: ${trouble} for ${ms} ms`;
  },
  "slow bodies": holdHalves,
  "hang up"({ clients }, chance) {
    return Promise.resolve(`${clients.hangUp(chance, 0.2)} clients hung up in the middle of a wait`);
  },
};

/** Sends half a body on many connections, and counts how the servers end them. */
async function holdHalves({ cluster, slowBodies, interval }: FaultRooms): Promise<string> {
  const longest = Math.min(LONGEST_HALF, interval / 2);
  const bytes = requestBytes("POST", "/reality/sync", JSON.stringify({ known: { slow: 0 }, wait: 1000 }));
  const half = bytes.subarray(0, bytes.length - 10);
  const outcomes = new Map<string, number>();
  const note = (outcome: string) => outcomes.set(outcome, (outcomes.get(outcome) ?? 0) + 1);
  const begin = performance.now();
  const open = new Set<Connection>();
  for (let i = 0; i < slowBodies; i++) {
    const url = cluster.directUrlOf(i % cluster.servers.length);
    if (url === undefined) continue;
    const end = (outcome: string) => {
      if (!open.delete(connection)) return;
      note(`${outcome} after ${Math.round((performance.now() - begin) / 1000)} s`);
      connection.drop();
    };
    const connection: Connection = new Connection(Number(new URL(url).port), {
      onReply: (status) => end(`answered ${status}`),
      onLost: (reason) => end(reason),
    });
    open.add(connection);
    connection.send(half);
  }
  while (open.size > 0 && performance.now() - begin < longest) await pause(500);
  for (const connection of open) {
    note(`still held after ${Math.round(longest / 1000)} s`);
    connection.drop();
  }
  return `${slowBodies} half bodies: ${[...outcomes].map(([outcome, n]) => `${n} ${outcome}`).join(", ")}`;
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
