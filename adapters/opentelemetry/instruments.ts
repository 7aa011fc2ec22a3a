/**
 * The metrics of a Reality server as instruments of OpenTelemetry.
 *
 * @module
 */
import type { RealityEvent } from "../../src/telemetry/events.ts";
import type { TelemetryCounter, TelemetryHistogram, TelemetryMeter } from "./types.ts";

/** The instruments of one meter. */
export class Instruments {
  readonly #requests: TelemetryHistogram;
  readonly #syncs: TelemetryCounter;
  readonly #changed: TelemetryCounter;
  readonly #waits: TelemetryHistogram;
  readonly #changes: TelemetryCounter;
  readonly #changeDurations: TelemetryHistogram;
  readonly #streams: TelemetryCounter;
  readonly #refusals: TelemetryCounter;
  readonly #down: TelemetryCounter;

  /** @param meter The meter that creates the instruments. */
  constructor(meter: TelemetryMeter) {
    this.#requests = meter.createHistogram("reality.request.duration", {
      unit: "s",
      description: "Time to answer requests that did not wait.",
    });
    this.#syncs = meter.createCounter("reality.syncs", { unit: "{sync}", description: "Syncs." });
    this.#changed = meter.createCounter("reality.sync.changed", {
      unit: "{key}",
      description: "Keys that syncs answered as changed.",
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
      description: "Time until a change was stored.",
    });
    this.#streams = meter.createUpDownCounter("reality.streams", {
      unit: "{stream}",
      description: "Event streams that are open.",
    });
    this.#refusals = meter.createCounter("reality.refusals", {
      unit: "{request}",
      description: "Requests refused or failed.",
    });
    this.#down = meter.createUpDownCounter("reality.down", {
      unit: "{part}",
      description: "Number of storage, peers and Redis that are down.",
    });
  }

  /** Records an event. */
  record(event: RealityEvent): void {
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
