/**
 * Keeps account of what happens in a server: counts it, and tells `onEvent` and `onError`.
 *
 * @module
 */
import type { Clock } from "../clock.ts";
import { type PeerError, RealityError, StorageError } from "../errors.ts";
import type { RealityEvent, StreamReason } from "./events.ts";
import { Metrics } from "./metrics.ts";
import { redactURL } from "../redact.ts";
import { RequestRecord } from "./request_record.ts";

/** Whom an account tells. */
export interface ObserverOptions {
  readonly clock: Clock;
  readonly onError: (error: RealityError) => void;
  /** Undefined: nobody is told, and no event is made. */
  readonly onEvent: ((event: RealityEvent) => void) | undefined;
  /** Whether events name keys and URLs. */
  readonly eventKeys: boolean;
  /** The URLs of the peers that were configured. */
  readonly peers: readonly string[];
}

/** The status by which a request is counted whose client went away before the answer. */
const GONE = 499;

/** One server's account. Nothing in it fails: an observer's mistake must not become a request's. */
export class Observer {
  /** What was counted. */
  readonly metrics: Metrics = new Metrics();
  readonly #options: ObserverOptions;
  readonly #peers: string[];
  #isStorageDown = false;

  /** @param options Whom it tells. */
  constructor(options: ObserverOptions) {
    this.#options = options;
    this.#peers = options.peers.map(redactURL);
  }

  /** Whether the storage failed at the last call that was made of it. */
  get isStorageDown(): boolean {
    return this.#isStorageDown;
  }

