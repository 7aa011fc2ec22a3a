/**
 * The event streams as the other parts of a server see them, before and after their modules are loaded.
 *
 * @module
 */
import type { IncomingRequest, PulledBody } from "../http/exchange.ts";
import type { RouteStreams } from "../http/route.ts";
import type { LazyModule } from "../lazy_module.ts";
import type { MaybePromise } from "../maybe_promise.ts";
import type { RequestRecord } from "../telemetry/request_record.ts";
import type { SSEOptions } from "../types.ts";
import { closingStream } from "./closing.ts";
import type { EventStreams, EventStreamsOptions } from "./event_streams.ts";
import type { EventSourceRequest } from "./request.ts";

/** The module of event streams. */
export type StreamsModule = Pick<typeof import("./event_streams.ts"), "EventStreams">;

/** Event streams whose modules are loaded when the first one is opened. */
export class LazyStreams implements RouteStreams {
  readonly #module: LazyModule<StreamsModule>;
  readonly #options: EventStreamsOptions;
  #streams: EventStreams | undefined;

  /**
   * @param module The module of event streams.
   * @param options What event streams need.
   */
  constructor(module: LazyModule<StreamsModule>, options: EventStreamsOptions) {
    this.#module = module;
    this.#options = options;
  }

  /** Opens a stream for a request of the events route. */
  open(request: IncomingRequest, record: RequestRecord): MaybePromise<PulledBody> {
    return this.#use((streams) => streams.open(request, record));
  }

  /** Opens a stream for a call of `handleSSECompat`. */
  openCall(request: EventSourceRequest, options: SSEOptions): MaybePromise<PulledBody> {
    return this.#use((streams) => streams.openCall(request, options));
  }

  /**
   * The text of a stream that only tells the client to reconnect after a random delay.
   *
   * @param pause The shortest delay, in milliseconds.
   */
  closingText(pause: number): string {
    return closingStream(this.#options.config.clock, pause);
  }

  #use<T>(call: (streams: EventStreams) => MaybePromise<T>): MaybePromise<T> {
    return this.#module.use(({ EventStreams }) => call(this.#streams ??= new EventStreams(this.#options)));
  }
}
