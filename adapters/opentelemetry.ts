/**
 * Spans and metrics of a Reality server through `@opentelemetry/api`.
 *
 * @module
 */
import { type MeterProvider, metrics, SpanStatusCode, trace } from "@opentelemetry/api";
import type { RealityEvent } from "../src/telemetry/events.ts";
import { Instruments } from "./opentelemetry/instruments.ts";
import type {
  TelemetryAttributes,
  TelemetryMeter,
  TelemetryTime,
  TelemetryTracer,
} from "./opentelemetry/types.ts";

export type { RealityEvent };
export type {
  TelemetryAttributes,
  TelemetryCounter,
  TelemetryHistogram,
  TelemetryInstrumentOptions,
  TelemetryMeter,
  TelemetrySpan,
  TelemetryTime,
  TelemetryTracer,
} from "./opentelemetry/types.ts";

/** Options of {@linkcode openTelemetry}. */
export interface OpenTelemetryOptions {
  /**
   * The tracer.
   *
   * @default the tracer "@rootlodge/reality-server" of the registered provider
   */
  readonly tracer?: TelemetryTracer | undefined;
  /**
   * The meter.
   *
   * @default the meter "@rootlodge/reality-server" of the registered provider
   */
  readonly meter?: TelemetryMeter | undefined;
}

const NAME = "@rootlodge/reality-server";

/** Routes that monitoring requests every few seconds: they are counted, but have no spans. */
const PROBES: ReadonlySet<string> = new Set(["health", "ready", "metrics"]);

/**
 * Creates a function for the option `onEvent` that turns events into spans and metrics of OpenTelemetry.
 *
 * Spans are `reality.request`, `reality.sync`, `reality.change` and `reality.stream`, with their start and end times.
 * Their parent is the span that is active where the server was called. Metrics are
 * `reality.request.duration`, `reality.syncs`, `reality.sync.changed`, `reality.wait.duration`, `reality.changes`,
 * `reality.change.duration`, `reality.streams`, `reality.refusals` and `reality.down`, the number of storage,
 * peers and Redis that are down. Metrics contain no keys. Spans contain keys only with the server option `eventKeys`.
 *
 * Without a registered SDK almost nothing is done. An SDK may be registered later.
 *
 * @param options A tracer and a meter instead of those of the registered providers.
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
  // This tracer delegates to the provider that is registered, now or later.
  const tracer = options.tracer ?? trace.getTracer(NAME);
  const given = options.meter && new Instruments(options.meter);
  let provider: MeterProvider | undefined;
  let made: Instruments | undefined;
  const getInstruments = (): Instruments => {
    if (given !== undefined) return given;
    // A meter does not delegate: check for a new provider.
    const current = metrics.getMeterProvider();
    if (made === undefined || current !== provider) made = new Instruments(current.getMeter(NAME));
    provider = current;
    return made;
  };
  return (event) => {
    traceEvent(tracer, event);
    getInstruments().record(event);
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

/** Creates the span of a finished event. Its parent is the active span. */
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

/** Returns seconds and nanoseconds: a plain number could be read as time since the start of the process. */
function toTime(ms: number): TelemetryTime {
  const seconds = Math.floor(ms / 1000);
  return [seconds, Math.round((ms - seconds * 1000) * 1e6)];
}
