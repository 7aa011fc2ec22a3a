/**
 * A client that shows a count for each key, and the times at which it showed them.
 *
 * @module
 */
import { type ClientOptions, createClient, parseStamp, type RealityClient } from "../../client/mod.ts";

/** How a viewer learns of changes, and whether it uses the stamps of the answers. */
export interface ViewerKind {
  readonly transport: "wait" | "poll" | "events";
  /** `live` and `follow with stamps` take over the stamp of each answer; `follow` ignores it. */
  readonly way: "live" | "follow with stamps" | "follow";
}

/** A count that a viewer has shown since some time of `performance.now()`. */
export interface Sight {
  readonly count: number;
  readonly at: number;
}

/** A client with one subscription for each key, so that a change of one key brings nothing new of another. */
export class Viewer {
  readonly name: string;
  /** Key → all counts that were shown, one after the other. */
  readonly sights: ReadonlyMap<string, readonly Sight[]>;
  /** How often a request was answered by another server than the one before. */
  hops = 0;
  #server: string | null = null;
  readonly #origin: string;
  readonly #client: RealityClient;
  #onSight: () => void = () => {};

  constructor(origin: string, keys: readonly string[], { transport, way }: ViewerKind) {
    this.name = `${way}, ${transport}`;
    this.#origin = origin;
    this.#client = createClient({
      url: `${origin}/reality`,
      transport,
      pollInterval: 300,
      fetch: this.#fetch,
      // Failures are part of the test: what counts is what is shown afterwards.
      onError: () => {},
    });
    this.sights = new Map(keys.map((key) => [key, [] as Sight[]]));
    for (const key of keys) {
      if (way === "live") {
        this.#client.live<number>(this.#addressOf(key)).subscribe(({ data }) => {
          if (data !== undefined) this.#show(key, data);
        });
      } else {
        this.#client.follow([key], async (_changed, { signal }) => {
          const response = await this.#fetch(this.#addressOf(key), { signal });
          const text = await response.text();
          if (!response.ok) throw new Error(text);
          this.#show(key, Number(text));
          return way === "follow" ? undefined : parseStamp(response.headers.get("reality-stamp"));
        });
      }
    }
  }

  /** Returns what is shown. */
  get shown(): Record<string, number | undefined> {
    return Object.fromEntries([...this.sights].map(([key, sights]) => [key, sights.at(-1)?.count]));
  }

  /** How often an older count was shown after a newer one. */
  get stepsBack(): number {
    return [...this.sights.values()].flatMap((sights) =>
      sights.filter(({ count }, i) => count < (sights[i - 1]?.count ?? 0))
    ).length;
  }

  /** Settles once these counts are shown, or after so many milliseconds. */
  async hasShown(counts: Record<string, number>, patience: number): Promise<void> {
    const keys = Object.keys(counts);
    const isReached = () => keys.every((key) => this.shown[key] === counts[key]);
    await new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, patience);
      this.#onSight = () => {
        if (!isReached()) return;
        clearTimeout(timer);
        resolve();
      };
      this.#onSight();
    });
  }

  close(): void {
    this.#client.close();
  }

  #addressOf(key: string): string {
    return `${this.#origin}/api/count?key=${key}`;
  }

  readonly #fetch: NonNullable<ClientOptions["fetch"]> = async (input, init) => {
    const response = await fetch(input, init);
    const server = response.headers.get("x-upstream");
    if (this.#server !== null && server !== this.#server) this.hops++;
    this.#server = server;
    return response;
  };

  #show(key: string, count: number): void {
    const sights = this.sights.get(key) as Sight[];
    if (sights.at(-1)?.count !== count) sights.push({ count, at: performance.now() });
    this.#onSight();
  }
}
