/**
 * The tracer and the meter of OpenTelemetry: the parts that are used.
 *
 * @module
 */

/** Attributes of a span or a measurement. */
export type TelemetryAttributes = Record<string, string | number | string[]>;

/** A time: seconds since 1970, and nanoseconds. */
export type TelemetryTime = [seconds: number, nanoseconds: number];

/** A span: the parts that are used. */
export interface TelemetrySpan {
  /** Whether the span is recorded. */
  isRecording(): boolean;
  /** Sets attributes. */
  setAttributes(attributes: TelemetryAttributes): unknown;
  /** Sets the status. */
  setStatus(status: { code: number; message?: string }): unknown;
  /** Ends the span. */
  end(time: TelemetryTime): void;
}

/** A tracer: the parts that are used. */
export interface TelemetryTracer {
  /** Creates a span whose parent is the active span. */
  startSpan(name: string, options: { startTime: TelemetryTime }): TelemetrySpan;
}

/** Options of an instrument. */
export interface TelemetryInstrumentOptions {
  /** The unit. */
  unit: string;
  /** The description. */
  description: string;
}

/** A counter: the parts that are used. */
export interface TelemetryCounter {
  /** Adds a value. */
  add(value: number, attributes?: TelemetryAttributes): void;
}

/** A histogram: the parts that are used. */
export interface TelemetryHistogram {
  /** Records a value. */
  record(value: number, attributes?: TelemetryAttributes): void;
}

/** A meter: the parts that are used. */
export interface TelemetryMeter {
  /** Creates a counter that only grows. */
  createCounter(name: string, options: TelemetryInstrumentOptions): TelemetryCounter;
  /** Creates a counter that goes up and down. */
  createUpDownCounter(name: string, options: TelemetryInstrumentOptions): TelemetryCounter;
  /** Creates a histogram. */
  createHistogram(name: string, options: TelemetryInstrumentOptions): TelemetryHistogram;
}
