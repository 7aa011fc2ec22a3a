/**
 * Spans and metrics of a Reality server through `@opentelemetry/api`.
 *
 * @module
 */
import { type MeterProvider, metrics, SpanStatusCode, trace } from "@opentelemetry/api";
import type { RealityEvent } from "../src/telemetry/events.ts";

export type { RealityEvent };

/** What describes a span or a number. */
export type TelemetryAttributes = Record<string, string | number | string[]>;

/** Seconds since 1970, and nanoseconds. */
export type TelemetryTime = [seconds: number, nanoseconds: number];

/** OpenTelemetry's span, as far as it is called. */
export interface TelemetrySpan {
  /** Whether anybody wants to know of it. */
  isRecording(): boolean;
  /** Describes it. */
  setAttributes(attributes: TelemetryAttributes): unknown;
  /** Says how it went. */
  setStatus(status: { code: number; message?: string }): unknown;
  /** Ends it. */
  end(time: TelemetryTime): void;
}

/** OpenTelemetry's tracer, as far as it is called. */
export interface TelemetryTracer {
  /** Makes a span below the one that is active. */
  startSpan(name: string, options: { startTime: TelemetryTime }): TelemetrySpan;
}

/** What an instrument is for. */
export interface TelemetryInstrumentOptions {
  /** What its numbers are numbers of. */
  unit: string;
  /** What it tells, for people. */
  description: string;
}

/** OpenTelemetry's counters, as far as they are called. */
export interface TelemetryCounter {
  /** Counts. */
  add(value: number, attributes?: TelemetryAttributes): void;
}

/** OpenTelemetry's histogram, as far as it is called. */
export interface TelemetryHistogram {
  /** Takes in a number. */
  record(value: number, attributes?: TelemetryAttributes): void;
}

/** OpenTelemetry's meter, as far as it is called. */
export interface TelemetryMeter {
  /** Makes a counter that only grows. */
  createCounter(name: string, options: TelemetryInstrumentOptions): TelemetryCounter;
  /** Makes a counter that goes up and down. */
  createUpDownCounter(name: string, options: TelemetryInstrumentOptions): TelemetryCounter;
  /** Makes a histogram. */
  createHistogram(name: string, options: TelemetryInstrumentOptions): TelemetryHistogram;
}

/** Where spans and metrics go. */
export interface OpenTelemetryOptions {
  /**
   * What makes the spans.
   *
   * @default the tracer named "@rootlodge/reality-server" of the provider that the application has registered
   */
  readonly tracer?: TelemetryTracer | undefined;
  /**
   * What makes the instruments.
   *
   * @default the meter named "@rootlodge/reality-server" of the provider that the application has registered
   */
  readonly meter?: TelemetryMeter | undefined;
}

const NAME = "@rootlodge/reality-server";

/** Requests of machinery that asks every few seconds: counted, but no spans. */
const PROBES: ReadonlySet<string> = new Set(["health", "ready", "metrics"]);

/**
 * Makes a function for the option `onEvent` that turns what it hears into spans and metrics of OpenTelemetry.
 *
 * Spans are `reality.request`, `reality.sync`, `reality.change` and `reality.stream`, with the times at which these
 * began and ended; their parent is the span that is active where the server was called. Metrics are
 * `reality.request.duration`, `reality.syncs`, `reality.sync.changed`, `reality.wait.duration`, `reality.changes`,
 * `reality.change.duration`, `reality.streams`, `reality.refusals` and `reality.down`: how many of storage, peers and
 * Redis are. Keys are in none of them, and in spans only with the server's option `eventKeys`.
 *
 * Where no SDK is registered, next to nothing is done; one may be registered later.
 *
 * @param options A tracer and a meter, if not those of the registered providers.
 * @returns The function for `onEvent`.
 *
 * @example
 * ```ts
 * import { MemoryStorage, RealityServer } from "@rootlodge/reality-server";
 * import { openTelemetry } from "@rootlodge/reality-server/opentelemetry";
 *
 * const server = new RealityServer({ storage: new MemoryStorage(), onEvent: openTelemetry() });
 * await server.updateNode("chat:room:general", "abc123"); // a span "reality.change"
 * await server.close();
 * ```
 */
export function openTelemetry(options: OpenTelemetryOptions = {}): (event: RealityEvent) => void {
  // Stands for the tracer of whichever provider is registered, now or later.
  const tracer = options.tracer ?? trace.getTracer(NAME);
  const given = options.meter && new Instruments(options.meter);
  let provider: MeterProvider | undefined;
  let made: Instruments | undefined;
  const getInstruments = (): Instruments => {
    if (given !== undefined) return given;
    // A meter has no such stand-in.
    const current = metrics.getMeterProvider();
    if (made === undefined || current !== provider) made = new Instruments(current.getMeter(NAME));
    provider = current;
    return made;
  };
  return (event) => {
    traceEvent(tracer, event);
    getInstruments().note(event);
  };
}

