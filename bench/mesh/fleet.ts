/**
 * Many real servers in one process, each of which lists all others, and one change after another among them.
 *
 * @module
 */
import { MemoryStorage, RealityServer } from "../../mod.ts";
import { Peers } from "../../src/mesh/peers.ts";
import { joinVectors, type ReplicatedNode, type VersionVector } from "../../src/store/contract.ts";
import { HASH } from "../workload.ts";
import { Lines, RoundClock, type Traffic } from "./rounds.ts";

/** One fleet. */
export interface FleetOptions {
  readonly servers: number;
  readonly fanout: number;
  /** One storage for all, or one for each. */
  readonly storage: "shared" | "separate";
  /** Whether all have talked to all before, and have what the others had. */
  readonly acquainted: boolean;
  readonly seed: number;
}

/** What one change took. */
export interface Spread {
  /** Rounds until every server that lives has told its client. */
  readonly rounds: number;
  /** What was sent until then, … */
  readonly told: Traffic;
  /** … and from then on, until nothing is under way. */
  readonly after: Traffic;
  /** Bytes of the bare node, as it stands in a message, once for each other server that lives. */
  readonly leastBytes: number;
  /** Bytes of one request, as a whole and by field. */
  readonly sample: Readonly<Record<string, number>>;
}

const NEVER = 60_000;

/** Some servers, and lines between them. Nothing of it goes on but while one of the methods runs. */
export class Fleet {
  readonly #options: FleetOptions;
  readonly #clock: RoundClock;
  readonly #lines: Lines;
  readonly #servers: RealityServer[] = [];
  readonly #storages: MemoryStorage[] = [];
  readonly #tables: Peers[] = [];
  #changes = 0;

  private constructor(options: FleetOptions) {
    this.#options = options;
    this.#clock = new RoundClock(options.seed);
    this.#lines = new Lines(this.#clock);
  }

  /** Starts one. */
  static async start(options: FleetOptions): Promise<Fleet> {
    const fleet = new Fleet(options);
    fleet.#create();
    await fleet.#fill();
    if (options.acquainted) await fleet.#acquaint();
    return fleet;
  }

  /** How many servers live. */
  get living(): number {
    return this.#servers.length - this.#lines.down.size;
  }

  /** Takes a share of the servers off the lines, without a word to the others. */
  fell(share: number): void {
    const { servers } = this.#options;
    while (this.#lines.down.size < Math.round(servers * share)) {
      this.#lines.down.add(hostOf(1 + Math.floor(this.#clock.random() * (servers - 1))));
    }
  }

  /**
   * Changes a server's node, and waits until every server that lives has told its client.
   *
   * @param at Which server.
   * @param goOn Whether to wait as well until no message is being sent.
   */
  async change(at: number, goOn: boolean): Promise<Spread> {
    const key = keyOf(at);
    const living = this.#servers.filter((_, i) => !this.#lines.down.has(hostOf(i)));
    const known = { [key]: (await this.#servers[at]!.getNode(key))!.version };
    let told = 0;
    const clients = living.map((server) =>
      server.handleSync({ known, wait: 30_000 }).then(({ changed }) => {
        if (changed[key] !== undefined) told++;
      })
    );
    await this.#lines.settle();
    this.#lines.takeSample();
    const start = this.#clock.now();
    await this.#servers[at]!.updateNode(key, `${HASH}${this.#changes++}`);
    await this.#lines.settle();
    const toldTraffic = await this.#run(() => told === living.length);
    const rounds = this.#clock.now() - start;
    await Promise.all(clients);
    const after = await this.#run(() => !goOn || !this.#lines.isBusy);
    const [node] = [...(await this.#storages[at]!.readReplicated([key])).values()];
    const leastBytes = (living.length - 1) * JSON.stringify({ ...node, stamp: undefined }).length;
    return { rounds, told: toldTraffic, after, leastBytes, sample: this.#lines.takeSample() };
  }

  /** Advances the clock until no server retries. Returns the traffic in between. */
  async rest(): Promise<Traffic> {
    return await this.#run(() => false);
  }

  async #run(isDone: () => boolean): Promise<Traffic> {
    const last = this.#clock.now() + 600_000;
    while (!isDone() && this.#clock.step(last)) await this.#lines.settle();
    return this.#lines.takeTraffic();
  }

  #create(): void {
    const { servers, fanout, storage } = this.#options;
    const common = new MemoryStorage();
    const hosts = Array.from({ length: servers }, (_, i) => hostOf(i));
    const { add } = Peers.prototype;
    let table: Peers | undefined;
    Peers.prototype.add = function (this: Peers, url: string): void {
      table = this;
      add.call(this, url);
    };
    for (const host of hosts) {
      const own = storage === "shared" ? common : new MemoryStorage();
      const server = new RealityServer({
        storage: own,
        clock: this.#clock,
        meshPeers: hosts.filter((other) => other !== host).map((other) => `http://${other}`),
        meshSecret: "a secret of more than 32 characters, for the bench",
        mesh: { fanout, fetch: this.#lines.send, timeout: NEVER },
      });
      this.#lines.open(host, server.getFetchHandler());
      this.#servers.push(server);
      this.#storages.push(own);
      if (table !== undefined) this.#tables.push(table);
      table = undefined;
    }
    Peers.prototype.add = add;
  }

  /** Every storage has written a node of its own, and the shared one as many as there are servers. */
  async #fill(): Promise<void> {
    const updatedAt = this.#clock.now();
    for (const [i, storage] of this.#storages.entries()) {
      await storage.applyChanges([{ key: keyOf(i), hash: HASH, updatedAt }]);
    }
  }

  /**
   * Gives every server what it would have learnt from an exchange with each other. A million exchanges would come to
   * the same, and take an hour.
   */
  async #acquaint(): Promise<void> {
    let seen: VersionVector = new Map();
    const nodes: ReplicatedNode[] = [];
    const states = await Promise.all(this.#storages.map((storage) => storage.readReplicaState()));
    const epoch = states.map(({ epoch }) => epoch).sort()[0]!;
    if (this.#options.storage === "separate") {
      for (const [i, storage] of this.#storages.entries()) {
        seen = joinVectors(seen, states[i]!.vector);
        nodes.push(...(await storage.readDelta(new Map(), 1)).nodes);
      }
      for (const [i, storage] of this.#storages.entries()) {
        const { replicaId } = states[i]!;
        await storage.mergeNodes(
          nodes.filter((node) => node.replicaId !== replicaId).map((node) => ({ node, replaces: null })),
        );
        await storage.adoptVector(seen, epoch);
      }
    }
    for (const [i, table] of this.#tables.entries()) {
      for (const [place, peer] of table.others.entries()) {
        // Each server is in the lists of all others.
        const j = place < i ? place : place + 1;
        peer.id = this.#servers[j]!.serverId;
        peer.replicaId = states[j]!.replicaId;
        if (this.#options.storage === "separate") peer.vector = seen;
        peer.recordAnswer(this.#clock.now());
      }
    }
  }
}

function hostOf(i: number): string {
  return `server-${i}.test`;
}

function keyOf(i: number): string {
  return `chat:room:${i}`;
}
