/**
 * Runs a history, heals what was broken, and checks what must hold then.
 *
 * @module
 */
import process from "node:process";
import {
  coversVector,
  includesDot,
  type ReplicatedNode,
  type StorageDelta,
} from "../../src/store/contract.ts";
import { holdCrypto, SeededRandom } from "../random.ts";
import { CALM, type Delivery } from "../network.ts";
import { settleAll } from "../sim_clock.ts";
import type { History } from "./history.ts";
import { type Changes, describeSeen, type Fault, type FaultKind } from "./record.ts";
import { holdWeb } from "./network.ts";
import { deltaOf } from "./delta.ts";
import { mayGuestRead } from "./keys.ts";
import type { Sender, ServerProcess } from "./machines.ts";
import { SimCluster } from "./sim_cluster.ts";

/** So many rounds of traffic, once all is mended, within which all servers must be one. */
export const HEALING_ROUNDS = 8;

/** How long one such round is, in milliseconds. */
const ROUND = 10_000;

/** How long they are looked at from then on, in rounds. */
const QUIET_ROUNDS = 2;

/**
 * Nodes in messages, for each server and each change, with losses and repetitions: so many at the most. As far as
 * each key counts as one more change, since a full copy has all of them. Seen in 2,000 histories: 6.
 */
const MOST_NODES = 12;

/**
 * How often one server may offer another what that has, once all are one: in an exchange that was under way, and when
 * it next talks to one that it has not heard since. Beside those there are answers to nobody: messages wait in line at
 * a storage that is slow, each until those before it are taken in; whoever sent one gives up after `timeout`, and
 * sends it again; and when the line moves, each of them is answered by what it said then. In seed 10017 three of one
 * peer stood in line when the storages were hurried, and it was offered the same 4 times. The line is short, since the
 * pauses between tries double. What is delivered later than `timeout` after its request was sent, by a network that holds
 * messages back for long, is not counted: its sender has given it up, and there may be any number of those.
 */
const MOST_OFFERS = 5;

/** Characters of one node, at least. */
const NODE_CHARACTERS = 100;

/** Characters in messages beside those nodes, for each request with its answer: so many at the most. */
const MOST_CHARACTERS = 4000;

/** What a run came to. */
export interface Outcome {
  /** What went wrong. Empty when all promises were kept. */
  readonly faults: readonly Fault[];
  readonly changes: number;
  /** Pairs of a change and a version that some client held, which had to be told of it. */
  readonly pairs: number;
  /** After how many rounds all servers were one. */
  readonly rounds: number;
  readonly requests: number;
  readonly bytes: number;
  /** Nodes in messages, for each server and each change. */
  readonly load: number;
  /** Characters in messages beside nodes, for each request with its answer. */
  readonly overhead: number;
  /** Messages that were not the last page of a delta. */
  readonly pages: number;
  /** Nodes that came by way of Redis. */
  readonly published: number;
  /** Nodes that messages carried before the healing, and from then on. */
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
    const nodesBefore = cluster.traffic.nodes;
    const rounds = await this.#heal();
    const nodesAfter = cluster.traffic.nodes - nodesBefore;
    await this.#checkPromise();
    this.#faults.push(...await this.#findDifferences());
    await this.#end();
    const strays = [...cluster.network.strays].filter((host) => !/^server-\d+$/.test(host));
    if (strays.length > 0) this.#blame("leak", `Servers called ${strays.join()}, which are no peers`);
    const { requests, bytes, pages, nodes, published } = cluster.traffic;
    const load = nodes / history.servers.length / (cluster.record.changes + history.keys);
    if (load > MOST_NODES) this.#blame("traffic", `Each server was given ${load} nodes for each change`);
    const overhead = (bytes - nodes * NODE_CHARACTERS) / Math.max(1, requests);
    if (overhead > MOST_CHARACTERS) this.#blame("traffic", `Requests had ${overhead} characters on average`);
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

