/**
 * Runs a history, ends all faults, and checks what must hold then.
 *
 * @module
 */
import process from "node:process";
import {
  coversVector,
  dotOf,
  highestDots,
  includesDot,
  type ReplicatedNode,
  type StorageDelta,
  withForgotten,
} from "../../src/store/contract.ts";
import { holdCrypto, SeededRandom } from "../random.ts";
import { MAX_REPLICAS } from "../../src/mesh/old_replicas.ts";
import { CALM, type Delivery } from "../network.ts";
import { settleAll } from "../sim_clock.ts";
import type { History } from "./history.ts";
import { type Changes, describeSeen, type Fault, type FaultKind } from "./record.ts";
import { holdWeb } from "./network.ts";
import { deltaOf } from "./delta.ts";
import type { Disk } from "./disk.ts";
import { mayGuestRead } from "./keys.ts";
import type { Sender, ServerProcess } from "./machines.ts";
import { SimCluster } from "./sim_cluster.ts";

/** The number of rounds of traffic after the last fault within which all servers must converge. */
export const HEALING_ROUNDS = 8;

/** The length of a round, in milliseconds. */
const ROUND = 10_000;

/** The number of rounds that are observed after that. */
const QUIET_ROUNDS = 2;

/**
 * The number of rounds that follow one that begins while a storage has an uncovered node. The node is written again in that
 * round at its end at the latest. The exchanges of the next round may not be due yet, since servers have just exchanged
 * that node: then those of the second one make the version vectors equal again (seed 880646488).
 */
const ROUNDS_AFTER_UNCOVERED = 2;

/**
 * The maximum number of rounds that are observed. An uncovered node is written again in one of the first three: the
 * search begins with the first exchange 20 seconds after the last merge (`src/mesh/uncovered_nodes.ts`).
 */
const MAX_QUIET_ROUNDS = 3 + ROUNDS_AFTER_UNCOVERED;

/**
 * The maximum number of nodes in messages for each server and change, with losses and repetitions. Each key counts as
 * one more change, since a full copy contains all of them. The highest number seen in 2,000 histories is 6.
 */
const MOST_NODES = 12;

/**
 * How often a server may offer nodes to a peer that has them, once all have converged: in an exchange that was running,
 * and in the next exchange with a peer that it has not contacted since. There are also answers that no sender waits for:
 * messages queue at a slow storage until those before them are merged, their sender gives up after `timeout` and sends
 * again, and later each of them is answered by the state that it contained. In seed 10017 three messages of one peer were
 * queued when the storages became fast, and it was offered the same nodes 4 times. The queue is short, because the
 * pauses between retries double. A message that is delivered later than `timeout` after its request was sent is not
 * counted: its sender has given it up, and a network with long delays may deliver any number of those.
 */
const MOST_OFFERS = 5;

/** The minimum number of characters of a node. */
const NODE_CHARACTERS = 100;

/** The maximum number of characters in messages besides these nodes, for each request with its answer. */
const MOST_CHARACTERS = 4000;

/** The outcome of a run. */
export interface Outcome {
  /** What went wrong. Empty when all promises were kept. */
  readonly faults: readonly Fault[];
  readonly changes: number;
  /** The number of pairs of a change and a version whose client had to be told of it. */
  readonly pairs: number;
  /** The number of rounds until all servers had converged. */
  readonly rounds: number;
  readonly requests: number;
  readonly bytes: number;
  /** Nodes in messages, for each server and each change. */
  readonly load: number;
  /** Characters in messages beside nodes, for each request with its answer. */
  readonly overhead: number;
  /** Messages that were not the last page of a delta. */
  readonly pages: number;
  /** The number of nodes that arrived through Redis. */
  readonly published: number;
  /** The number of nodes in messages before the healing, and after it. */
  readonly nodesBefore: number;
  readonly nodesAfter: number;
}

/**
 * Runs a history.
 *
 * @param trace called with a line for each step
 */
export async function run(history: History, trace?: (line: string) => void): Promise<Outcome> {
  const crypto = holdCrypto(new SeededRandom(`crypto ${history.seed}`), !history.realCrypto);
  const restoreWeb = history.realCrypto ? () => {} : holdWeb();
  const rejections: unknown[] = [];
  const note = (reason: unknown) => void rejections.push(reason);
  process.on("unhandledRejection", note);
  try {
    const outcome = await new Run(history, () => crypto.pending > 0, trace).run();
    const strays = rejections.map((reason): Fault => ({
      kind: "error",
      text: `Unhandled rejection: ${(reason as Error)?.stack ?? reason}`,
    }));
    return { ...outcome, faults: [...outcome.faults, ...strays] };
  } finally {
    process.off("unhandledRejection", note);
    restoreWeb();
    crypto.restore();
  }
}

