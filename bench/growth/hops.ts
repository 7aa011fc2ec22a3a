/**
 * What it costs that clients go to another server with every request: several servers in this process, each with a
 * storage of its own, joined as a mesh, and changes that go on at all of them.
 *
 * @module
 */
import { setImmediate, setTimeout } from "node:timers/promises";
import { MemoryStorage, RealityServer } from "../../mod.ts";
import { measure } from "../measure.ts";
import { isQuick, progress, runtime } from "../report.ts";
import { HASH, keyOf } from "../workload.ts";
import type { Curve } from "./curves.ts";

const SERVERS = 4;
const KEYS = 10;
/** One change for so many syncs. There are as many keys as clients: of a client's ten, one changes between its syncs. */
const SYNCS_PER_CHANGE = 10;
/** So many clients ask at once. Then the event loop has its turn, as it has where requests come by a network. */
const AT_ONCE = 100;
/** Rounds, and syncs at the least, between two moments at which the servers have nothing more to say. */
const ROUNDS = 5;
const SYNCS = 2000;
/** How long the servers may take until they agree, in milliseconds. */
const LONG = 10_000;

interface Client {
  readonly known: Record<string, number>;
  epoch: string;
}

/** Syncs of more and more clients that hop, and of as many that stay where they are. */
export async function growHops(): Promise<Curve[]> {
  const names = ["a client that hops", "a client that stays"];
  const times: [number, number][][] = [[], []];
  const messages: [number, number][][] = [[], []];
  for (const count of isQuick ? [10, 1000] : [10, 100, 1000, 10_000]) {
    progress(`${runtime}, growth: ${count} clients hop`);
    const crowds = [await Crowd.gather(count, true), await Crowd.gather(count, false)];
    const contenders = names.map((name, i) => ({ name, run: () => crowds[i]!.run() }));
    const found = await measure(
      contenders,
      isQuick ? { rounds: 1, roundMs: 50 } : { rounds: 3, roundMs: 500 },
    );
    for (const [i, crowd] of crowds.entries()) {
      const sorted = found[names[i]!]!.toSorted((a, b) => a - b);
      times[i]!.push([count, sorted[sorted.length >> 1]! / crowd.syncsPerRun]);
      messages[i]!.push([count, crowd.messages / crowd.syncs]);
      await crowd.check();
      await crowd.close();
    }
  }
  return [
    ...times.map((points, i) => ({ part: "hops", name: `a sync of ${names[i]}, µs`, runtime, points })),
    ...messages.map((points, i) => ({
      part: "hops",
      name: `messages between servers for it, ${i === 0 ? "hopping" : "staying"}`,
      runtime,
      points,
    })),
  ];
}

/** Some servers, and clients that carry from one to the other what they last learned. */
class Crowd {
  readonly #count: number;
  readonly #hops: boolean;
  readonly #servers: RealityServer[] = [];
  readonly #storages: MemoryStorage[] = [];
  readonly #clients: Client[];
  /** Key → the highest version that an application was told for its change. */
  readonly #acknowledged = new Map<string, number>();
  #underWay = 0;
  #round = 0;
  #changes = 0;
  /** Requests between the servers since the clients began. */
  messages = 0;
  /** Syncs of all clients so far. */
  syncs = 0;

