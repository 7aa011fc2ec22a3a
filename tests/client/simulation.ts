/**
 * Simulates a client, a real server, an application with data, and everything between them that fails or lies. A seed
 * decides all of it.
 *
 * @module
 */
import type { DataStamp, KeyChange } from "../../client/mod.ts";
// Loaded before the simulated time begins.
import "../../client/tabs.ts";
import "../../client/transport_events.ts";
import { createFetchHandler, MemoryStorage, RealityServer } from "../../mod.ts";
import { streamsModule } from "../../src/optional_modules.ts";
import type { SyncRequest, SyncResponse } from "../../src/types.ts";
import { SeededRandom } from "../random.ts";
import { MachineClock, settleAll, SimClock } from "../sim_clock.ts";
import { FakeBrowser, type FakeTab } from "./fake_browser.ts";
import { FakePage } from "./scene.ts";

/** The client module under test. */
export type ClientModule = typeof import("../../client/mod.ts");

/** What a history did. */
export interface Tally {
  requests: number;
  fetches: number;
  writes: number;
}

const KEYS = ["a", "b", "café", "__proto__", "e", "f"];
const CHAOS_MS = 60_000;
/** Longer than every pause that a failure or the server causes. */
const HEALING_MS = 120_000;

/** By how much the version of a change is higher that a server makes and loses. */
const LOST_AHEAD = 1_000_000;

/** The data of the application at one moment, and the versions that were read before it. */
interface DataState {
  readonly values: ReadonlyMap<string, number>;
  readonly stamp: DataStamp;
}

/** A tab of the browser: a page with a client. */
interface Tab {
  readonly fake: FakeTab;
  readonly page: FakePage;
  readonly clock: MachineClock;
  readonly client: ReturnType<ClientModule["createClient"]>;
  /** The server asked for a pause until then. */
  notBefore: number;
  /** Requests that have no answer yet. */
  open: number;
}

/** A subscription of a page, and what the page shows. */
interface Viewer {
  readonly tab: Tab;
  readonly name: string;
  readonly isStamped: boolean;
  readonly shown: Map<string, number>;
  fetches: number;
  isFetching: boolean;
  /** Whether a stamp named a change that was lost. Then what is shown may go back. */
  hasLost: boolean;
  keys(): Iterable<string>;
  stop(): void;
  /** Of a live store: fetches although no change is known, or leaves it and comes back. */
  disturb(): void;
  /** Of a live store: it must have data and be up to date. */
  checkEnd(): void;
}

/**
 * Runs one history.
 *
 * @throws {Error} If what is shown ends differently from what is stored, goes back, or costs too many requests.
 */
export async function runHistory(seed: number, module: ClientModule): Promise<Tally> {
  const history = new History(seed, module);
  try {
    return await history.run();
  } catch (error) {
    throw new Error(`Seed ${seed}, ${history.describe()}: ${(error as Error).message}`, { cause: error });
  } finally {
    await history.close();
  }
}

class History {
  readonly #module: ClientModule;
  readonly #random: SeededRandom;
  readonly #world = new SimClock();
  readonly #browser = new FakeBrowser((ms, callback) => this.#world.after(ms, callback));
  readonly #tabs: Tab[] = [];
  readonly #transport: "wait" | "poll" | "events";
  /** Whether a proxy ends waits after 10 seconds. */
  readonly #hasProxy: boolean;
  /** Whether answers of the server may be old or wrong. Otherwise the application lags. No stamp helps against both. */
  readonly #hasLies: boolean;
  /** Whether there are too many keys for one request. */
  readonly #isSplit: boolean;
  /** The longest delay of a fetch that a change causes. */
  readonly #jitter: number;
  readonly #viewers = new Set<Viewer>();
  readonly #tally: Tally = { requests: 0, fetches: 0, writes: 0 };
  readonly #problems: string[] = [];
  readonly #answers: unknown[] = [];
  #server: RealityServer;
  #values = new Map<string, number>(KEYS.map((key) => [key, 0]));
  #versions = new Map<string, number>();
  #epoch = "";
  #states: DataState[] = [];
  #isChaos = true;
  #names = 0;