  /** Reports a failure in the background, or that it is over. */
  report(error: RealityError): void {
    callSafely(this.#options.onError, error);
  }

  /** Reports a peer that fails, or is well again. */
  reportPeer(error: PeerError): void {
    this.report(error);
    if (this.#options.onEvent === undefined) return;
    const { peer: url, recovered, code } = error;
    if (!this.#peers.includes(url)) this.#peers.push(url);
    this.#emit({
      type: "peer",
      at: this.#options.clock.now(),
      state: recovered ? "up" : "down",
      peer: this.#peers.indexOf(url),
      ...(recovered ? {} : { code }),
      ...(this.#options.eventKeys ? { url } : {}),
    });
  }

  /** Notes that Redis went bad or is well again. */
  recordRedis(isDown: boolean): void {
    if (this.#options.onEvent === undefined) return;
    this.#emit({ type: "redis", at: this.#options.clock.now(), state: isDown ? "down" : "up" });
  }

  /** Notes a call of the storage; reports once when it goes bad and once when it is well again. */
  recordStorage(operation: string, error: StorageError | undefined, ms: number): void {
    const { metrics } = this;
    metrics.storageDurations.observe(operation, ms);
    if (error !== undefined) metrics.storageFailures.add(operation);
    const isDown = error !== undefined;
    // A storage that says it is well may still fail at what is asked of it.
    if (isDown === this.#isStorageDown || !isDown && operation === "isHealthy") return;
    this.#isStorageDown = isDown;
    this.report(error ?? new StorageError(operation, undefined, true));
    if (this.#options.onEvent === undefined) return;
    this.#emit({
      type: "storage",
      at: this.#options.clock.now(),
      state: isDown ? "down" : "up",
      operation,
    });
  }

  /** Notes a request that has its answer, or whose client went away before it. */
  recordRequest(record: RequestRecord, method: string, answered: number): void {
    const { metrics } = this;
    const { clock, onEvent } = this.#options;
    const { route, code, keys, waited } = record;
    const isGone = record.outcome === "gone";
    const status = isGone ? GONE : answered;
    const at = clock.now();
    const ms = clock.elapsed() - record.startedAt;
    metrics.requests.add(route, status);
    if (record.waitStartedAt === undefined) metrics.requestDurations.observe(route, ms);
    if (code !== undefined && !isGone) metrics.refusals.add(code);
    if (onEvent === undefined) return;
    if (code !== undefined && !isGone) this.#emit({ type: "refusal", at, route, code, status });
    const why = code === undefined || isGone ? {} : { code };
    this.#emit({
      type: "request",
      at,
      route,
      method,
      status,
      ...why,
      ms,
      waited,
      ...this.#describeKeys(keys),
    });
  }

  /** A visit of a sync that came through no desk: only who is told of it needs to know when it came. */
  createRecord(): RequestRecord {
    return new RequestRecord(this.#options.onEvent === undefined ? 0 : this.#options.clock.elapsed());
  }

  /** Notes a sync that passed the desk. */
  beginSync(record: RequestRecord): void {
    this.metrics.syncs.value++;
    this.metrics.syncKeys.observe(record.keys.length);
  }

  /** Tells of a sync once it is over; gives back its answer. Costs nothing where nobody is told. */
  observeSync<T>(record: RequestRecord, answer: () => T | Promise<T>): T | Promise<T> {
    if (this.#options.onEvent === undefined) return answer();
    return (async () => await answer())().finally(() => {
      const { clock } = this.#options;
      const at = clock.now();
      const { startedAt, keys, changed, waited, outcome } = record;
      const ms = clock.elapsed() - startedAt;
      this.#emit({ type: "sync", at, ...this.#describeKeys(keys), changed, ms, waited, outcome });
    });
  }

  /** Makes a change, counts its nodes and tells of it. */
  observeChange<T extends readonly unknown[]>(
    getKeys: () => readonly string[],
    change: () => T | Promise<T>,
  ): T | Promise<T> {
    if (this.#options.onEvent !== undefined) return this.#emitChange(getKeys, change);
    const changed = change();
    return changed instanceof Promise
      ? changed.then((changed) => this.#count(changed))
      : this.#count(changed);
  }

  async #emitChange<T extends readonly unknown[]>(
    getKeys: () => readonly string[],
    change: () => T | Promise<T>,
  ): Promise<T> {
    const { clock } = this.#options;
    const startedAt = clock.elapsed();
    const tell = (more: { code: RealityError["code"] } | Record<never, never>) => {
      const ms = clock.elapsed() - startedAt;
      this.#emit({ type: "change", at: clock.now(), ...this.#describeKeys(getKeys()), ms, ...more });
    };
    let changed: T;
    try {
      changed = this.#count(await change());
    } catch (error) {
      if (error instanceof RealityError) tell({ code: error.code });
      throw error;
    }
    tell({});
    return changed;
  }

  #count<T extends readonly unknown[]>(changed: T): T {
    this.metrics.changes.value += changed.length;
    return changed;
  }

  /**
   * Notes a stream that begins.
   *
   * @returns What to call when it ends.
   */
  beginStream(keys: readonly string[]): (reason: StreamReason) => void {
    const { clock, onEvent } = this.#options;
    const startedAt = clock.elapsed();
    this.metrics.streamsBegun.value++;
    if (onEvent !== undefined) {
      this.#emit({ type: "stream", at: clock.now(), state: "begun", ...this.#describeKeys(keys) });
    }
    return (reason) => {
      this.metrics.streamsEnded.add(reason);
      if (onEvent === undefined) return;
      const ms = clock.elapsed() - startedAt;
      this.#emit({
        type: "stream",
        at: clock.now(),
        state: "ended",
        ...this.#describeKeys(keys),
        reason,
        ms,
      });
    };
  }

  /** Notes that `close()` was called, or is done. */
  recordClosing(type: "closing" | "closed"): void {
    if (this.#options.onEvent !== undefined) this.#emit({ type, at: this.#options.clock.now() });
  }

  #describeKeys(keys: readonly string[]): { keyCount: number; keys?: readonly string[] } {
    return this.#options.eventKeys ? { keyCount: keys.length, keys: [...keys] } : { keyCount: keys.length };
  }

  #emit(event: RealityEvent): void {
    if (this.#options.onEvent !== undefined) callSafely(this.#options.onEvent, event);
  }
}

/** Calls a hook; what it throws, or rejects with where it is async, is ignored. */
function callSafely<T>(hook: (value: T) => unknown, value: T): void {
  try {
    const result = hook(value);
    if (result instanceof Promise) result.catch(() => {});
  } catch {
    // An observer's mistake must not become a request's failure.
  }
}