class Run {
  readonly #cluster: SimCluster;
  readonly #faults: Fault[] = [];
  readonly #isBusy: () => boolean;
  #pairs = 0;

  constructor(history: History, isBusy: () => boolean, trace?: (line: string) => void) {
    this.#isBusy = isBusy;
    this.#cluster = new SimCluster(history, trace);
  }

  async run(): Promise<Outcome> {
    const cluster = this.#cluster;
    const { history, clock } = cluster;
    history.servers.forEach(({ start }, i) => clock.after(start, () => cluster.start(i)));
    for (const step of history.steps) clock.after(step.at, () => cluster.perform(step));
    await this.#advance(Math.max(0, ...history.steps.map(({ at }) => at)) + 1);
    const nodesBefore = cluster.log.traffic.nodes;
    const rounds = await this.#heal();
    const nodesAfter = cluster.log.traffic.nodes - nodesBefore;
    await this.#checkPromise();
    if (history.groups) {
      for (const text of cluster.record.findUntoldGroups()) {
        this.#blame("promise", text);
      }
    }
    this.#faults.push(...await this.#findDifferences());
    await this.#end();
    const strays = [...cluster.network.strays].filter((host) => !/^server-\d+$/.test(host));
    if (strays.length > 0) this.#blame("leak", `Servers called ${strays.join()}, which are no peers`);
    const { requests, bytes, pages, nodes, published } = cluster.log.traffic;
    // A storage that is replaced gets all keys again.
    const replaced = history.isLong ? history.steps.filter((step) => step.do === "wipe").length : 0;
    const load = nodes / history.servers.length / (cluster.record.changes + history.keys * (1 + replaced));
    if (load > MOST_NODES) this.#blame("traffic", `Each server was given ${load} nodes for each change`);
    const overhead = (bytes - nodes * NODE_CHARACTERS) / Math.max(1, requests);
    // Version vectors of many replicas are longer.
    if (overhead > MOST_CHARACTERS * (history.isLong ? 2 : 1)) {
      this.#blame("traffic", `Requests had ${overhead} characters on average`);
    }
    return {
      faults: [...cluster.record.faults, ...this.#faults],
      changes: cluster.record.changes,
      pairs: this.#pairs,
      rounds,
      requests,
      bytes,
      pages,
      published,
      load,
      overhead,
      nodesBefore,
      nodesAfter,
    };
  }

  /** Ends all faults, lets clients send syncs, and returns the number of rounds until all servers had converged. */
  async #heal(): Promise<number> {
    const cluster = this.#cluster;
    cluster.trace(() => "all is mended");
    cluster.network.mend();
    cluster.network.faults = CALM;
    cluster.redis.isAway = false;
    // Servers that are to start later start now.
    cluster.machines.forEach((_, i) => cluster.start(i));
    for (const process of cluster.running) void this.#watchOn(process);
    if (cluster.history.healing === "changes") {
      // A new key, because a new change of an earlier key would hide a missed one. One server after the other,
      // so that all but one receive it from others.
      cluster.machines.forEach((_, i) => {
        cluster.clock.after(ROUND / 4 + i * 700, () => cluster.change(i, "update", "healing"));
      });
    }
    let rounds = 0;
    for (let isOne = false; !isOne && rounds < HEALING_ROUNDS; rounds++) {
      await this.#round();
      isOne = (await this.#findDifferences()).length === 0;
    }
    // A message that takes longer than the time limit of an exchange is sent again.
    for (const process of cluster.running) process.path.hurry();
    cluster.network.onDelivery = watchOffers(
      cluster.network.onDelivery,
      cluster.history.timeout,
      (text) => this.#blame("traffic", text),
    );
    let quietRounds = QUIET_ROUNDS;
    for (let round = 0; round < Math.min(quietRounds, MAX_QUIET_ROUNDS); round++) {
      if (await this.#hasUncoveredNodes() || await this.#hasOldReplicas()) {
        quietRounds = Math.max(quietRounds, round + 1 + ROUNDS_AFTER_UNCOVERED);
      }
      await this.#round();
    }
    return rounds;
  }

  async #round(): Promise<void> {
    const cluster = this.#cluster;
    for (const process of cluster.running) void cluster.sync(process, { known: { unknown: 0 } });
    await this.#advance(ROUND);
  }

