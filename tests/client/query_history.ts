/**
 * Histories of queries of the real TanStack Query beside a real server, with fetches that fail, hang, lag and overlap. A seed
 * decides all of it.
 *
 * @module
 */
import { stamped, type StampedData } from "../../client/tanstack_query.ts";
import { SeededRandom } from "../random.ts";
import { type Core, type FollowQueries, QueryScene, type Shown, type Values } from "./query_scene.ts";

const KEYS = ["a", "b", "c", "d"];
const KINDS = ["named", "stamped", "growing", "pages"] as const;
const STEPS = 60;
/** Longer than every pause that a failure causes. */
const HEALING_MS = 100_000;

/** A query of the application, shown or not. */
interface Member {
  readonly kind: (typeof KINDS)[number];
  readonly options: { readonly queryKey: readonly unknown[] } & Record<string, unknown>;
  shown: Shown | undefined;
  isEnabled: boolean;
}

/**
 * Runs one history.
 *
 * @throws {Error} If what a shown query has ends differently from what is stored, or is fetched too often at the end.
 */
export async function runQueryHistory(seed: number, core: Core, follow?: FollowQueries): Promise<void> {
  const random = new SeededRandom(seed);
  const refetchJitter = random.pick([0, 0, 2_000]);
  const options = { refetchTimeout: 4_000, refetchJitter, ...(follow && { follow }) };
  await using scene = new QueryScene(core, {}, options);
  const history = new History(random, scene, refetchJitter);
  try {
    await history.run();
  } catch (error) {
    throw new Error(`Seed ${seed}: ${(error as Error).message}`, { cause: error });
  } finally {
    core.onlineManager.setOnline(true);
  }
}

class History {
  readonly #random: SeededRandom;
  readonly #scene: QueryScene;
  /** The longest delay of a fetch that a change causes. */
  readonly #jitter: number;
  readonly #members: Member[] = [];
  /** Older answers, which a replica that lags still gives. */
  readonly #old = new Map<string, Response[]>();
  /** Ends the fetches that hang. One that the application began has no time limit. */
  readonly #hanging: ((error: Error) => void)[] = [];
  #isChaos = true;