  /** Mends everything, lets clients ask, and says after how many rounds all servers were one. */
  async #heal(): Promise<number> {
    const cluster = this.#cluster;
    cluster.trace(() => "all is mended");
    cluster.network.mend();
    cluster.network.faults = CALM;
    cluster.redis.isAway = false;
    // Those that were to start again are late; they do now.
    cluster.machines.forEach((_, i) => cluster.start(i));
    for (const process of cluster.running) void this.#watchOn(process);
    if (cluster.history.healing === "changes") {
      // Another key than those before, since a new change of one would tell everybody what was forgotten. One after
      // the other, so that all but one receive it from others.
      cluster.machines.forEach((_, i) => {
        cluster.clock.after(ROUND / 4 + i * 700, () => cluster.change(i, "update", "healing"));
      });
    }
    let rounds = 0;
    for (let isOne = false; !isOne && rounds < HEALING_ROUNDS; rounds++) {
      await this.#round();
      isOne = (await this.#findDifferences()).length === 0;
    }
    // What takes longer than an exchange may is offered again.
    for (const process of cluster.running) process.path.hurry();
    cluster.network.onDelivery = watchOffers(
      cluster.network.onDelivery,
      cluster.history.timeout,
      (text) => this.#blame("traffic", text),
    );
    for (let round = 0; round < QUIET_ROUNDS; round++) await this.#round();
    return rounds;
  }

  async #round(): Promise<void> {
    const cluster = this.#cluster;
    for (const process of cluster.running) void cluster.sync(process, { known: { unknown: 0 } });
    await this.#advance(ROUND);
  }

  /** A client that stays with one server: asks, then waits for what changes. */
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
    // A request asks about each key once: the first of each, then the second of each, and so on.
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
          // What a guest may not read is told to it as gone, which `sync` looks at.
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

  /** All storages say the same. Where a deletion is forgotten, nothing may stand in its place elsewhere. */
  async #findDifferences(): Promise<Fault[]> {
    const faults: Fault[] = [];
    const cluster = this.#cluster;
    const disks = [...new Set(cluster.machines.map(({ disk }) => disk))];
    const deltas = await Promise.all(disks.map((disk) => disk.data.readDelta(new Map(), 1_000_000)));
    deltas.forEach((delta, i) => {
      const [name, other] = [disks[i]?.name ?? "", disks[0]?.name ?? ""];
      const first = deltas[0]!;
      // Storages that never had anything have nothing to tell each other.
      if (
        delta.epoch !== first.epoch &&
        deltas.some(({ vector }) => [...vector.values()].some((top) => top > 0))
      ) {
        faults.push({ kind: "epoch", text: `${name} has ${delta.epoch}, ${other} has ${first.epoch}` });
      }
      if (!coversVector(delta.vector, first.vector) || !coversVector(first.vector, delta.vector)) {
        const text = `${name} has seen ${describeSeen(delta.vector)}; ${other} has seen ${
          describeSeen(first.vector)
        }`;
        faults.push({ kind: "unity", text });
      }
      for (const fault of compareNodes(delta, first)) {
        faults.push({ kind: "unity", text: `${name} beside ${other}: ${fault}` });
      }
    });
    return faults;
  }

  /** Stops everything: nothing may be left under way. */
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

/**
 * Looks at messages once all servers are one. Who has not talked to a peer since then may offer it what it has got
 * meanwhile, and once more where an exchange was under way or took too long: then never again.
 */
function watchOffers(
  next: (delivery: Delivery) => void,
  timeout: number,
  blame: (text: string) => void,
): (delivery: Delivery) => void {
  const offered = new Map<string, number>();
  return (delivery) => {
    const { from, to, kind, body, status, age } = delivery;
    // What was refused, since it was not proven any more, is offered again.
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

/** Whether a storage has swept this tombstone, or was told that it is nothing new. */
function isForgotten(node: ReplicatedNode | undefined, by: StorageDelta): boolean {
  return node?.deleted === true &&
    includesDot(by.vector, { version: node.dotVersion, replicaId: node.replicaId });
}

/**
 * Whether a storage was told that this tombstone was swept. Two storages may keep different tombstones of a key when the
 * one between them swept the newer one before it reached the other side: see *Collected tombstones* in `src/mesh/README.md`.
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