  /** A client that stays with one server: it sends a sync, then waits for changes. */
  async #watchOn(process: ServerProcess): Promise<void> {
    const cluster = this.#cluster;
    const known = Object.fromEntries([...cluster.keys, "healing"].map((key) => [key, 0]));
    let epoch: string | undefined;
    for (let turn = 0; turn < 20; turn++) {
      const request = epoch === undefined ? { known } : { known, epoch, wait: 20_000 };
      const answer = await cluster.sync(process, request);
      if (answer === undefined) return;
      epoch = answer.epoch;
      for (const { key, version } of Object.values(answer.changed)) known[key] = version;
    }
  }

  /** Checks the promise: a client with any version is told of each change that was unknown to it. */
  async #checkPromise(): Promise<void> {
    const cluster = this.#cluster;
    const { record } = cluster;
    const duties = [...cluster.handed.values()].flatMap(({ key, version, epoch }) => {
      const writings = record.ofVersion(key, version);
      const [first] = writings;
      if (first === undefined) return [];
      const past = writings.reduce((past, writing) => past & writing.past, first.past);
      const untold = record.standing(key) & ~past;
      if (untold === 0n) return [];
      this.#pairs += count(untold);
      return [{ key, version, epoch, untold }];
    });
    // A request contains each key once: first the first version of each key, then the second, and so on.
    const requests = new Map<string, typeof duties>();
    const places = new Map<string, number>();
    for (const duty of duties) {
      for (const epoch of [duty.epoch, undefined]) {
        const name = `${duty.key} ${epoch}`;
        const place = places.get(name) ?? 0;
        places.set(name, place + 1);
        const list = requests.get(`${place} ${epoch}`);
        if (list) list.push(duty);
        else requests.set(`${place} ${epoch}`, [duty]);
      }
    }
    const senders: readonly Sender[] = cluster.history.rights ? ["http", "guest"] : ["itself"];
    for (
      const [process, by] of cluster.running.flatMap((process) => senders.map((by) => [process, by] as const))
    ) {
      for (const [name, asked] of requests) {
        const epoch = name.slice(name.indexOf(" ") + 1);
        const known = Object.fromEntries(asked.map(({ key, version }) => [key, version]));
        const request = epoch === "undefined" ? { known } : { known, epoch };
        let answer: Awaited<ReturnType<SimCluster["sync"]>>;
        void cluster.sync(process, request, by).then((found) => answer = found);
        for (let patience = 0; answer === undefined && patience < 20; patience++) {
          await this.#advance(patience === 0 ? 0 : 500);
        }
        if (answer === undefined) {
          this.#blame("hang", `A server does not answer a sync: ${JSON.stringify(request)}`);
          continue;
        }
        for (const { key, version, untold } of asked) {
          // A key that a guest may not read is reported as gone. `sync` checks that.
          if (Object.hasOwn(answer.changed, key) || by === "guest" && !mayGuestRead(key)) continue;
          const who = cluster.machines.find((machine) => machine.process === process)?.host;
          const of = epoch === "undefined" ? "" : ` of ${epoch}`;
          this.#blame(
            "promise",
            `${who} keeps quiet to a client that holds ${key} ${version}${of} and was never told of ` +
              record.describe(untold),
          );
        }
      }
    }
  }

  /** Whether a storage has a node that its version vector does not include. */
  async #hasUncoveredNodes(): Promise<boolean> {
    const deltas = await Promise.all(
      this.#disks().map((disk) => disk.data.readDelta(new Map(), 1_000_000)),
    );
    return deltas.some(({ nodes, vector }) => nodes.some((node) => !includesDot(vector, dotOf(node))));
  }

  /** Whether a storage is about to forget replicas, for which it first writes nodes again, and numbers. */
  async #hasOldReplicas(): Promise<boolean> {
    const states = await Promise.all(this.#disks().map((disk) => disk.data.readReplicaState()));
    return states.some(({ vector }) => vector.size > MAX_REPLICAS);
  }

  #disks(): Disk[] {
    return [...new Set(this.#cluster.machines.map(({ disk }) => disk))];
  }

  /** All storages have the same nodes. Where a tombstone was collected, no storage may have a node. */
  async #findDifferences(): Promise<Fault[]> {
    const faults: Fault[] = [];
    const disks = this.#disks();
    const deltas = await Promise.all(disks.map((disk) => disk.data.readDelta(new Map(), 1_000_000)));
    deltas.forEach((delta, i) => {
      const [name, other] = [disks[i]?.name ?? "", disks[0]?.name ?? ""];
      const first = deltas[0]!;
      // Storages that were always empty have nothing to exchange.
      if (
        delta.epoch !== first.epoch &&
        deltas.some(({ vector }) => [...vector.values()].some((top) => top > 0))
      ) {
        faults.push({ kind: "epoch", text: `${name} has ${delta.epoch}, ${other} has ${first.epoch}` });
      }
      const hasSame = this.#cluster.history.isLong ? includesNodes : includesVector;
      if (!hasSame(delta, first) || !hasSame(first, delta)) {
        const text = `${name} has seen ${describeSeen(delta.vector)}; ${other} has seen ${
          describeSeen(first.vector)
        }`;
        faults.push({ kind: "unity", text });
      }
      if (this.#cluster.history.isLong && !coversVector(delta.vector, highestDots(delta.nodes))) {
        faults.push({ kind: "unity", text: `${name} has a node that its version vector does not include` });
      }
      for (const fault of compareNodes(delta, first)) {
        faults.push({ kind: "unity", text: `${name} beside ${other}: ${fault}` });
      }
    });
    return faults;
  }

  /** Stops everything. No call or timer may be left. */
  async #end(): Promise<void> {
    const cluster = this.#cluster;
    cluster.machines.forEach((_, i) => void cluster.stop(i));
    await this.#advance(30_000);
    for (const name of cluster.pending) this.#blame("hang", `It never ended: ${name}`);
  }

  #blame(kind: FaultKind, text: string): void {
    this.#faults.push({ kind, text });
  }

  async #advance(ms: number): Promise<void> {
    const { clock } = this.#cluster;
    const until = clock.now() + ms;
    await settleAll(this.#isBusy);
    while (clock.step(until)) await settleAll(this.#isBusy);
  }
}