  constructor(seed: number, module: ClientModule) {
    this.#module = module;
    const random = this.#random = new SeededRandom(seed);
    this.#transport = random.pick(["wait", "wait", "wait", "poll", "events"]);
    this.#hasProxy = random.happens(0.3);
    this.#hasLies = random.happens(0.5);
    this.#isSplit = random.happens(0.2);
    this.#jitter = random.pick([0, 0, 2_000, 20_000]);
    this.#server = this.#createServer();
    const tabs = random.happens(0.4) ? random.between(2, 4) : 1;
    while (this.#tabs.length < tabs) this.#open(tabs > 1);
  }

  /** Opens a tab. */
  #open(sharesWithOthers: boolean): void {
    const fake = this.#browser.open();
    const page = Object.assign(new FakePage(), sharesWithOthers && { tabs: fake });
    const clock = new MachineClock(this.#world, this.#random.fork(`tab ${++this.#names}`));
    const client = this.#module.createClient({
      url: "http://localhost/reality",
      transport: this.#transport,
      clock,
      page,
      tabs: true,
      maxKeys: this.#isSplit ? 2 : 1_000,
      refetchJitter: this.#jitter,
      onError: () => {},
      onUnauthorized: () => this.#renew(tab),
      fetch: (url, init) =>
        init!.body ? this.#fetch(tab, init!) : this.#openStream(tab, String(url), init!.signal!),
    });
    const tab: Tab = { fake, page, clock, client, notBefore: 0, open: 0 };
    this.#tabs.push(tab);
  }

  /** The token is renewed: at once, or later, when the application calls `nudge()`. */
  #renew({ client }: Tab): Promise<boolean> {
    const kind = this.#random.pick(["at once", "later", "broken"]);
    if (kind === "at once") return Promise.resolve(true);
    this.#world.after(this.#random.between(0, 2_000), () => client.nudge());
    if (kind === "broken") throw new Error("The application cannot renew the token");
    return Promise.resolve(false);
  }

  /** Ends a tab without its cooperation, and opens another one. */
  #crash(tab: Tab): void {
    this.#tabs.splice(this.#tabs.indexOf(tab), 1);
    for (const viewer of this.#viewers) if (viewer.tab === tab) this.#viewers.delete(viewer);
    tab.fake.crash();
    tab.client.close();
    this.#open(true);
  }

  describe(): string {
    return `${this.#transport}${this.#hasProxy ? " behind a proxy" : ""}${
      this.#isSplit ? ", split" : ""
    }, jitter ${this.#jitter}, ${this.#tabs.length} tabs`;
  }

  async run(): Promise<Tally> {
    await streamsModule.load();
    await this.#readEpoch();
    this.#record();
    for (let i = 0; i < 3; i++) this.#add();
    const end = this.#world.now() + CHAOS_MS;
    while (this.#world.now() < end) {
      await this.#act();
      await this.#advance(this.#random.pick([0, 3, 50, 400, 3_000]));
    }
    this.#isChaos = false;
    for (const { fake, page } of this.#tabs) {
      fake.goOn();
      page.become("active");
    }
    await this.#advance(HEALING_MS + this.#jitter);
    this.#checkShown("after healing");
    await this.#checkQuiet();
    await this.#checkOneChange();
    await this.#checkNewViewer();
    // The clients are closed while fetches are delayed.
    await this.#advance(5_000);
    await this.#write(this.#random.pick(KEYS));
    await this.#advance(50);
    if (this.#problems.length > 0) throw new Error(this.#problems[0]);
    return this.#tally;
  }

  async close(): Promise<void> {
    for (const { client } of this.#tabs) client.close();
    await this.#server.close();
    await settleAll(() => false);
    for (const { clock, page } of this.#tabs) {
      if (clock.timers > 0) throw new Error(`The closed client has ${clock.timers} timers`);
      if (page.listeners > 0) throw new Error("The closed client listens to the page");
    }
    if (this.#browser.channels.size > 0) throw new Error("The closed clients have open channels");
    if (this.#browser.leader) throw new Error("The closed clients have locks");
  }

  /** What is shown must be what is stored. */
  #checkShown(when: string): void {
    for (const { name, isStamped, shown, keys, checkEnd } of this.#viewers) {
      checkEnd();
      for (const key of keys()) {
        const [is, should] = [shown.get(key), this.#values.get(key)];
        // A listener without stamps does not notice a key that is created, fetched and deleted between two answers.
        if (should === 0 && !isStamped) continue;
        if (is !== should) throw new Error(`${name} shows ${is} of ${key} ${when}, stored is ${should}`);
      }
    }
  }

  /** Without a change nothing is fetched, and little is asked. */
  async #checkQuiet(): Promise<void> {
    const before = { ...this.#tally };
    await this.#advance(60_000);
    if (this.#tally.fetches > before.fetches) throw new Error("Data was fetched although nothing changed");
    const requests = this.#tally.requests - before.requests;
    const parts = this.#isSplit ? KEYS.length / 2 : 1;
    // Tabs share requests that wait. Behind a proxy, the one that it ends is followed by one of each tab.
    const tabs = this.#tabs.length;
    const most = (this.#transport === "poll" ? 14 * tabs : this.#hasProxy ? 14 + 6 * tabs : 6) * parts;
    if (requests > most) throw new Error(`There were ${requests} requests in a minute without changes`);
  }

  /** One change is fetched once by each viewer that depends on it, and soon. */
  async #checkOneChange(): Promise<void> {
    const key = this.#random.pick(KEYS);
    const before = new Map([...this.#viewers].map((viewer) => [viewer, viewer.fetches]));
    const followers = [...this.#viewers].filter((viewer) => [...viewer.keys()].includes(key));
    await this.#write(key);
    // The server ends waits up to a sixteenth sooner. A part of a split question that has ended is asked again with the others.
    const waiting = this.#hasProxy ? 3_000 : this.#isSplit ? 500 + 20_000 / 16 : 500;
    const bound = this.#transport === "poll" ? 7_000 : waiting;
    await this.#advance(bound + this.#jitter);
    for (const [viewer, fetches] of before) {
      const expected = followers.includes(viewer) ? 1 : 0;
      const actual = viewer.fetches - fetches;
      if (actual !== expected) {
        throw new Error(`${viewer.name} fetched ${actual} times after one change, expected ${expected}`);
      }
    }
    this.#checkShown("after one change");
  }

  /** A new viewer is told at once, also in the middle of a wait, and fetches without a delay. */
  async #checkNewViewer(): Promise<void> {
    await this.#advance(3_000);
    this.#add();
    await this.#advance(this.#hasProxy ? 3_000 : 500);
    this.#checkShown("after a viewer came");
  }

  /** One random thing happens. */
  async #act(): Promise<void> {
    const random = this.#random;
    const dice = random.next();
    if (dice < 0.45) return await this.#write(random.pick(KEYS));
    if (dice < 0.55) return this.#add();
    if (dice < 0.65 && this.#viewers.size > 1) {
      const viewer = random.pick([...this.#viewers]);
      this.#viewers.delete(viewer);
      return viewer.stop();
    }
    const tab = random.pick(this.#tabs);
    if (dice < 0.72) return tab.page.become(random.pick(["active", "active", "hidden", "offline"]));
    if (dice < 0.76) return tab.client.nudge();
    if (dice < 0.78) tab.clock.skew += 3_600_000;
    if (dice > 0.8 && dice < 0.84 && this.#tabs.length > 1) return this.#crash(tab);
    if (dice > 0.84 && dice < 0.88 && this.#tabs.length > 1) {
      tab.fake.hang();
      this.#world.after(random.between(500, 30_000), () => tab.fake.goOn());
    }
    if (dice > 0.89 && dice < 0.93 && this.#viewers.size > 0) random.pick([...this.#viewers]).disturb();
    if (dice > 0.94) await this.#replaceServer();
  }

  async #advance(ms: number): Promise<void> {
    const until = this.#world.now() + ms;
    do await settleAll(() => false); while (this.#world.step(until));
    await settleAll(() => false);
    if (this.#problems.length > 0) throw new Error(this.#problems[0]);
  }

  // The application.

  /** Changes a value and its node. A key whose node is deleted has the value 0: there is nothing to show. */
  async #write(key: string): Promise<void> {
    const value = ++this.#tally.writes;
    const isDeletion = this.#versions.get(key) && this.#random.happens(0.15);
    this.#values.set(key, isDeletion ? 0 : value);
    if (this.#random.happens(0.5)) await this.#advance(1);
    if (isDeletion) await this.#server.deleteNode(key);
    else await this.#server.updateNode(key, `${value}`);
    const { changed } = await this.#server.handleSync({ known: Object.fromEntries([[key, 0]]) });
    this.#versions.set(key, Object.hasOwn(changed, key) ? changed[key]!.version : 0);
    this.#record();
  }

  /** Keeps the state of the data, which a replica that lags still has later. */
  #record(): void {
    this.#states = [...this.#states.slice(-5), this.#newest()];
  }

  /** The data now. Versions are read before it, so during a write they are lower. */
  #newest(): DataState {
    const versions = Object.fromEntries(KEYS.map((key) => [key, this.#versions.get(key) ?? 0]));
    return { values: new Map(this.#values), stamp: { epoch: this.#epoch, versions } };
  }

  /** Fetches data: sometimes slowly, in vain, without an end, or from a replica that lags. */
  async #load(signal: AbortSignal, mayLag: boolean): Promise<DataState> {
    const random = this.#random;
    this.#tally.fetches++;
    // No fetch ends within the task that began it.
    await this.#world.wait(0);
    if (!this.#isChaos) return this.#newest();
    if (random.happens(0.3)) await this.#world.wait(random.between(0, 2_000));
    if (random.happens(0.03)) await new Promise(() => {});
    if (random.happens(0.1)) throw new Error("The application is down");
    const state = mayLag && !this.#hasLies && random.happens(0.3)
      ? random.pick(this.#states)
      : this.#states.at(-1)!;
    if (random.happens(0.3)) await this.#world.wait(random.between(0, 2_000));
    signal.throwIfAborted();
    return state;
  }

  /** Data with the stamp of another server, which has a change of a key, and loses it before any other server gets it. */
  #makeAhead({ values, stamp }: DataState, key: string): DataState {
    const version = stamp.versions[key]! + LOST_AHEAD;
    return { values, stamp: { ...stamp, versions: { ...stamp.versions, [key]: version } } };
  }

  async #readEpoch(): Promise<void> {
    ({ epoch: this.#epoch } = await this.#server.handleSync({ known: {} }));
  }

  // The page.

  /** Adds a subscription of some kind. */
  #add(): void {
    const keys = this.#random.shuffle(KEYS).slice(0, this.#random.between(1, 3));
    const kind = this.#random.pick(["follow", "stamped", "initial", "live", "keyed"] as const);
    /** Whether its data has stamps. Otherwise it knows of no key that is created, fetched and deleted between two answers. */
    const isStamped = kind !== "follow" && kind !== "keyed";
    const tab = this.#random.pick(this.#tabs);
    const viewer: Viewer = {
      tab,
      name: `${kind} ${++this.#names}`,
      isStamped,
      shown: new Map(),
      fetches: 0,
      isFetching: false,
      hasLost: false,
      keys: () => keys,
      stop: () => {},
      disturb: () => {},
      checkEnd: () => {},
    };
    this.#viewers.add(viewer);
    const show = (values: ReadonlyMap<string, number>) => {
      for (const key of keys) {
        const [before, value] = [viewer.shown.get(key) ?? 0, values.get(key)!];
        // A listener that sends stamps shows what it fetches. Only the others can be kept from going back.
        const mayGoBack = kind === "stamped" || kind === "initial" || viewer.hasLost;
        if (value < before && value > 0 && !mayGoBack) {
          this.#problems.push(`${viewer.name} went back from ${before} to ${value} of ${key}`);
        }
        viewer.shown.set(key, value);
      }
    };
    const stampOf = ({ stamp }: DataState): DataStamp => ({
      ...stamp,
      versions: Object.fromEntries(Object.entries(stamp.versions).filter(([key]) => keys.includes(key))),
    });
    const fetchFor = async (signal: AbortSignal, mayLag: boolean): Promise<DataState> => {
      if (viewer.isFetching) this.#problems.push(`${viewer.name} has two fetches at once`);
      viewer.isFetching = true;
      viewer.fetches++;
      signal.addEventListener("abort", () => viewer.isFetching = false);
      try {
        const state = await this.#load(signal, mayLag);
        if (!isStamped || !this.#isChaos || this.#hasLies || !this.#random.happens(0.15)) return state;
        viewer.hasLost = true;
        return this.#makeAhead(state, this.#random.pick(keys));
      } finally {
        if (!signal.aborted) viewer.isFetching = false;
      }
    };
    if (kind === "live" || kind === "keyed") {
      const data = this.#random.pick(this.#states);
      const store = tab.client.live<DataState>(({ signal }) => fetchFor(signal, isStamped), {
        ...(isStamped ? { stamp: stampOf } : { keys }),
        ...(this.#random.happens(0.5) && { initial: { data, ...(isStamped && { stamp: stampOf(data) }) } }),
        keepPrevious: this.#random.happens(0.7),
      });
      const subscribe = () => {
        // Components are mounted twice in the strict mode of React.
        if (this.#random.happens(0.3)) store.subscribe(() => {})();
        const stop = store.subscribe(({ data }) => data && show(data.values));
        viewer.stop = () => {
          stop();
          viewer.isFetching = false;
        };
      };
      viewer.disturb = () => {
        if (this.#random.happens(0.5)) return store.refresh();
        viewer.stop();
        subscribe();
      };
      viewer.checkEnd = () => {
        const { data, state } = store.getSnapshot();
        if (data === undefined || state !== "live") {
          this.#problems.push(`${viewer.name} is ${state} in the end`);
        }
      };
      subscribe();
      return;
    }
    const listener = async (_: ReadonlyMap<string, KeyChange>, { signal }: { signal: AbortSignal }) => {
      const state = await fetchFor(signal, isStamped);
      show(state.values);
      return isStamped ? stampOf(state) : undefined;
    };
    const first = this.#random.pick(this.#states);
    if (kind === "initial") show(first.values);
    viewer.stop = tab.client.follow(keys, listener, kind === "initial" ? { initial: stampOf(first) } : {});
  }

  // What is between the client and the server.

  /** Carries a stream, which may begin late, be cut, or hang. */
  async #openStream(tab: Tab, url: string, signal: AbortSignal): Promise<Response> {
    const random = this.#random;
    const fails = (probability: number) => this.#isChaos && random.happens(probability);
    this.#tally.requests++;
    if (tab.page.current !== "active") {
      this.#problems.push(`A stream was opened by a page that is ${tab.page.current}`);
    }
    if (fails(0.3)) await this.#world.wait(random.between(0, 2_000));
    signal.throwIfAborted();
    if (fails(0.05)) throw new TypeError("No network");
    if (fails(0.03)) return new Response("<html>", { status: random.pick([500, 502, 401]) });
    const { body } = await createFetchHandler(this.#server)(new Request(url, { signal }));
    const reader = body!.getReader();
    const cut = fails(0.3) ? this.#world.wait(random.between(0, 20_000)) : new Promise<never>(() => {});
    const hangs = fails(0.1);
    signal.addEventListener("abort", () => void reader.cancel().catch(() => {}));
    const carried = new ReadableStream<Uint8Array>({
      pull: async (controller) => {
        if (fails(0.2)) await this.#world.wait(random.between(0, 2_000));
        const part = await Promise.race([reader.read(), cut]);
        if (hangs) await cut;
        if (part?.value) return controller.enqueue(part.value);
        if (!part) void reader.cancel().catch(() => {});
        controller.close();
      },
      cancel: () => void reader.cancel().catch(() => {}),
    });
    return new Response(carried);
  }

  async #fetch(tab: Tab, { body, signal }: RequestInit): Promise<Response> {
    const request: SyncRequest = JSON.parse(String(body));
    this.#tally.requests++;
    if (tab.page.current !== "active") {
      this.#problems.push(`A request was sent by a page that is ${tab.page.current}`);
    }
    if (Object.keys(request.known).length === 0) this.#problems.push("A request without keys was sent");
    // A little less, since timers count whole milliseconds.
    if (this.#world.now() < tab.notBefore - 1 && !this.#isSplit) {
      this.#problems.push("A pause that the server asked for was not kept");
    }
    if (++tab.open > (this.#isSplit ? KEYS.length / 2 : 1)) {
      this.#problems.push("Several requests were sent at once");
    }
    let close = () => {
      tab.open--;
      close = () => {};
    };
    signal!.addEventListener("abort", () => close());
    try {
      const response = await this.#carry(tab, request, signal!);
      await new Promise<void>((resolve) => tab.fake.run(resolve));
      return response;
    } finally {
      close();
    }
  }

  async #carry(tab: Tab, request: SyncRequest, signal: AbortSignal): Promise<Response> {
    const random = this.#random;
    const wait = request.wait ?? 0;
    const fails = (probability: number) => this.#isChaos && random.happens(probability);
    if (fails(0.2)) await this.#world.wait(random.between(0, 2_000));
    if (fails(0.03)) throw new TypeError("No network");
    if (fails(0.02)) await new Promise(() => {});
    if (fails(0.03)) return answer(random.pick([500, 502, 401]), "<html>");
    if (fails(0.01)) return answer(200, "<html>");
    if (fails(0.03)) {
      const seconds = random.between(1, 5);
      const status = random.pick([429, 503]);
      return answer(status, {}, {
        retryAfter: `${seconds}`,
        onRead: () => this.#rest(tab, seconds * 1_000, signal),
      });
    }
    if (this.#hasLies && fails(0.05) && this.#answers.length > 0) {
      return answer(200, random.pick(this.#answers));
    }
    const cut = this.#hasProxy && wait > 10_000 ? this.#world.wait(10_000) : new Promise<never>(() => {});
    let result: SyncResponse | void;
    try {
      result = await Promise.race([this.#server.handleSync(request, { signal }), cut]);
    } catch (error) {
      signal.throwIfAborted();
      return answer(503, { error: { code: String(error) } });
    }
    if (result === undefined) return answer(504, "<html>");
    if (fails(0.2)) await this.#world.wait(random.between(0, 2_000));
    if (fails(0.03)) throw new TypeError("The connection was reset");
    if (this.#hasLies && fails(0.03)) result = { ...result, epoch: "wrong" };
    this.#answers.push(result);
    if (this.#answers.length > 4) this.#answers.shift();
    const { pause = 0 } = result;
    return answer(200, result, { onRead: () => this.#rest(tab, pause, signal) });
  }

  /** From now on the client must not ask for so many milliseconds, unless it has aborted the request before. */
  #rest(tab: Tab, ms: number, signal: AbortSignal): void {
    if (signal.aborted) return;
    tab.notBefore = Math.max(tab.notBefore, this.#world.now() + ms);
  }

  #createServer(): RealityServer {
    const clock = new MachineClock(this.#world, this.#random.fork(`server ${this.#names}`));
    return new RealityServer({ storage: new MemoryStorage({ counter: "sequential" }), clock });
  }

  /** All data is erased: there is another epoch, and versions begin at 1 again. */
  async #replaceServer(): Promise<void> {
    const before = this.#server;
    this.#server = this.#createServer();
    this.#versions = new Map();
    this.#values = new Map(KEYS.map((key) => [key, 0]));
    await this.#readEpoch();
    this.#record();
    const closed = before.close();
    await this.#advance(0);
    await closed;
  }
}

/** What the client uses of a response. Calls back when it is read: what is aborted before is not read. */
function answer(
  status: number,
  body: unknown,
  { retryAfter = null, onRead = () => {} }: { retryAfter?: string | null; onRead?: () => void } = {},
): Response {
  const response = {
    ok: status === 200,
    status,
    body: null,
    headers: {
      get: () => {
        onRead();
        return retryAfter;
      },
    },
    async json() {
      if (typeof body === "string") throw new SyntaxError("Not JSON");
      onRead();
      return await body;
    },
  };
  return response as unknown as Response;
}
