/**
 * Simulates clients beside several real servers, each with a storage of its own, that exchange their changes. A load balancer
 * sends each request to another server; a part of the clients asks through caches. Lines between servers are cut and lose
 * messages, servers restart, and storages are lost. A seed decides all of it.
 *
 * Each client must have fetched after each change within a bound from the moment at which every storage has the change.
 *
 * @module
 */
import type { DataStamp } from "../../client/mod.ts";
// Loaded before the simulated time begins.
import "../../client/transport_events.ts";
import { createFetchHandler, type FetchHandler, MemoryStorage, RealityServer } from "../../mod.ts";
import { stampsModule, streamsModule } from "../../src/optional_modules.ts";
import "../loaded_cached_sync.ts";
import "../loaded_mesh.ts";
import { CALM, FakeNetwork, type Station } from "../network.ts";
import { holdCrypto, SeededRandom } from "../random.ts";
import { MachineClock, settleAll, SimClock } from "../sim_clock.ts";
import { Edge } from "./cache_simulation.ts";
import { FakePage } from "./scene.ts";
import type { ClientModule } from "./simulation.ts";

/** What a history did. */
export interface PeersTally {
  requests: number;
  fetches: number;
  writes: number;
  /** Servers that began anew, and those of them whose storage was lost. */
  restarts: number;
  losses: number;
}

/** What caches do wrong, beside those that obey. */
const KINDS = [
  "keep answers for ever",
  "serve stale while they revalidate",
  "drop the query",
  "keep errors",
];

const KEYS = ["a", "b", "c"];
const CLIENTS = 5;
const CHAOS_MS = 120_000;
/** The longest way of a message between a client and a server, and the longest fetch of data. */
const LATENCY = 60;
const FETCH_MS = 300;
/**
 * How soon data is fetched after every storage has a change. A store whose data was refused, since stamps of another server
 * were older, pauses for up to 30 seconds, and once more if the next fetch fails.
 */
const BOUND_MS = { follow: 25_000, live: 75_000 };
/** Longer than the exchanges of servers after a fault, and each of these bounds. */
const HEALING_MS = 160_000;

interface Server {
  readonly number: number;
  readonly storage: MemoryStorage;
  readonly reality: RealityServer;
  readonly handler: FetchHandler;
  readonly station: Station;
  isUp: boolean;
}

/** A change that a server has acknowledged. */
interface Write {
  readonly number: number;
  readonly key: string;
  readonly version: number;
  readonly storage: MemoryStorage;
  isEverywhere: boolean;
  /** Whether its storage was lost before another one had it. */
  isLost: boolean;
}

interface Viewer {
  readonly name: string;
  readonly kind: keyof typeof BOUND_MS;
  readonly client: ReturnType<ClientModule["createClient"]>;
  readonly clock: MachineClock;
  readonly since: number;
  /** Key → the number of the newest write that is shown. */
  readonly shown: Map<string, number>;
  requests: number;
  fetches: number;
}

/** The data of the application at one moment, and the stamp that was made before. */
interface Loaded {
  readonly written: ReadonlyMap<string, number>;
  readonly stamp: DataStamp;
}

/**
 * Runs one history.
 *
 * @throws {Error} If a client fetches too late or too often, or shows something else than what is stored in the end.
 */
export async function runPeersHistory(seed: number, module: ClientModule): Promise<PeersTally> {
  await streamsModule.load();
  await stampsModule.load();
  const random = new SeededRandom(`peers ${seed}`);
  const crypto = holdCrypto(random.fork("crypto"), true);
  const history = new PeersHistory(random, module);
  try {
    const tally = await history.run();
    await history.close();
    return tally;
  } catch (error) {
    throw new Error(`Seed ${seed}, caches that ${history.kind}: ${(error as Error).message}`, {
      cause: error,
    });
  } finally {
    crypto.restore();
  }
}