/** Whether a storage has merged all that the version vector of another one includes. */
function includesVector(one: StorageDelta, other: StorageDelta): boolean {
  return coversVector(one.vector, other.vector);
}

/**
 * Whether a storage has merged all nodes of another one. Before it forgets replicas, a storage assigns a number that no node
 * has, which others learn with the next exchange; and some may have forgotten replicas that others have not yet.
 */
function includesNodes(one: StorageDelta, other: StorageDelta): boolean {
  return coversVector(withForgotten(one), highestDots(other.nodes));
}

/**
 * Checks messages after all servers have converged. A server that has not contacted a peer since then may offer it the nodes
 * that it has received meanwhile, and once more after an exchange that was running or took too long, but not again.
 */
function watchOffers(
  next: (delivery: Delivery) => void,
  timeout: number,
  blame: (text: string) => void,
): (delivery: Delivery) => void {
  const offered = new Map<string, number>();
  return (delivery) => {
    const { from, to, kind, body, status, age } = delivery;
    // Nodes of a refused message, whose proof had expired, are offered again.
    if (kind === "answer" && status !== 200) {
      for (const offer of offered.keys()) if (offer.startsWith(`${to} gave ${from} `)) offered.delete(offer);
    }
    for (const { key, dotVersion, replicaId } of age <= timeout ? deltaOf(body)?.nodes ?? [] : []) {
      const offer = `${from} gave ${to} ${key} ${dotVersion}@${replicaId}`;
      const times = (offered.get(offer) ?? 0) + 1;
      offered.set(offer, times);
      if (times > MOST_OFFERS) blame(`${offer} ${times} times`);
    }
    next(delivery);
  };
}

function compareNodes(a: StorageDelta, b: StorageDelta): string[] {
  const [nodes, others] = [byKey(a), byKey(b)];
  const faults: string[] = [];
  for (const key of new Set([...nodes.keys(), ...others.keys()])) {
    const [node, other] = [nodes.get(key), others.get(key)];
    if (describe(node) === describe(other)) continue;
    if (node === undefined ? isForgotten(other, a) : other === undefined && isForgotten(node, b)) continue;
    if (isForgotten(node, b) && isForgotten(other, a) && (isSwept(node, b) || isSwept(other, a))) continue;
    faults.push(`${key} is ${describe(node)} and ${describe(other)}`);
  }
  return faults;
}

/** Whether a storage has collected this tombstone, or knows that it was collected. */
function isForgotten(node: ReplicatedNode | undefined, by: StorageDelta): boolean {
  return node?.deleted === true &&
    includesDot(by.vector, { version: node.dotVersion, replicaId: node.replicaId });
}

/**
 * Whether a storage knows that this tombstone was collected. Two storages may keep different tombstones of a key if the
 * one between them collected the newer one before it reached the other side: see *Collected tombstones* in `src/mesh/README.md`.
 */
function isSwept(node: ReplicatedNode | undefined, by: StorageDelta): boolean {
  return node?.deleted === true &&
    includesDot(by.collected, { version: node.dotVersion, replicaId: node.replicaId });
}

function byKey({ nodes }: StorageDelta): Map<string, ReplicatedNode> {
  return new Map(nodes.map((node) => [node.key, node]));
}

function describe(node: ReplicatedNode | undefined): string {
  if (node === undefined) return "not there";
  const { version, hash, deleted, dotVersion, replicaId } = node;
  return `${version} ${JSON.stringify(hash)}${deleted ? " deleted" : ""} (${dotVersion}@${replicaId})`;
}

function count(changes: Changes): number {
  let ones = 0;
  for (let left = changes; left > 0n; left >>= 1n) if ((left & 1n) === 1n) ones++;
  return ones;
}
