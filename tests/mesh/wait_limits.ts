/**
 * How long a waiting client may stay unanswered after its server has a change.
 *
 * @module
 */
import type { Disk } from "./disk.ts";
import type { Deed, History } from "./history.ts";
import type { Machine } from "./machines.ts";

/** Milliseconds between a change and the answer under faults, in addition to the time that storages take. */
const UNDER_FAULTS = 2000;

/** The same without faults and slow storages: servers on one storage notify each other. */
const CALM = 150;

/**
 * The same for servers that share a storage and may fail to notify each other: they find each other's changes by polling
 * the storage every 500 ms.
 */
const CALM_POLLING = 500 + CALM;

/** Steps without a fault. */
const CALM_STEPS: readonly Deed["do"][] = [
  "update",
  "invalidate",
  "delete",
  "many",
  "burst",
  "reserve",
  "publish",
  "sync",
  "mend",
  "calm",
  "lie",
];

/** The time limits of waiting clients in one history. */
export class WaitLimits {
  readonly #history: History;
  readonly #machines: readonly Machine[];
  readonly #isCalm: boolean;

  /**
   * @param history the history
   * @param machines the machines of its cluster, with their storages
   */
  constructor(history: History, machines: readonly Machine[]) {
    this.#history = history;
    this.#machines = machines;
    this.#isCalm = history.steps.every((step) => CALM_STEPS.includes(step.do)) &&
      history.servers.every(({ start }) => start === 0) &&
      history.disks.every(({ slowness }) => slowness === 0) && history.maxBody === 1_048_576;
  }

  /**
   * The longest time in milliseconds between a change in a storage and the answer to a client that waits for it.
   *
   * @param disk the storage of the client's server
   * @param isAside whether an application wrote the change without a server
   */
  longest(disk: Disk, isAside: boolean): number {
    const { exclusive, slowest } = disk.options;
    if (isAside) return exclusive ? Infinity : UNDER_FAULTS + 8 * slowest;
    if (!this.#isCalm) return UNDER_FAULTS + this.#history.timeout + 8 * slowest;
    return this.#isLinked(disk) ? CALM : CALM_POLLING;
  }

  /**
   * Whether all servers on a storage list and notify each other. A server that notifies only some of its peers asks
   * them to notify the others, which works only if they list them.
   */
  #isLinked(disk: Disk): boolean {
    const { peers, fanout } = this.#history;
    const users = this.#machines.flatMap((machine, i) => machine.disk === disk ? i : []);
    const isFull = peers.every((list) => list.length === peers.length - 1);
    return users.every((i) => {
      const list = peers[i] ?? [];
      return users.every((j) => i === j || list.includes(j)) && (isFull || list.length <= fanout);
    });
  }
}
