/**
 * The faults of a cluster while its clients continue. They are seeded, so that they happen in the same order.
 *
 * @module
 */
import type { SeededRandom } from "../random.ts";
import type { Cluster } from "./cluster.ts";
import type { Isolation } from "./journal.ts";
import type { Trouble } from "./link.ts";

const TROUBLES: readonly Trouble[] = ["silent", "slow", "refused", "reset", "cut"];

/** The faults in turn: none happens once more before all have happened as often. */
const BAG: readonly Blow[] = ["split", "kill", "stop", "one way", "split", "crash Redis"];

/** A fault of a server, of several, or of Redis. */
export type Blow = "split" | "kill" | "stop" | "one way" | "crash Redis";

/** What the faults need. */
export interface FaultRooms {
  readonly cluster: Cluster;
  /** Settles after so many milliseconds, or once the time for faults is over. */
  pause(ms: number): Promise<void>;
  /** Whether that time is over. */
  isOver(): boolean;
  /** Is called when servers have just been cut off, before they meet again. */
  onSplit(servers: readonly number[]): Promise<void>;
  /** Called with the servers that are partitioned from all others. They share no storage with them. */
  note(isolation: Isolation): void;
}

/** How often what has happened. */
export type FaultCounts = Record<Blow | Trouble, number>;

/** Causes faults of links and servers until the time is over. None is left when this settles. */
export async function makeFaults(random: SeededRandom, deps: FaultRooms): Promise<FaultCounts> {
  const counts: FaultCounts = {
    ...{ "split": 0, "kill": 0, "stop": 0, "one way": 0, "crash Redis": 0 },
    ...{ silent: 0, slow: 0, refused: 0, reset: 0, cut: 0 },
  };
  await Promise.all([
    troubleLinks(random.fork("links"), deps, counts),
    strike(random.fork("blows"), deps, counts),
  ]);
  return counts;
}

/** Causes a fault on one link after the other, for a while each. */
async function troubleLinks(random: SeededRandom, deps: FaultRooms, counts: FaultCounts): Promise<void> {
  while (!deps.isOver()) {
    await deps.pause(random.between(0, 300));
    const link = random.pick(deps.cluster.links);
    const trouble = random.pick(TROUBLES);
    counts[trouble]++;
    link.trouble = trouble;
    await deps.pause(random.between(100, 1500));
    link.trouble = undefined;
  }
}

/** Causes one fault after the other, with a pause between them. */
async function strike(random: SeededRandom, deps: FaultRooms, counts: FaultCounts): Promise<void> {
  const { cluster } = deps;
  const bag = BAG.filter((blow) => blow !== "crash Redis" || cluster.hasRedis);
  while (!deps.isOver()) {
    for (const blow of random.shuffle(bag)) {
      await deps.pause(random.between(100, 1000));
      if (deps.isOver()) return;
      counts[blow]++;
      const server = random.pick(cluster.servers);
      const ms = random.between(300, 2000);
      await STRIKES[blow]({ deps, random, server, ms });
    }
  }
}

/** What a fault receives. */
interface Strike {
  readonly deps: FaultRooms;
  readonly random: SeededRandom;
  readonly server: number;
  /** How long it lasts. */
  readonly ms: number;
}

const STRIKES: Readonly<Record<Blow, (strike: Strike) => Promise<void>>> = {
  async "split"({ deps, server, ms }) {
    const { cluster } = deps;
    const isInside = (other: number) => cluster.storages[other] === cluster.storages[server];
    // With one storage for all servers, only the links are cut.
    const inside = cluster.servers.every(isInside) ? [server] : cluster.servers.filter(isInside);
    const outside = cluster.servers.filter((other) => !inside.includes(other));
    const block = (isBlocked: boolean) => {
      for (const a of inside) {
        for (const b of outside) {
          for (const [from, to] of [[a, b], [b, a]]) cluster.block(from!, to!, isBlocked);
        }
      }
      cluster.blockRedis(isBlocked);
    };
    block(true);
    const begin = performance.now();
    await deps.onSplit([inside[0]!, outside[0]!]);
    await deps.pause(ms);
    if (!cluster.servers.every(isInside)) deps.note({ servers: inside, begin, end: performance.now() });
    block(false);
  },
  async "one way"({ deps, random, server, ms }) {
    const { cluster } = deps;
    const isDeaf = random.happens(0.5);
    const others = cluster.servers.filter((other) => other !== server);
    const block = (isBlocked: boolean) => {
      for (const other of others) {
        if (isDeaf) cluster.block(other, server, isBlocked);
        else cluster.block(server, other, isBlocked);
      }
    };
    block(true);
    await deps.pause(ms);
    block(false);
  },
  async "kill"({ deps, server }) {
    await deps.cluster.kill(server);
    await deps.cluster.restart(server);
  },
  async "stop"({ deps, server, ms }) {
    deps.cluster.signal(server, "SIGSTOP");
    await deps.pause(ms);
    deps.cluster.signal(server, "SIGCONT");
  },
  async "crash Redis"({ deps, ms }) {
    await deps.cluster.crashRedis();
    await deps.pause(ms);
    await deps.cluster.restartRedis();
  },
};
