/**
 * The faults of a run, in a seeded order.
 *
 * @module
 */
import type { SeededRandom } from "../random.ts";
import type { Cluster } from "../cluster/cluster.ts";
import type { Link, Trouble } from "../cluster/link.ts";
import type { PrivateServer } from "../run/server.ts";
import { requestBytes } from "../../bench/http/load.ts";
import type { Clients } from "./clients.ts";
import { Connection } from "./connection.ts";

/** A fault of a server, a link or a shared service. */
export type FaultKind =
  | "kill"
  | "close"
  | "crash Redis"
  | "restart Postgres"
  | "break a link"
  | "slow bodies"
  | "disconnect";

/** The faults. Each occurs once before any occurs again. */
const BAG: readonly FaultKind[] = [
  ...["kill", "close", "crash Redis", "restart Postgres"] as const,
  ...["break a link", "break a link", "slow bodies", "disconnect"] as const,
];

const TROUBLES: readonly Trouble[] = ["silent", "slow", "refused", "reset", "cut"];

/** How long slow clients hold half a body, in milliseconds. */
const LONGEST_HALF = 20_000;

/** A fault that happened. */
export interface Fault {
  /** Seconds since the run began, to its beginning and its end. */
  readonly at: number;
  readonly until: number;
  readonly kind: FaultKind;
  /** Its target and its outcome. */
  readonly note: string;
}

/** What faults need of the run. */
export interface FaultDeps {
  readonly cluster: Cluster;
  readonly postgres: PrivateServer;
  readonly clients: Clients;
  /** The links that may break, by name. */
  readonly links: ReadonlyMap<string, Link>;
  /** How many clients send half a body at once. */
  readonly slowBodies: number;
  /** The time between two faults, in milliseconds. */
  readonly interval: number;
  /** The server that is killed or closed now. */
  victim(): number;
}

/** Chooses and causes faults. Each kind of the list occurs before any occurs again. */
export class Faults {
  readonly #random: SeededRandom;
  readonly #deps: FaultDeps;
  #bag: FaultKind[] = [];

  constructor(random: SeededRandom, deps: FaultDeps) {
    this.#random = random;
    this.#deps = deps;
  }

  /** Returns the kind of the next fault. */
  next(): FaultKind {
    if (this.#bag.length === 0) this.#bag = this.#random.shuffle(BAG);
    return this.#bag.pop()!;
  }

  /** Causes a fault. Settles when it is over, with a note on its target. */
  async strike(kind: FaultKind): Promise<string> {
    const longest = this.#deps.interval / 3;
    const ms = Math.round(this.#random.between(longest / 4, longest));
    return await STRIKES[kind](this.#deps, this.#random, ms);
  }
}

const STRIKES: Readonly<
  Record<FaultKind, (deps: FaultDeps, random: SeededRandom, ms: number) => Promise<string>>
> = {
  async "kill"({ cluster, victim }, _random, ms) {
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
  async "crash Redis"({ cluster }, _random, ms) {
    await cluster.crashRedis();
    await pause(ms);
    await cluster.restartRedis();
    return `back after ${ms} ms`;
  },
  async "restart Postgres"({ postgres }, _random, ms) {
    await postgres.crash();
    await pause(ms / 4);
    await postgres.restart();
    return `crashed, back after ${Math.round(ms / 4)} ms`;
  },
  async "break a link"({ links }, random, ms) {
    const name = random.pick([...links.keys()]);
    const trouble = random.pick(TROUBLES);
    const link = links.get(name)!;
    link.trouble = trouble;
    await pause(ms);
    link.trouble = undefined;
    return `${name}: ${trouble} for ${ms} ms`;
  },
  "slow bodies": holdHalves,
  "disconnect"({ clients }, random) {
    return Promise.resolve(`${clients.hangUp(random, 0.2)} clients hung up in the middle of a wait`);
  },
};

/** Sends half a body on many connections, and counts how the servers end them. */
async function holdHalves({ cluster, slowBodies, interval }: FaultDeps): Promise<string> {
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