  constructor(random: SeededRandom, scene: QueryScene, jitter: number) {
    this.#jitter = jitter;
    this.#random = random;
    this.#scene = scene;
    scene.intercept = () => {
      if (!this.#isChaos || !random.happens(0.1)) return undefined;
      return random.happens(0.5)
        ? Promise.reject(new TypeError("No network"))
        : new Response(null, { status: 502 });
    };
  }

  async run(): Promise<void> {
    const { clock } = this.#scene;
    await this.#scene.server.invalidateMany(KEYS);
    for (let i = 0; i < STEPS; i++) {
      await this.#act();
      await clock.advance(this.#random.pick([0, 1, 20, 200, 1_500]));
    }
    this.#isChaos = false;
    for (const end of this.#hanging) end(new Error("The connection was reset"));
    this.#scene.core.onlineManager.setOnline(true);
    await clock.advance(5_000);
    // A query that never had data is not followed. Its component shows an error, and a way to try again.
    for (const { shown } of this.#members) if (shown?.data === undefined) void shown?.observer.refetch();
    await clock.advance(HEALING_MS);
    this.#check("after healing");

    // What was hidden may be older than what is stored now.
    for (const member of this.#members) {
      if (!member.isEnabled) this.#enable(member);
      if (!member.shown) this.#show(member);
    }
    await clock.advance(10_000);
    this.#check("after all queries were shown");

    const before = this.#scene.loads.length;
    await clock.advance(60_000);
    if (this.#scene.loads.length > before) throw new Error("Data was fetched although nothing changed");
    const key = this.#random.pick(KEYS);
    const expected = this.#members.filter((member) => this.#keysOf(member).includes(key))
      .map((member) => member.kind === "pages" ? this.#keysOf(member).length : 1);
    await this.#scene.set(key);
    await clock.advance(1_000 + this.#jitter);
    this.#check("after one change");
    const [actual, most] = [this.#scene.loads.length - before, expected.reduce((sum, own) => sum + own, 0)];
    if (actual !== most) throw new Error(`One change caused ${actual} fetches, expected ${most}`);
  }

  /** One random thing happens. */
  async #act(): Promise<void> {
    const { queryClient, core } = this.#scene;
    const random = this.#random;
    const dice = random.next();
    if (dice < 0.4) return await this.#scene.set(random.pick(KEYS));
    if (dice < 0.5 || this.#members.length === 0) return this.#add();
    if (dice < 0.52) return core.onlineManager.setOnline(random.happens(0.7));
    const member = random.pick(this.#members);
    const { shown, options: { queryKey } } = member;
    if (dice < 0.64) {
      if (!shown) return this.#show(member);
      shown.hide();
      member.shown = undefined;
    } else if (dice < 0.7) this.#enable(member);
    else if (dice < 0.74) void shown?.observer.refetch();
    else if (dice < 0.78 && member.kind === "pages") void shown?.fetchNextPage();
    else if (dice < 0.82) void queryClient.invalidateQueries({ queryKey });
    else if (dice < 0.88) {
      await queryClient.cancelQueries({ queryKey });
      if (random.happens(0.5)) {
        queryClient.setQueryData(queryKey, (data: object | undefined) => data && { ...data });
      }
    } else if (dice < 0.91) {
      queryClient.setQueryData(queryKey, (data: object | undefined) => data && { ...data });
    } else if (dice < 0.94) void queryClient.resetQueries({ queryKey });
    else if (!shown) queryClient.removeQueries({ queryKey, exact: true });
  }

  #add(): void {
    const random = this.#random;
    const keys = random.shuffle(KEYS).slice(0, random.between(1, 2));
    const kind = random.pick(KINDS);
    const queryKey = [kind, ...keys, this.#members.length];
    const staleTime = random.pick([0, Infinity]);
    const load = (own: () => readonly string[], signal?: AbortSignal) =>
      this.#load(own, kind !== "named", this.#scene.queryClient.getQueryData(queryKey) !== undefined, signal);
    const fetchStamped = async (own: () => readonly string[], signal: AbortSignal) =>
      await stamped<Values>(await load(own, signal));
    const options = {
      named: {
        meta: { reality: keys },
        queryFn: async () => await (await load(() => keys)).json(),
      },
      stamped: { queryFn: ({ signal }: { signal: AbortSignal }) => fetchStamped(() => keys, signal) },
      growing: {
        queryFn: ({ signal }: { signal: AbortSignal }) => fetchStamped(() => this.#grow(keys[0]!), signal),
      },
      pages: {
        queryFn: ({ signal, pageParam }: { signal: AbortSignal; pageParam: number }) =>
          fetchStamped(() => [KEYS[pageParam]!], signal),
        initialPageParam: 0,
        getNextPageParam: (_page: unknown, _pages: unknown, last: number) => last < 2 ? last + 1 : undefined,
      },
    }[kind];
    const member = { kind, options: { queryKey, staleTime, ...options }, shown: undefined, isEnabled: true };
    this.#members.push(member);
    this.#show(member);
  }

  #show(member: Member): void {
    member.shown = this.#scene.show(
      { ...member.options, enabled: member.isEnabled },
      member.kind === "pages",
    );
  }

  #enable(member: Member): void {
    member.isEnabled = !member.isEnabled;
    member.shown?.observer.setOptions({ ...member.options, enabled: member.isEnabled } as never);
  }

  /** Which keys a growing query depends on: a second one while the value of the first is odd. */
  #grow(key: string): string[] {
    return (this.#scene.values[key] ?? 0) % 2 ? [key, KEYS[(KEYS.indexOf(key) + 1) % KEYS.length]!] : [key];
  }

  /** Which keys a query depends on now. */
  #keysOf({ kind, options: { queryKey } }: Member): string[] {
    if (kind === "growing") return this.#grow(`${queryKey[1]}`);
    if (kind !== "pages") return queryKey.slice(1, -1) as string[];
    const { pages } = this.#scene.queryClient.getQueryData<{ pages: unknown[] }>(queryKey) ?? { pages: [0] };
    return KEYS.slice(0, pages.length);
  }

  /** Answers from the state at the beginning, or from an older one, after a while, or never. */
  async #load(
    keys: () => readonly string[],
    mayLag: boolean,
    mayHang: boolean,
    signal?: AbortSignal,
  ): Promise<Response> {
    const random = this.#random;
    this.#scene.loads.push(keys().join());
    if (!this.#isChaos) return await this.#scene.answer(keys());
    if (random.happens(0.2)) await this.#wait(random.between(0, 1_000));
    if (random.happens(0.15)) throw new Error("The application is down");
    const name = keys().join();
    const old = this.#old.get(name) ?? [];
    this.#old.set(name, old);
    const response = await this.#scene.answer(keys());
    old.unshift(response.clone());
    const answered = mayLag && random.happens(0.2) ? random.pick(old.slice(0, 3)).clone() : response;
    // A fetch from before the end of the chaos does not begin to hang after it: nothing would end it in time.
    if (mayHang && this.#isChaos && random.happens(0.03)) {
      await new Promise((_, reject) => this.#hanging.push(reject));
    }
    if (random.happens(0.6)) await this.#wait(random.between(0, 2_000));
    if (random.happens(0.5)) signal?.throwIfAborted();
    return answered;
  }

  async #wait(ms: number): Promise<void> {
    await new Promise<void>((resolve) => this.#scene.clock.after(ms, resolve));
  }

  /** What each query that is shown and enabled has must be what is stored. */
  #check(when: string): void {
    for (const member of this.#members) {
      if (!member.shown || !member.isEnabled) continue;
      const { data } = member.shown;
      const parts = member.kind === "pages"
        ? (data as { pages: StampedData<Values>[] } | undefined)?.pages.map(({ data }) => data) ?? []
        : [member.kind === "named" ? data as Values : (data as StampedData<Values> | undefined)?.data];
      const has = JSON.stringify(Object.assign({}, ...parts));
      const should = JSON.stringify(
        Object.fromEntries(this.#keysOf(member).map((key) => [key, this.#scene.values[key] ?? 0])),
      );
      if (has !== should) {
        throw new Error(`${member.options.queryKey} has ${has} ${when}, stored is ${should}`);
      }
    }
  }
}
