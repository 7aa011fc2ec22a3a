/**
 * Counts what happens in a server, and calls `onEvent` and `onError`.
 *
 * @module
 */
import type { Clock } from "../clock.ts";
import { PeerError, RealityError, StorageError } from "../errors.ts";
import type { RealityEvent, StreamReason } from "./events.ts";
import { Metrics } from "./metrics.ts";
import { type MaybePromise, then } from "../maybe_promise.ts";
import { redactURL } from "../redact.ts";
import { RequestRecord } from "./request_record.ts";

/** What an observer needs. */
export interface ObserverOptions {
  readonly clock: Clock;
  readonly onError: (error: RealityError) => void;
  /** Undefined: no events are created. */
  readonly onEvent: ((event: RealityEvent) => void) | undefined;
  /** Whether events contain keys and URLs. */
  readonly eventKeys: boolean;
  /** The URLs of the configured peers. */
  readonly peers: readonly string[];
}

/** The status of a request whose client disconnected before the answer. */
const GONE = 499;

/** Counts and reports what happens in one server. It never throws: an error of a callback must not fail a request. */
export class Observer {
  /** The counters. */
  readonly metrics: Metrics = new Metrics();
  readonly #options: ObserverOptions;
  readonly #peers: string[];
  #isStorageDown = false;

  /** @param options What the observer needs. */
  constructor(options: ObserverOptions) {
    this.#options = options;
    this.#peers = options.peers.map(redactURL);
  }

  /** Whether the last call of the storage failed. */
  get isStorageDown(): boolean {
    return this.#isStorageDown;
  }

  /** Reports a failure in the background, or its end. Emits an event if it is about a peer. */
  report(error: RealityError): void {
    callSafely(this.#options.onError, error);
    if (error instanceof PeerError && this.#options.onEvent !== undefined) this.#emitPeer(error);
  }

  #emitPeer(error: PeerError): void {
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

  /** Records that Redis failed or works again. */
  recordRedis(isDown: boolean): void {
    if (this.#options.onEvent === undefined) return;
    this.#emit({ type: "redis", at: this.#options.clock.now(), state: isDown ? "down" : "up" });
  }

  /** Records a storage call. Reports the first failure, and the first success after failures. */
  recordStorage(operation: string, error: StorageError | undefined, ms: number): void {
    const { metrics } = this;
    metrics.storageDurations.observe(operation, ms);
    if (error !== undefined) metrics.storageFailures.add(operation);
    const isDown = error !== undefined;
    // A storage whose health check succeeds may still fail at other calls.
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

  /** Records a request that was answered or whose client disconnected. */
  recordRequest(record: RequestRecord, method: string, answered: number): void {
    const { metrics } = this;
    const { clock, onEvent } = this.#options;
    const { route, code, keys, waited } = record;
    const isGone = record.outcome === "gone";
    const status = isGone ? GONE : answered;
    const ms = clock.elapsed() - record.startedAt;
    metrics.requests.add(route, status);
    if (record.waitStartedAt === undefined) metrics.requestDurations.observe(route, ms);
    if (code !== undefined && !isGone) metrics.refusals.add(code);
    if (onEvent === undefined) return;
    const at = clock.now();
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

  /** Creates the record of a sync that was not received by a handler. The time is read only if events are emitted. */
  createRecord(): RequestRecord {
    return new RequestRecord(this.#options.onEvent === undefined ? 0 : this.#options.clock.elapsed());
  }

  /** Records an accepted sync. */
  beginSync(record: RequestRecord): void {
    this.metrics.syncs.value++;
    this.metrics.syncKeys.observe(record.keys.length);
  }

  /** Runs a sync and emits its event. Costs nothing if no events are emitted. */
  observeSync<T>(record: RequestRecord, answer: () => MaybePromise<T>): MaybePromise<T> {
    if (this.#options.onEvent === undefined) return answer();
    return (async () => await answer())().finally(() => {
      const { clock } = this.#options;
      const at = clock.now();
      const { startedAt, keys, changed, waited, outcome } = record;
      const ms = clock.elapsed() - startedAt;
      this.#emit({ type: "sync", at, ...this.#describeKeys(keys), changed, ms, waited, outcome });
    });
  }

  /** Runs a change, counts its nodes and emits its event. */
  observeChange<T extends readonly unknown[]>(
    getKeys: () => readonly string[],
    change: () => MaybePromise<T>,
  ): MaybePromise<T> {
    if (this.#options.onEvent !== undefined) return this.#emitChange(getKeys, change);
    return then(change(), (changed) => this.#count(changed));
  }

  async #emitChange<T extends readonly unknown[]>(
    getKeys: () => readonly string[],
    change: () => MaybePromise<T>,
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
   * Records the start of a stream.
   *
   * @returns Call this when the stream ends.
   */
  beginStream(keys: readonly string[]): (reason: StreamReason) => void {
    const { clock, onEvent } = this.#options;
    this.metrics.streamsBegun.value++;
    if (onEvent === undefined) return this.#countEndOfStream;
    const startedAt = clock.elapsed();
    this.#emit({ type: "stream", at: clock.now(), state: "begun", ...this.#describeKeys(keys) });
    return (reason) => {
      this.#countEndOfStream(reason);
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

  /** One function for all streams saves memory. */
  readonly #countEndOfStream = (reason: StreamReason): void => this.metrics.streamsEnded.add(reason);

  /** Records that `close()` was called or has finished. */
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

/** Calls a callback. Ignores exceptions, and rejections if it is async. */
function callSafely<T>(hook: (value: T) => unknown, value: T): void {
  try {
    const result = hook(value);
    if (result instanceof Promise) result.catch(() => {});
  } catch {
    // An error of the callback must not fail a request.
  }
}