  private constructor(count: number, hops: boolean) {
    this.#count = count;
    this.#hops = hops;
    this.#clients = Array.from({ length: count }, (_, client) => {
      // A prime stride spreads over all keys, and each key is known to equally many clients.
      const keys = Array.from({ length: KEYS }, (_, i) => keyOf((client * KEYS + i * 104_729) % count));
      return { known: Object.fromEntries(keys.map((key) => [key, 0])), epoch: "" };
    });
  }

  /** Starts the servers, and has every client learn its keys. */
  static async gather(count: number, hops: boolean): Promise<Crowd> {
    const crowd = new Crowd(count, hops);
    crowd.#start();
    for (let i = 0; i < count; i += AT_ONCE) {
      const length = Math.min(AT_ONCE, count - i);
      await Promise.all(Array.from({ length }, (_, n) => crowd.#change(i + n, n % SERVERS)));
    }
    await crowd.#untilAgreed();
    for (let round = 0; round < SERVERS; round++) await crowd.#askAll();
    crowd.messages = crowd.syncs = 0;
    return crowd;
  }

  /** How many syncs one run makes. */
  get syncsPerRun(): number {
    return Math.max(ROUNDS, Math.ceil(SYNCS / this.#count)) * this.#count;
  }

  /** Has every client sync some times while nodes change, until the servers have nothing more to say. */
  async run(): Promise<void> {
    const end = this.syncs + this.syncsPerRun;
    while (this.syncs < end) await this.#askAll(SYNCS_PER_CHANGE);
    await this.#untilQuiet();
  }

  /**
   * Has every client sync once more.
   *
   * @throws {Error} When one of them then has another version of a key than the newest.
   */
  async check(): Promise<void> {
    const newest = await this.#untilAgreed();
    await this.#askAll();
    for (const { known } of this.#clients) {
      for (const [key, version] of Object.entries(known)) {
        if (version === newest.get(key)) continue;
        throw new Error(`A client missed a change of ${key}: it has ${version} and not ${newest.get(key)}`);
      }
    }
  }

  async close(): Promise<void> {
    await Promise.all(this.#servers.map((server) => server.close()));
  }

  #start(): void {
    const hosts = Array.from({ length: SERVERS }, (_, i) => `server-${i}.test`);
    const handlers = new Map<string, (request: Request) => Promise<Response>>();
    const send = async (request: Request): Promise<Response> => {
      this.messages++;
      this.#underWay++;
      try {
        return await handlers.get(new URL(request.url).host)!(request);
      } finally {
        this.#underWay--;
      }
    };
    for (const host of hosts) {
      const storage = new MemoryStorage();
      const server = new RealityServer({
        storage,
        meshPeers: hosts.filter((other) => other !== host).map((other) => `http://${other}`),
        meshSecret: "a secret of more than 32 characters, for the bench",
        mesh: { fetch: send },
      });
      handlers.set(host, server.getFetchHandler());
      this.#servers.push(server);
      this.#storages.push(storage);
    }
  }

  /** One round: every client syncs once, those that hop at the server after the one before. */
  async #askAll(syncsPerChange: number = Infinity): Promise<void> {
    this.#round++;
    for (let start = 0; start < this.#count; start += AT_ONCE) {
      const turn = this.#clients.slice(start, start + AT_ONCE);
      const work: Promise<void>[] = turn.map((client, i) =>
        this.#sync(client, (start + i + (this.#hops ? this.#round : 0)) % SERVERS)
      );
      for (let left = turn.length; left >= syncsPerChange; left -= syncsPerChange) {
        // At random, so that changes are not in the order of the clients.
        work.push(this.#change(this.#changes++ * 7919 % this.#count, Math.floor(Math.random() * SERVERS)));
      }
      await Promise.all(work);
      await setImmediate();
    }
  }

  async #sync(client: Client, at: number): Promise<void> {
    const { known, epoch } = client;
    const answer = await this.#servers[at]!.handleSync(epoch === "" ? { known } : { known, epoch });
    for (const key in answer.changed) known[key] = answer.changed[key]!.version;
    client.epoch = answer.epoch!;
    this.syncs++;
  }

  async #change(node: number, at: number): Promise<void> {
    const key = keyOf(node);
    await this.#servers[at]!.updateNode(key, HASH);
    const { version } = (await this.#storages[at]!.getNode(key))!;
    this.#acknowledged.set(key, Math.max(version, this.#acknowledged.get(key) ?? 0));
  }

  /** Settles when no server has asked another for a while. */
  async #untilQuiet(): Promise<void> {
    for (let quiet = 0; quiet < 3; quiet++) {
      await setTimeout(1);
      if (this.#underWay > 0) quiet = 0;
    }
  }

  /**
   * Settles when all servers have the same nodes, and none older than what an application was told.
   *
   * @returns Key → version.
   */
  async #untilAgreed(): Promise<Map<string, number>> {
    for (const end = performance.now() + LONG; performance.now() < end;) {
      await this.#untilQuiet();
      const newest = await this.#findAgreed();
      if (newest !== undefined) return newest;
    }
    throw new Error(`Servers do not agree after ${LONG / 1000} s`);
  }

  async #findAgreed(): Promise<Map<string, number> | undefined> {
    const newest = new Map<string, number>();
    for (const [key, acknowledged] of this.#acknowledged) {
      const nodes = await Promise.all(this.#storages.map((storage) => storage.getNode(key)));
      const version = nodes[0]?.version ?? 0;
      if (version < acknowledged || nodes.some((node) => node?.version !== version)) return undefined;
      newest.set(key, version);
    }
    return newest;
  }
}
