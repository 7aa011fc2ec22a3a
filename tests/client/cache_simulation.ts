/**
 * Simulates many clients with `public: true`, a real server, and a CDN between them whose edges obey, or lie in one way. A
 * seed decides all of it.
 *
 * Each client must have fetched after each change within the bound that `docs/cache.md` states and its `refetchJitter`, and may
 * not ask too often.
 *
 * @module
 */
import { createFetchHandler, type FetchHandler, MemoryStorage, RealityServer } from "../../mod.ts";
import { isCryptoBusy } from "../clock.ts";
import { SeededRandom } from "../random.ts";
import "../loaded_cached_sync.ts";
import { MachineClock, settleAll, SimClock } from "../sim_clock.ts";
import { FakePage } from "./scene.ts";
import type { ClientModule } from "./simulation.ts";

/** What a history did. */
export interface CacheTally {
  /** Requests of the clients. */
  requests: number;
  /** Those of them by POST. */
  posts: number;
  /** Requests by GET that reached the server. */
  forwarded: number;
  fetches: number;
  writes: number;
}

/** What the edges do, and within how many milliseconds a client must know of a change. */
export const EDGES: Readonly<Record<string, number>> = {
  "obey": 3_800,
  "reorder the query": 3_800,
  "keep answers for long": 8_300,
  "keep answers for ever": 8_300,
  "serve stale while they revalidate": 8_300,
  "drop parameters": 22_000,
  "strip Reality-Time": 8_300,
  "answer another epoch": 8_300,
  "lead back": 8_300,
  "answer with pages": 8_300,
  "refuse": 8_300,
  "cut connections": 8_300,
  "keep errors": 25_000,
  // A client gets the answer to the wait of another one, at its end.
  "drop the query": 22_000,
  // The wait, the time limit for its answer, that limit once more if nudge() comes in between, and a POST.
  "hold requests": 43_000,
};

const KEYS = ["a", "b c", "café:1"];
const CLIENTS = 6;
const CHAOS_MS = 150_000;
/** The longest way between a client and an edge, and between an edge and the server. */
const LATENCY = 100;
/** The longest fetch of data. */
const FETCH_MS = 300;

/** What an edge has stored. */
interface Stored {
  readonly status: number;
  readonly body: string;
  readonly headers: Headers;
  /** When it was stored, or revalidated. */
  at: number;
}

interface Viewer {
  readonly name: string;
  readonly client: ReturnType<ClientModule["createFollowClient"]>;
  readonly clock: MachineClock;
  readonly page: FakePage;
  readonly since: number;
  /** Key → the number of the newest write that is shown. */
  readonly shown: Map<string, number>;
  requests: number;
  /** How many requests by POST in a row failed. */
  failedPosts: number;
  /** It may be that it does not ask by POST before then. */
  pausedUntil: number;
}

/**
 * Runs one history.
 *
 * @param kind What the edges do: a name of {@linkcode EDGES}.
 * @throws {Error} If a client knows a change too late, asks too often, or shows something else than what is stored.
 */
export async function runCacheHistory(seed: number, kind: string, module: ClientModule): Promise<CacheTally> {
  const history = new CacheHistory(seed, kind, module);
  try {
    return await history.run();
  } catch (error) {
    throw new Error(`Seed ${seed}, edges that ${kind}: ${(error as Error).message}`, { cause: error });
  } finally {
    await history.close();
  }
}

class CacheHistory {
  readonly #module: ClientModule;
  readonly #kind: string;
  readonly #random: SeededRandom;
  readonly #world = new SimClock();
  readonly #viewers: Viewer[] = [];
  readonly #edges: Edge[];
  /** The longest delay of a fetch that a change causes, in milliseconds. */
  readonly #jitter: number;
  readonly #tally: CacheTally = { requests: 0, posts: 0, forwarded: 0, fetches: 0, writes: 0 };
  readonly #problems: string[] = [];
  /** Key → the number of the newest write. */
  readonly #written = new Map<string, number>(KEYS.map((key) => [key, 0]));
  readonly #deleted = new Set<string>(KEYS);
  /** When keys were created and deleted the last time. */
  readonly #createdAt = new Map<string, number>();
  readonly #deletedAt = new Map<string, number>();
  #epochs = 0;
  /** The bound of a change begins after an outage, and after the pause that a server has asked for. */
  #excusedUntil = 0;
  #isDown = false;
  #server: RealityServer;
  #handler: FetchHandler;

