/**
 * What one server counts about itself. Counting allocates nothing and asks nothing: it is done at every request.
 *
 * @module
 */

/** A number that only grows. */
export class Counter {
  /** How much has been counted. */
  value = 0;
}

/** Counters by name; the names come from this package's own code, never from a request. */
export class CounterFamily {
  readonly #counters = new Map<string, Counter>();

  /** Counts one more of this name. */
  add(name: string): void {
    let counter = this.#counters.get(name);
    if (counter === undefined) this.#counters.set(name, counter = new Counter());
    counter.value++;
  }

  /** What was counted of this name. */
  get(name: string): number {
    return this.#counters.get(name)?.value ?? 0;
  }

  /** What was counted of all names together. */
  get total(): number {
    let total = 0;
    for (const { value } of this.#counters.values()) total += value;
    return total;
  }

  /** Name and count, by name. */
  get entries(): [name: string, value: number][] {
    const entries = [...this.#counters].map(([name, { value }]): [string, number] => [name, value]);
    return entries.sort(([a], [b]) => a < b ? -1 : 1);
  }
}

/** Answers by route and status. */
export class RequestCounts {
  readonly #routes = new Map<RouteName, Map<number, Counter>>();

  /** Counts one more. */
  add(route: RouteName, status: number): void {
    let statuses = this.#routes.get(route);
    if (statuses === undefined) this.#routes.set(route, statuses = new Map<number, Counter>());
    let counter = statuses.get(status);
    if (counter === undefined) statuses.set(status, counter = new Counter());
    counter.value++;
  }

  /** How many there were in all. */
  get total(): number {
    return this.entries.reduce((sum, [, , value]) => sum + value, 0);
  }

  /** Route, status and count, by route and status. */
  get entries(): [route: RouteName, status: number, value: number][] {
    const entries = [...this.#routes].flatMap(([route, statuses]) =>
      [...statuses].map(([status, { value }]): [RouteName, number, number] => [route, status, value])
    );
    return entries.sort(([a, x], [b, y]) => a === b ? x - y : a < b ? -1 : 1);
  }
}

/** How observed numbers are spread over fixed buckets. */
export class Histogram {
  /** The upper bounds of the buckets, rising; what lies above the last one is in one more bucket. */
  readonly bounds: readonly number[];
  readonly #counts: Float64Array;
  /** In an array of its own: a plain field would make a new object of each sum with a fraction. */
  readonly #sum: Float64Array = new Float64Array(1);

  /** @param bounds The upper bounds of the buckets, rising. */
  constructor(bounds: readonly number[]) {
    this.bounds = bounds;
    this.#counts = new Float64Array(bounds.length + 1);
  }

  /** Puts a number into its bucket. One below 0 counts as 0. */
  observe(value: number): void {
    const { bounds } = this;
    let i = 0;
    while (i < bounds.length && value > bounds[i]!) i++;
    this.#counts[i]!++;
    if (value > 0) this.#sum[0]! += value;
  }

  /** How many numbers lie in each bucket; the last is for those above all bounds. */
  get counts(): readonly number[] {
    return [...this.#counts];
  }

  /** How many numbers were observed. */
  get count(): number {
    return this.#counts.reduce((sum, count) => sum + count, 0);
  }

  /** The sum of what was observed. */
  get sum(): number {
    return this.#sum[0]!;
  }
}

/** Histograms with the same buckets, by name; the names come from this package's own code. */
export class HistogramFamily {
  readonly #bounds: readonly number[];
  readonly #histograms = new Map<string, Histogram>();

  /** @param bounds The upper bounds of the buckets, rising. */
  constructor(bounds: readonly number[]) {
    this.#bounds = bounds;
  }

  /** Puts a number into the histogram of this name. */
  observe(name: string, value: number): void {
    let histogram = this.#histograms.get(name);
    if (histogram === undefined) {
      histogram = new Histogram(this.#bounds);
      this.#histograms.set(name, histogram);
    }
    histogram.observe(value);
  }

  /** Name and histogram, by name. */
  get entries(): [name: string, histogram: Histogram][] {
    return [...this.#histograms].sort(([a], [b]) => a < b ? -1 : 1);
  }
}

/** Where a request went: the last part of its path, or what else it turned out to be. */
export type RouteName =
  | "sync"
  | "exchange"
  | "events"
  | "update"
  | "invalidate"
  | "nodes"
  | "health"
  | "ready"
  | "metrics"
  | "openapi"
  | "none";

/** How a wait ended: with news, at its deadline, with the server, with the client, or with a failure. */
export type WaitOutcome = "wake" | "timeout" | "closed" | "gone" | "failed";

/** Why a stream ended. */
export type StreamReason = "gone" | "lifetime" | "rights" | "closed" | "full" | "stalled" | "failed";

/** Durations in milliseconds, from a storage in memory to one that is about to fail. */
const DURATIONS: readonly number[] = [1, 2, 5, 10, 25, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000];

/** Waits in milliseconds: up to what proxies let pass. */
const WAITS: readonly number[] = [10, 100, 500, 1_000, 2_500, 5_000, 10_000, 15_000, 20_000, 25_000, 60_000];

/** How many keys or nodes one request or one call of the storage is about. */
const SIZES: readonly number[] = [1, 2, 5, 10, 25, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000];

/** All that one server counts. Durations are in milliseconds here. */
export class Metrics {
  /** Requests by route and status; 499 stands for a client that went away first. */
  readonly requests: RequestCounts = new RequestCounts();
  /** How long requests took that did not wait, by route. */
  readonly requestDurations: HistogramFamily = new HistogramFamily(DURATIONS);
  /** Requests that were turned down or failed, by code. */
  readonly refusals: CounterFamily = new CounterFamily();

  /** Sync requests that passed the desk. */
  readonly syncs: Counter = new Counter();
  /** How many keys each of them asked for. */
  readonly syncKeys: Histogram = new Histogram(SIZES);
  /** Keys that syncs told as changed. */
  readonly changedKeys: Counter = new Counter();
  /** Syncs that began to wait. */
  readonly waitsBegun: Counter = new Counter();
  /** Those whose wait is over, by {@linkcode WaitOutcome}. */
  readonly waitsEnded: CounterFamily = new CounterFamily();
  /** How long they waited. */
  readonly waitDurations: Histogram = new Histogram(WAITS);

  /** Streams that were begun. */
  readonly streamsBegun: Counter = new Counter();
  /** Those that are over, by {@linkcode StreamReason}. */
  readonly streamsEnded: CounterFamily = new CounterFamily();

  /** Responses cut off that clients did not take. */
  readonly responsesCut: Counter = new Counter();

  /** Nodes changed through this server. */
  readonly changes: Counter = new Counter();

  /** How many keys each read of the storage asked for. */
  readonly readSizes: Histogram = new Histogram(SIZES);
  /** How many nodes each commit had. */
  readonly writeSizes: Histogram = new Histogram(SIZES);
  /** How long calls of the storage took, by operation. */
  readonly storageDurations: HistogramFamily = new HistogramFamily(DURATIONS);
  /** Calls of the storage that failed, by operation. */
  readonly storageFailures: CounterFamily = new CounterFamily();
}