function traceEvent(tracer: TelemetryTracer, event: RealityEvent): void {
  switch (event.type) {
    case "request": {
      if (PROBES.has(event.route)) return;
      const { route, method, status, code } = event;
      return span(tracer, event, status >= 500 ? code : undefined, {
        "http.request.method": method,
        "http.response.status_code": status,
        "reality.route": route,
        ...(code === undefined ? {} : { "error.type": code }),
      });
    }
    case "sync":
      return span(tracer, event, event.outcome === "failed" ? "failed" : undefined, {
        "reality.changed": event.changed,
        "reality.waited_ms": event.waited,
        "reality.outcome": event.outcome,
      });
    case "change":
      return span(tracer, event, event.code, event.code === undefined ? {} : { "error.type": event.code });
    case "stream": {
      const { ms, reason } = event;
      if (ms === undefined || reason === undefined) return;
      return span(tracer, { ...event, ms }, undefined, { "reality.reason": reason });
    }
  }
}

interface TimedEvent {
  readonly type: string;
  readonly at: number;
  readonly ms: number;
  readonly keyCount: number;
  readonly keys?: readonly string[];
}

/** Makes the span of something that is over, below the one that is active. */
function span(
  tracer: TelemetryTracer,
  event: TimedEvent,
  failure: string | undefined,
  attributes: TelemetryAttributes,
): void {
  const { type, at, ms, keyCount, keys } = event;
  const made = tracer.startSpan(`reality.${type}`, { startTime: toTime(at - ms) });
  if (made.isRecording()) {
    made.setAttributes({ ...attributes, "reality.key_count": keyCount });
    if (keys !== undefined) made.setAttributes({ "reality.keys": [...keys] });
    if (failure !== undefined) made.setStatus({ code: SpanStatusCode.ERROR, message: failure });
  }
  made.end(toTime(at));
}

/** Seconds and nanoseconds: a plain number might be taken as counted from the start of the process. */
function toTime(ms: number): TelemetryTime {
  const seconds = Math.floor(ms / 1000);
  return [seconds, Math.round((ms - seconds * 1000) * 1e6)];
}

/** The instruments of one meter. */
class Instruments {
  readonly #requests: TelemetryHistogram;
  readonly #syncs: TelemetryCounter;
  readonly #changed: TelemetryCounter;
  readonly #waits: TelemetryHistogram;
  readonly #changes: TelemetryCounter;
  readonly #changeDurations: TelemetryHistogram;
  readonly #streams: TelemetryCounter;
  readonly #refusals: TelemetryCounter;
  readonly #down: TelemetryCounter;

  constructor(meter: TelemetryMeter) {
    this.#requests = meter.createHistogram("reality.request.duration", {
      unit: "s",
      description: "Time to answer requests that did not wait.",
    });
    this.#syncs = meter.createCounter("reality.syncs", { unit: "{sync}", description: "Syncs." });
    this.#changed = meter.createCounter("reality.sync.changed", {
      unit: "{key}",
      description: "Keys told as changed by syncs.",
    });
    this.#waits = meter.createHistogram("reality.wait.duration", {
      unit: "s",
      description: "Time that syncs waited.",
    });
    this.#changes = meter.createCounter("reality.changes", {
      unit: "{node}",
      description: "Nodes changed through this server.",
    });
    this.#changeDurations = meter.createHistogram("reality.change.duration", {
      unit: "s",
      description: "Time until the storage had a change.",
    });
    this.#streams = meter.createUpDownCounter("reality.streams", {
      unit: "{stream}",
      description: "Event streams that are open.",
    });
    this.#refusals = meter.createCounter("reality.refusals", {
      unit: "{request}",
      description: "Requests turned down or failed.",
    });
    this.#down = meter.createUpDownCounter("reality.down", {
      unit: "{part}",
      description: "How many of storage, peers and Redis are down.",
    });
  }

  note(event: RealityEvent): void {
    switch (event.type) {
      case "request": {
        if (event.waited > 0) return;
        const { route, status, ms } = event;
        this.#requests.record(ms / 1000, { "reality.route": route, "http.response.status_code": status });
        return;
      }
      case "refusal":
        return this.#refusals.add(1, { "error.type": event.code });
      case "sync": {
        const outcome = { "reality.outcome": event.outcome };
        this.#syncs.add(1, outcome);
        if (event.changed > 0) this.#changed.add(event.changed);
        if (event.waited > 0) this.#waits.record(event.waited / 1000, outcome);
        return;
      }
      case "change": {
        const { code, keyCount, ms } = event;
        if (code === undefined) this.#changes.add(keyCount);
        this.#changeDurations.record(ms / 1000, code === undefined ? {} : { "error.type": code });
        return;
      }
      case "stream":
        return this.#streams.add(event.state === "begun" ? 1 : -1);
      case "storage":
      case "peer":
      case "redis":
        return this.#down.add(event.state === "down" ? 1 : -1, { "reality.part": event.type });
    }
  }
}