class PeersHistory {
  readonly kind: string;
  readonly #random: SeededRandom;
  readonly #module: ClientModule;
  readonly #world = new SimClock();
  readonly #network: FakeNetwork;
  readonly #edges: readonly Edge[];
  readonly #servers: Server[] = [];
  readonly #viewers: Viewer[] = [];
  readonly #writes: Write[] = [];
  /** Key → the number of the newest write. The application has one database. */
  readonly #written = new Map<string, number>(KEYS.map((key) => [key, 0]));
  readonly #problems: string[] = [];
  readonly #tally: PeersTally = { requests: 0, fetches: 0, writes: 0, restarts: 0, losses: 0 };
  /** Whether the load balancer mostly sends a client to the same server. */
  readonly #isSticky: boolean;
  /** Bounds begin after the pauses that a server which stops asks for. */
  #excusedUntil = 0;
  #names = 0;

  constructor(random: SeededRandom, module: ClientModule) {
    this.#random = random;
    this.#module = module;
    this.kind = random.pick(KINDS);
    this.#network = new FakeNetwork(this.#world, random.fork("network"));
    this.#isSticky = random.happens(0.5);
    const count = random.between(2, 3);
    for (let i = 0; i < count; i++) this.#servers.push(this.#start(i, count, this.#createStorage()));
    this.#edges = [this.kind, this.kind, "obey"].map((kind, i) =>
      new Edge(
        this.#world,
        random.fork(`edge ${i}`),
        kind,
        (request) => this.#ask(request, this.#pickServer()),
      )
    );
  }

  async run(): Promise<PeersTally> {
    await this.#advance(2_000);
    for (let i = 0; i < CLIENTS; i++) this.#open();
    const end = this.#world.now() + CHAOS_MS;
    while (this.#world.now() < end) {
      await this.#act();
      await this.#advance(this.#random.pick([0, 20, 400, 3_000, 3_000, 9_000]));
    }
    this.#network.mend();
    this.#network.faults = CALM;
    await this.#advance(HEALING_MS);
    this.#checkShown();
    await this.#checkQuiet();
    return this.#tally;
  }

  async close(): Promise<void> {
    for (const { client } of this.#viewers) client.close();
    const closed = this.#servers.map(({ reality }) => reality.close());
    await this.#advance(10_000);
    await Promise.all(closed);
    for (const { clock, name } of this.#viewers) {
      if (clock.timers > 0) throw new Error(`${name} left ${clock.timers} timers behind`);
    }
  }

  /** One random thing happens. */
  async #act(): Promise<void> {
    const random = this.#random;
    const dice = random.next();
    if (dice < 0.55) return await this.#write(random.pick(KEYS));
    if (dice < 0.62) {
      this.#viewers.shift()!.client.close();
      return this.#open();
    }
    if (dice < 0.66) return random.pick(this.#viewers).client.nudge();
    if (dice < 0.78) return this.#cut(random.pick(this.#servers));
    if (dice < 0.88) return this.#network.mend();
    if (dice < 0.95) return this.#stop(random.pick(this.#servers));
    const [requestLoss, answerLoss] = [random.pick([0, 0.2]), random.pick([0, 0.2])];
    this.#network.faults = { ...CALM, requestLoss, answerLoss };
  }

  #cut({ number }: Server): void {
    for (const other of this.#servers) {
      if (other.number === number) continue;
      this.#network.cut(`server-${number}`, `server-${other.number}`);
      if (this.#random.happens(0.7)) this.#network.cut(`server-${other.number}`, `server-${number}`);
    }
  }

  // The servers.

  #createStorage(): MemoryStorage {
    return new MemoryStorage({ now: () => Math.floor(this.#world.now()) });
  }

  #start(number: number, count: number, storage: MemoryStorage): Server {
    const clock = new MachineClock(
      this.#world,
      this.#random.fork(`server ${number} ${this.#tally.restarts}`),
    );
    const station = this.#network.join(`server-${number}`);
    const peers = Array.from({ length: count }, (_, i) => `http://server-${i}`);
    const reality = new RealityServer({
      storage,
      clock,
      serverId: `server-${number}`,
      meshPeers: peers.filter((_, i) => i !== number),
      meshSecret: "a secret of thirty-two characters",
      mesh: { fetch: (request: Request) => station.fetch(request) },
      public: () => true,
      onError: () => {},
    });
    const handler = createFetchHandler(reality);
    station.listen(async (request) => await handler(request));
    return { number, storage, reality, handler, station, isUp: true };
  }

  /** Stops a server, and starts another one after a while: on the same storage, or on a new one. */
  #stop(server: Server): void {
    const { number, reality, station, storage } = server;
    if (this.#servers.filter(({ isUp }) => isUp).length < 2 || !server.isUp) return;
    server.isUp = false;
    void reality.close().then(() => station.leave());
    const isLoss = this.#random.happens(0.4);
    this.#world.after(this.#random.between(6_000, 20_000), () => {
      this.#tally.restarts++;
      if (isLoss) {
        this.#tally.losses++;
        for (const write of this.#writes) write.isLost ||= write.storage === storage && !write.isEverywhere;
      }
      this.#servers[number] = this.#start(
        number,
        this.#servers.length,
        isLoss ? this.#createStorage() : storage,
      );
      this.#excusedUntil = this.#world.now() + 8_000;
    });
  }

  /** There is always one that runs. */
  #pickServer(): Server {
    return this.#random.pick(this.#servers.filter(({ isUp }) => isUp));
  }

  /** Changes a value, and its node through one server. */
  async #write(key: string): Promise<void> {
    const { reality, storage } = this.#pickServer();
    const number = ++this.#tally.writes;
    this.#written.set(key, number);
    const writing = reality.updateNode(key, `${number}`);
    await this.#advance(20);
    const { version } = await writing;
    const write: Write = { number, key, version, storage, isEverywhere: false, isLost: false };
    this.#writes.push(write);
    const { replicaId } = await storage.readReplicaState();
    void this.#watch(write, replicaId);
  }

  /** Waits until every storage has a change. */
  async #watch(write: Write, replicaId: string): Promise<void> {
    const states = await Promise.all(this.#servers.map(({ storage }) => storage.readReplicaState()));
    write.isEverywhere = states.every(({ vector }) => (vector.get(replicaId) ?? 0) >= write.version);
    if (write.isEverywhere) this.#expect(write);
    else if (!write.isLost) this.#world.after(50, () => void this.#watch(write, replicaId));
  }

  /** Within the bound each client must have fetched a key again. */
  #expect({ key, number }: Write): void {
    const from = Math.max(this.#world.now(), this.#excusedUntil);
    for (const kind of ["follow", "live"] as const) {
      this.#world.after(from - this.#world.now() + BOUND_MS[kind], () => {
        if (this.#excusedUntil > from) return;
        for (const viewer of this.#viewers) {
          const value = viewer.shown.get(key) ?? Infinity;
          if (viewer.kind !== kind || viewer.since >= from || value >= number) continue;
          const late = Math.round(this.#world.now() - from);
          this.#problems.push(
            `${viewer.name} shows write ${value} of ${key}, ${late} ms after ${number} was everywhere`,
          );
        }
      });
    }
  }

  // The clients.

  #open(): void {
    const random = this.#random;
    const transport = random.pick(["public", "public", "wait", "events", "events", "poll"] as const);
    const kind = random.pick(["follow", "live"] as const);
    const name = `${transport} ${kind} ${this.#names++}`;
    const clock = new MachineClock(this.#world, random.fork(name));
    let [edge, server] = [random.pick(this.#edges), this.#pickServer()];
    const client = this.#module.createClient({
      url: "http://localhost/reality",
      clock,
      page: new FakePage(),
      onError: () => {},
      ...(transport === "public" ? { public: true } : { transport }),
      fetch: async (input, init) => {
        viewer.requests++;
        this.#tally.requests++;
        if (random.happens(0.1)) edge = random.pick(this.#edges);
        if (!server.isUp || random.happens(this.#isSticky ? 0.1 : 1)) server = this.#pickServer();
        return await this.#send(String(input), init!, transport === "public" ? edge : undefined, server);
      },
    });
    const keys = random.happens(0.5) ? KEYS : [random.pick(KEYS)];
    const viewer: Viewer = {
      ...{ name, kind, client, clock, since: this.#world.now(), requests: 0, fetches: 0 },
      shown: new Map(keys.map((key) => [key, 0])),
    };
    this.#viewers.push(viewer);
    const show = (written: ReadonlyMap<string, number>) => {
      for (const key of keys) viewer.shown.set(key, written.get(key)!);
    };
    if (kind === "follow") {
      client.follow(keys, async () => show((await this.#load(viewer, keys)).written));
    } else {
      client.live<Loaded>(() => this.#load(viewer, keys), { stamp: ({ stamp }: Loaded) => stamp })
        .subscribe(({ data }) => data && show(data.written));
    }
  }

  /** Fetches data. Its stamp is made by any of the servers. */
  async #load(viewer: Viewer, keys: readonly string[]): Promise<Loaded> {
    viewer.fetches++;
    this.#tally.fetches++;
    const stamp = (await this.#pickServer().reality.stamp(keys)).toJSON();
    const written = new Map(this.#written);
    await this.#world.wait(this.#random.between(0, FETCH_MS));
    if (this.#random.happens(0.05)) throw new Error("The application is down");
    return { written, stamp };
  }

  /** Carries a request to a cache or to a server, and the answer back. */
  async #send(
    url: string,
    { method = "GET", body, signal, headers }: RequestInit,
    edge: Edge | undefined,
    server: Server,
  ): Promise<Response> {
    const gone = new Promise<never>((_, reject) => {
      signal!.addEventListener("abort", () => reject(signal!.reason));
      if (signal!.aborted) reject(signal!.reason);
    });
    gone.catch(() => {});
    const carried = async () => {
      if (method === "GET" && edge) return await edge.get(url);
      return await this.#ask(
        new Request(url, { method, body: body!, headers: headers!, signal: signal! }),
        server,
      );
    };
    return await Promise.race([carried(), gone]);
  }

  async #ask(request: Request, server: Server): Promise<Response> {
    await this.#world.wait(this.#random.between(1, LATENCY));
    const response = await (server.isUp ? server : this.#pickServer()).handler(request);
    await this.#world.wait(this.#random.between(1, LATENCY));
    return response;
  }

  async #advance(ms: number): Promise<void> {
    const until = this.#world.now() + ms;
    do await settleAll(() => false); while (this.#world.step(until));
    await settleAll(() => false);
    if (this.#problems.length > 0) throw new Error(this.#problems[0]);
  }

  /** In the end each client shows every change that was not lost. */
  #checkShown(): void {
    for (const { name, shown } of this.#viewers) {
      for (const [key, value] of shown) {
        const last = this.#writes.filter((write) => write.key === key && !write.isLost).at(-1)?.number ?? 0;
        if (value < last) {
          throw new Error(`${name} shows write ${value} of ${key} in the end, expected ${last}`);
        }
      }
    }
  }

  /** Without changes nothing is fetched, and little is asked. */
  async #checkQuiet(): Promise<void> {
    const before = this.#viewers.map(({ fetches, requests }) => ({ fetches, requests }));
    await this.#advance(60_000);
    for (const [i, { name, fetches, requests }] of this.#viewers.entries()) {
      if (fetches > before[i]!.fetches) throw new Error(`${name} fetched although nothing changed`);
      const count = requests - before[i]!.requests;
      if (count > 60) throw new Error(`${name} sent ${count} requests in a minute`);
    }
  }
}
