/**
 * The counters of one server. Counting runs at every request, so it allocates nothing.
 *
 * @module
 */

/** A number that only grows. */
export class Counter {
  /** The current value. */
  value = 0;
}

/** Counters by name. The names are constants of this package and never come from a request. */
export class CounterFamily {
  readonly #counters = new Map<string, Counter>();

  /** Increments the counter of a name. */
  add(name: string): void {
    let counter = this.#counters.get(name);
    if (counter === undefined) this.#counters.set(name, counter = new Counter());
    counter.value++;
  }

  /** The value of a name. */
  get(name: string): number {
    return this.#counters.get(name)?.value ?? 0;
  }

  /** The sum of all counters. */
  get total(): number {
    let total = 0;
    for (const { value } of this.#counters.values()) total += value;
    return total;
  }

  /** Name and value, sorted by name. */
  get entries(): [name: string, value: number][] {
    const entries = [...this.#counters].map(([name, { value }]): [string, number] => [name, value]);
    return entries.sort(([a], [b]) => a < b ? -1 : 1);
  }
}

/** Counts answers by route and status. */
export class RequestCounts {
  readonly #routes = new Map<RouteName, Map<number, Counter>>();

  /** Counts one answer. */
  add(route: RouteName, status: number): void {
    let statuses = this.#routes.get(route);
    if (statuses === undefined) this.#routes.set(route, statuses = new Map<number, Counter>());
    let counter = statuses.get(status);
    if (counter === undefined) statuses.set(status, counter = new Counter());
    counter.value++;
  }

  /** The number of all answers. */
  get total(): number {
    return this.entries.reduce((sum, [, , value]) => sum + value, 0);
  }

  /** Route, status and count, sorted by route and status. */
  get entries(): [route: RouteName, status: number, value: number][] {
    const entries = [...this.#routes].flatMap(([route, statuses]) =>
      [...statuses].map(([status, { value }]): [RouteName, number, number] => [route, status, value])
    );
    return entries.sort(([a, x], [b, y]) => a === b ? x - y : a < b ? -1 : 1);
  }
}

/** The distribution of observed numbers over fixed buckets. */
export class Histogram {
  /** The upper bounds of the buckets, in rising order. One more bucket holds the numbers above the last bound. */
  readonly bounds: readonly number[];
  readonly #counts: Float64Array;
  /** A separate array, because a plain field would allocate an object for each fractional sum. */
  readonly #sum: Float64Array = new Float64Array(1);

  /** @param bounds The upper bounds of the buckets, in rising order. */
  constructor(bounds: readonly number[]) {
    this.bounds = bounds;
    this.#counts = new Float64Array(bounds.length + 1);
  }

  /** Adds a number to its bucket. A negative number counts as 0. */
  observe(value: number): void {
    const { bounds } = this;
    let i = 0;
    while (i < bounds.length && value > bounds[i]!) i++;
    this.#counts[i]!++;
    if (value > 0) this.#sum[0]! += value;
  }

  /** The count of each bucket. The last one holds the numbers above all bounds. */
  get counts(): readonly number[] {
    return [...this.#counts];
  }

  /** The number of observed numbers. */
  get count(): number {
    return this.#counts.reduce((sum, count) => sum + count, 0);
  }

  /** The sum of the observed numbers. */
  get sum(): number {
    return this.#sum[0]!;
  }
}

/** Histograms with the same buckets, by name. The names are constants of this package. */
export class HistogramFamily {
  readonly #bounds: readonly number[];
  readonly #histograms = new Map<string, Histogram>();

  /** @param bounds The upper bounds of the buckets, in rising order. */
  constructor(bounds: readonly number[]) {
    this.#bounds = bounds;
  }

  /** Adds a number to the histogram of a name. */
  observe(name: string, value: number): void {
    let histogram = this.#histograms.get(name);
    if (histogram === undefined) {
      histogram = new Histogram(this.#bounds);
      this.#histograms.set(name, histogram);
    }
    histogram.observe(value);
  }

  /** Name and histogram, sorted by name. */
  get entries(): [name: string, histogram: Histogram][] {
    return [...this.#histograms].sort(([a], [b]) => a < b ? -1 : 1);
  }
}

/** The route of a request: the last part of its path, or its kind. */
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

/**
 * How a wait ended: by a change, at its deadline, because the server closed, because the client disconnected, or by a
 * failure.
 */
export type WaitOutcome = "wake" | "timeout" | "closed" | "gone" | "failed";

/** Why a stream ended. */
export type StreamReason = "gone" | "lifetime" | "rights" | "closed" | "full" | "stalled" | "failed";

/** Durations in milliseconds, from a storage in memory to one that almost times out. */
const DURATIONS: readonly number[] = [1, 2, 5, 10, 25, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000];

/** Durations of waits in milliseconds, up to the usual time limits of proxies. */
const WAITS: readonly number[] = [10, 100, 500, 1_000, 2_500, 5_000, 10_000, 15_000, 20_000, 25_000, 60_000];

/** Numbers of keys or nodes in a request or a storage call. */
const SIZES: readonly number[] = [1, 2, 5, 10, 25, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000];

/** Everything that one server counts. Durations are in milliseconds. */
export class Metrics {
  /** Requests by route and status; 499 stands for a client that disconnected before the answer. */
  readonly requests: RequestCounts = new RequestCounts();
  /** Durations of requests that did not wait, by route. */
  readonly requestDurations: HistogramFamily = new HistogramFamily(DURATIONS);
  /** Requests that were refused or failed, by code. */
  readonly refusals: CounterFamily = new CounterFamily();

  /** Sync requests that were accepted. */
  readonly syncs: Counter = new Counter();
  /** The number of keys in each of them. */
  readonly syncKeys: Histogram = new Histogram(SIZES);
  /** Keys that syncs reported as changed. */
  readonly changedKeys: Counter = new Counter();
  /** Syncs that began to wait. */
  readonly waitsBegun: Counter = new Counter();
  /** Waits that have ended, by {@linkcode WaitOutcome}. */
  readonly waitsEnded: CounterFamily = new CounterFamily();
  /** The durations of these waits. */
  readonly waitDurations: Histogram = new Histogram(WAITS);

  /** Streams that have begun. */
  readonly streamsBegun: Counter = new Counter();
  /** Streams that have ended, by {@linkcode StreamReason}. */
  readonly streamsEnded: CounterFamily = new CounterFamily();

  /** Responses that were cut off because their clients did not read them. */
  readonly responsesCut: Counter = new Counter();

  /** Nodes that were changed through this server. */
  readonly changes: Counter = new Counter();

  /** The number of keys in each read of the storage. */
  readonly readSizes: Histogram = new Histogram(SIZES);
  /** The number of nodes in each commit. */
  readonly writeSizes: Histogram = new Histogram(SIZES);
  /** Durations of storage calls, by operation. */
  readonly storageDurations: HistogramFamily = new HistogramFamily(DURATIONS);
  /** Storage calls that failed, by operation. */
  readonly storageFailures: CounterFamily = new CounterFamily();
}