  constructor(seed: number, kind: string, module: ClientModule) {
    this.#module = module;
    this.#kind = kind;
    const random = this.#random = new SeededRandom(`${seed} ${kind}`);
    [this.#server, this.#handler] = this.#createServer();
    const lies = random.between(1, 3);
    this.#jitter = random.pick([0, 0, 1_000, 10_000]);
    this.#edges = [1, 2, 3].map((i) =>
      new Edge(
        this.#world,
        random.fork(`edge ${i}`),
        i <= lies ? kind : "obey",
        (request) => this.#forward(request),
      )
    );
  }

  async run(): Promise<CacheTally> {
    const random = this.#random;
    while (this.#viewers.length < CLIENTS) this.#open();
    const end = this.#world.now() + CHAOS_MS;
    while (this.#world.now() < end) {
      await this.#act();
      await this.#advance(random.pick([0, 20, 400, 3_000, 3_000, 15_000]));
    }
    // Longer than clients ask by POST after a fault.
    const rests = this.#viewers.map(({ pausedUntil }) => pausedUntil - this.#world.now());
    await this.#advance(Math.max(EDGES[this.#kind]! + this.#jitter + 80_000, ...rests));
    await this.#checkQuiet();
    return this.#tally;
  }

  /** Ends everything. */
  async close(): Promise<void> {
    for (const { client } of this.#viewers) client.close();
    const closed = this.#server.close();
    await settleAll(isCryptoBusy);
    await closed;
    for (const { clock, name } of this.#viewers) {
      if (clock.timers > 0) throw new Error(`${name} left ${clock.timers} timers behind`);
    }
  }

  async #act(): Promise<void> {
    const random = this.#random;
    const dice = random.next();
    if (dice < 0.7) return await this.#write(random.pick(KEYS));
    if (dice < 0.76) {
      const old = this.#viewers.shift()!;
      old.client.close();
      return this.#open();
    }
    if (dice < 0.8) return random.pick(this.#viewers).client.nudge();
    if (dice < 0.83 && this.#kind === "keep errors") {
      this.#isDown = true;
      this.#excusedUntil = this.#world.now() + 3_000;
      this.#world.after(3_000, () => this.#isDown = false);
      return;
    }
    if (dice > 0.95) await this.#replaceServer();
  }

  async #write(key: string): Promise<void> {
    const number = ++this.#tally.writes;
    const isDeletion = this.#random.happens(0.15);
    const now = this.#world.now();
    this.#written.set(key, number);
    // Clients that did not see the node are not told of its deletion.
    const isOld = !this.#deleted.has(key) && this.#createdAt.get(key)! < now - EDGES[this.#kind]!;
    if (isDeletion) {
      this.#deleted.add(key);
      this.#deletedAt.set(key, now);
      await this.#server.deleteNode(key);
    } else {
      if (this.#deleted.delete(key)) this.#createdAt.set(key, now);
      await this.#server.updateNode(key, `${number}`);
    }
    if (!isDeletion || isOld) this.#expect(key, number, isDeletion);
  }

  /** Within the bound each client must have fetched a key again, if it is not deleted or created meanwhile. */
  #expect(key: string, number: number, isDeletion: boolean): void {
    const bound = EDGES[this.#kind]! + this.#jitter;
    const writtenAt = this.#world.now();
    const at = Math.max(writtenAt, this.#excusedUntil);
    const epochs = this.#epochs;
    // They may not have seen the node that is deleted.
    const paused = this.#viewers.filter(({ pausedUntil }) => isDeletion && pausedUntil > writtenAt);
    const check = (viewer: Viewer) => {
      const now = this.#world.now();
      if (viewer.pausedUntil > now) {
        this.#world.after(viewer.pausedUntil - now, () => check(viewer));
        return;
      }
      if (at < this.#excusedUntil || epochs !== this.#epochs || !this.#viewers.includes(viewer)) return;
      // A node that was created and deleted in between looks like one that never was.
      const other = isDeletion ? this.#createdAt : this.#deletedAt;
      if (this.#deleted.has(key) !== isDeletion || other.get(key)! >= writtenAt) return;
      const isNew = viewer.since > at - (isDeletion ? bound : 0) || paused.includes(viewer);
      if (isNew || (viewer.shown.get(key) ?? Infinity) >= number) return;
      this.#problems.push(
        `${viewer.name} shows write ${viewer.shown.get(key)} of ${key}, ${now - at} ms after write ${number}`,
      );
    };
    this.#world.after(at - writtenAt + bound, () => this.#viewers.forEach(check));
  }

  /** All data is lost, and written again: there is another epoch, and versions begin at 1. */
  async #replaceServer(): Promise<void> {
    const before = this.#server;
    this.#epochs++;
    // A server that stops asks its clients for a pause.
    this.#excusedUntil = this.#world.now() + 3_000;
    [this.#server, this.#handler] = this.#createServer();
    for (const key of KEYS) {
      if (this.#deleted.has(key)) continue;
      const number = ++this.#tally.writes;
      this.#written.set(key, number);
      await this.#server.updateNode(key, "again");
      this.#expect(key, number, false);
    }
    const closed = before.close();
    await this.#advance(0);
    await closed;
  }

  #createServer(): [RealityServer, FetchHandler] {
    // Clocks of servers are wrong by hours, and differ after a server was replaced. They differ by 10 seconds or more, or not
    // at all: where they differ by about the 5 seconds that an answer may be old, a client notices it at any later time.
    const skew = this.#random.between(-360, 360) * 10_000;
    const clock = new MachineClock(this.#world, this.#random.fork("server"), skew);
    // Versions begin at 1 again with each epoch. But a lower version that an edge makes up must not be another real one.
    const storage = new MemoryStorage({ counter: this.#kind === "lead back" ? "clock" : "sequential" });
    const server = new RealityServer({ storage, clock, public: () => true });
    return [server, createFetchHandler(server)];
  }

  #open(): void {
    const name = `client ${this.#tally.requests}.${this.#viewers.length}`;
    const clock = new MachineClock(this.#world, this.#random.fork(name));
    const page = new FakePage();
    let edge = this.#random.pick(this.#edges);
    const client = this.#module.createFollowClient({
      url: "http://localhost/reality",
      public: true,
      refetchJitter: this.#jitter,
      clock,
      page,
      onError: () => {},
      fetch: async (input, init) => {
        viewer.requests++;
        this.#tally.requests++;
        if (this.#random.happens(0.1)) edge = this.#random.pick(this.#edges);
        const response = await this.#send(String(input), init!, edge);
        this.#note(viewer, String(input), response, init!.method);
        return response;
      },
    });
    const keys = this.#random.happens(0.5) ? KEYS : [this.#random.pick(KEYS)];
    const shown = new Map(keys.map((key) => [key, 0]));
    const viewer: Viewer = {
      ...{ name, client, clock, page, shown, since: this.#world.now() },
      ...{ requests: 0, failedPosts: 0, pausedUntil: 0 },
    };
    this.#viewers.push(viewer);
    client.follow(keys, async (changed) => {
      this.#tally.fetches++;
      const written = new Map(this.#written);
      await this.#world.wait(this.#random.between(0, FETCH_MS));
      for (const key of changed.keys()) shown.set(key, written.get(key)!);
    });
    for (const key of keys) if (!this.#deleted.has(key)) this.#expect(key, this.#written.get(key)!, false);
  }

  /**
   * The bound of an edge holds if a POST succeeds after one that failed. After a second one that failed as well, the next one is
   * sent with the first failure by GET that comes 20 seconds later, and after more of them 80 seconds later. There are up to 30
   * seconds between two failures.
   */
  #note(viewer: Viewer, url: string, { status }: Response, method = "GET"): void {
    if (method === "POST" && status !== 200) {
      if (++viewer.failedPosts < 2) return;
      const gap = viewer.failedPosts === 2 ? 20_000 : 80_000;
      viewer.pausedUntil = this.#world.now() + gap + 30_000 + 10 * LATENCY + FETCH_MS + this.#jitter;
    } else if (status === 200 && (method === "POST" || url.includes("w="))) viewer.failedPosts = 0;
  }

  /** Carries a request from a client to its edge, and the answer back. A POST goes through to the server. */
  async #send(
    url: string,
    { method = "GET", body, signal, headers }: RequestInit,
    edge: Edge,
  ): Promise<Response> {
    const gone = new Promise<never>((_, reject) => {
      signal!.addEventListener("abort", () => reject(signal!.reason));
      if (signal!.aborted) reject(signal!.reason);
    });
    gone.catch(() => {});
    const carried = async () => {
      await this.#travel();
      if (method === "POST") this.#tally.posts++;
      const response = method === "POST"
        ? await this.#ask(new Request(url, { method, body: body!, headers: headers!, signal: signal! }))
        : await edge.get(url);
      await this.#travel();
      return response;
    };
    return await Promise.race([carried(), gone]);
  }

  /** Asks the server for an edge. */
  async #forward(request: Request): Promise<Response> {
    this.#tally.forwarded++;
    return await this.#ask(request);
  }

  async #ask(request: Request): Promise<Response> {
    await this.#travel();
    const response = this.#isDown
      ? Response.json({}, { status: 503, headers: { "retry-after": "1", "cache-control": "no-store" } })
      : await this.#handler(request);
    await this.#travel();
    return response;
  }

  #travel(): Promise<void> {
    return this.#world.wait(this.#random.between(1, LATENCY));
  }

  async #advance(ms: number): Promise<void> {
    const until = this.#world.now() + ms;
    do await settleAll(isCryptoBusy); while (this.#world.step(until));
    await settleAll(isCryptoBusy);
    if (this.#problems.length > 0) throw new Error(this.#problems[0]);
  }

  /** In the end all is shown, and little is asked. */
  async #checkQuiet(): Promise<void> {
    for (const { name, shown } of this.#viewers) {
      for (const [key, number] of this.#written) {
        if (this.#deleted.has(key) || (shown.get(key) ?? number) === number) continue;
        throw new Error(`${name} shows write ${shown.get(key)} of ${key} in the end, stored is ${number}`);
      }
    }
    const { fetches, posts } = this.#tally;
    const before = new Map(this.#viewers.map((viewer) => [viewer, viewer.requests]));
    await this.#advance(60_000);
    const isHonest = this.#kind === "obey" || this.#kind === "reorder the query";
    for (const [{ name, requests }, count] of before) {
      const most = isHonest ? 12 : 40;
      if (requests - count > most) throw new Error(`${name} sent ${requests - count} requests in a minute`);
    }
    if (isHonest && this.#tally.posts > posts) {
      throw new Error("Clients asked by POST behind edges that obey");
    }
    const fetched = this.#tally.fetches - fetches;
    // Two answers that lead back are believed before a third one, and the way from there as well.
    const most = isHonest ? 0 : CLIENTS * 12;
    if (fetched > most) throw new Error(`Data was fetched ${fetched} times in a minute without changes`);
  }
}

/** A server of a CDN, which keeps answers and asks the server once for equal requests. */
export class Edge {
  readonly #world: SimClock;
  readonly #random: SeededRandom;
  readonly #kind: string;
  readonly #forward: (request: Request) => Promise<Response>;
  readonly #stored = new Map<string, Stored>();
  readonly #underWay = new Map<string, Promise<Stored>>();
  /** For how long an edge that does not obey keeps an answer, in milliseconds. */
  readonly #ownTime: number;

  constructor(
    world: SimClock,
    random: SeededRandom,
    kind: string,
    forward: (request: Request) => Promise<Response>,
  ) {
    this.#world = world;
    this.#random = random;
    this.#kind = kind;
    this.#forward = forward;
    this.#ownTime = kind === "keep answers for ever" ? Infinity : random.between(3_000, 600_000);
  }

  async get(url: string): Promise<Response> {
    const random = this.#random;
    const kind = this.#kind === "lead back" || random.happens(0.5) ? this.#kind : "";
    if (kind === "cut connections") throw new TypeError("The connection was reset");
    if (kind === "hold requests") await new Promise(() => {});
    if (kind === "answer with pages") return new Response("<html>Please wait</html>");
    if (kind === "refuse" && random.happens(0.2)) return new Response("Forbidden", { status: 403 });
    const stored = await this.#find(url);
    const headers = new Headers(stored.headers);
    if (this.#kind === "strip Reality-Time") headers.delete("reality-time");
    if (stored.status !== 200) return new Response(stored.body, { status: stored.status, headers });
    if (kind === "answer another epoch") {
      return Response.json({ ...JSON.parse(stored.body), epoch: "wrong" }, { headers });
    }
    if (kind === "lead back") {
      const body = JSON.parse(stored.body);
      for (const [, key = "", version] of url.matchAll(/k=([^&]*):(\d+)/g)) {
        const lower = Number(version) - 1;
        const name = decodeURIComponent(key);
        if (lower > 0) body.changed[name] = { key: name, version: lower, hash: "", updatedAt: 0 };
      }
      return Response.json(body, { headers });
    }
    return new Response(stored.body, { headers });
  }

  /** Finds an answer, or asks for it. */
  async #find(url: string): Promise<Stored> {
    const { pathname } = new URL(url);
    const name = this.#kind === "drop the query" ? pathname : url;
    const stored = this.#stored.get(name);
    if (stored !== undefined) {
      if (this.#world.now() < stored.at + this.#timeOf(stored)) return stored;
      if (this.#kind === "serve stale while they revalidate") {
        void this.#fetch(name, url, stored).catch(() => {});
        return stored;
      }
    }
    return await this.#fetch(name, url, stored);
  }

  /** Asks once for all clients that ask the same at this moment. */
  #fetch(name: string, url: string, stored: Stored | undefined): Promise<Stored> {
    let asked = this.#underWay.get(name);
    if (asked === undefined) {
      asked = this.#ask(name, url, stored).finally(() => this.#underWay.delete(name));
      this.#underWay.set(name, asked);
    }
    return asked;
  }

  async #ask(name: string, url: string, stored: Stored | undefined): Promise<Stored> {
    const etag = stored?.headers.get("etag");
    const response = await this.#forward(
      new Request(this.#rewrite(url), { headers: etag ? { "if-none-match": etag } : {} }),
    );
    if (response.status === 304 && stored !== undefined) {
      for (const [field, value] of response.headers) stored.headers.set(field, value);
      stored.at = this.#world.now();
      return stored;
    }
    const { status, headers } = response;
    const answer: Stored = {
      status,
      body: await response.text(),
      headers: new Headers(headers),
      at: this.#world.now(),
    };
    if (this.#timeOf(answer) > 0) this.#stored.set(name, answer);
    return answer;
  }

  #timeOf({ status, headers }: Stored): number {
    if (this.#kind === "keep errors" && status >= 400) return this.#ownTime;
    if (status !== 200) return 0;
    if (/^keep answers|^strip/.test(this.#kind)) return this.#ownTime;
    return 1_000 * Number(/s-maxage=(\d+)/.exec(headers.get("cache-control") ?? "")?.[1] ?? 0);
  }

  #rewrite(url: string): string {
    const [path = "", query = ""] = url.split("?");
    const parts = query.split("&");
    if (this.#kind === "reorder the query") {
      return `${path}?${this.#random.shuffle(parts).join("&").replaceAll("%20", "+").replaceAll(":", "%3A")}`;
    }
    const keys = parts.filter((part) => part.startsWith("k="));
    if (this.#kind === "drop parameters" && keys.length > 1) {
      const dropped = this.#random.pick(keys);
      return `${path}?${parts.filter((part) => part !== dropped).join("&")}`;
    }
    return url;
  }
}
