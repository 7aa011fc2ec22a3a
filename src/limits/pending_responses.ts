/**
 * Limits the responses that clients have not read yet: how many bytes are held, and for how long.
 *
 * @module
 */
import type { Deadline, DeadlineList } from "./deadlines.ts";
import type { Metrics } from "../telemetry/metrics.ts";
import type { Limits } from "../server_limits.ts";

/**
 * The limits that all pending responses share. A response is pending while it is written but not read by its client.
 */
export interface ResponseBudget {
  /**
   * Starts to count a response. A stream is not counted, because it is written only as fast as it is read.
   *
   * @param bytes The size of the response.
   * @param onCut Called when it must be cut off, unless it ended before.
   */
  begin(bytes: number, onCut: () => void): PendingResponse;
}

/** One pending response. */
export interface PendingResponse {
  /** The response was read or lost. May be called twice. */
  end(): void;
}

/**
 * Cuts off each response that is pending for longer than `responseTimeout`. If all of them together exceed
 * `maxSendingBytes`, cuts off the oldest.
 */
export class PendingResponses implements ResponseBudget {
  readonly #max: number;
  readonly #deadlines: DeadlineList;
  readonly #metrics: Pick<Metrics, "responsesCut">;
  /** In the order in which they started. */
  readonly #pending = new Set<Pending>();
  #bytes = 0;

  /**
   * @param limits How many bytes may be pending.
   * @param deadlines Ends responses that are pending for longer than `responseTimeout`.
   * @param metrics Counts responses that were cut off.
   */
  constructor(
    { maxSendingBytes }: Pick<Limits, "maxSendingBytes">,
    deadlines: DeadlineList,
    metrics: Pick<Metrics, "responsesCut">,
  ) {
    this.#max = maxSendingBytes;
    this.#deadlines = deadlines;
    this.#metrics = metrics;
  }

  /** The number of pending responses. */
  get size(): number {
    return this.#pending.size;
  }

  /** The number of their bytes. */
  get bytes(): number {
    return this.#bytes;
  }

  begin(bytes: number, onCut: () => void): PendingResponse {
    // The oldest responses are cut off first: a client that reads its responses has no old ones. A response is never
    // refused for its size alone, because it would be just as large the next time.
    for (const oldest of this.#pending) {
      if (this.#bytes + bytes <= this.#max) break;
      oldest.onExpire();
    }
    const response = new Pending(this, bytes, onCut);
    this.#pending.add(response);
    this.#bytes += bytes;
    this.#deadlines.add(response);
    return response;
  }

  /**
   * Stops counting a response.
   *
   * @returns Whether it was pending.
   */
  end(response: Pending): boolean {
    this.#deadlines.remove(response);
    if (!this.#pending.delete(response)) return false;
    this.#bytes -= response.bytes;
    return true;
  }

  /**
   * Stops counting a response that is cut off.
   *
   * @returns Whether it was pending.
   */
  cut(response: Pending): boolean {
    if (!this.end(response)) return false;
    this.#metrics.responsesCut.value++;
    return true;
  }
}

class Pending implements PendingResponse, Deadline {
  dueAt = 0;
  before: Deadline | undefined = undefined;
  after: Deadline | undefined = undefined;
  readonly bytes: number;
  readonly #owner: PendingResponses;
  readonly #onCut: () => void;

  constructor(owner: PendingResponses, bytes: number, onCut: () => void) {
    this.#owner = owner;
    this.bytes = bytes;
    this.#onCut = onCut;
  }

  end(): void {
    this.#owner.end(this);
  }

  onExpire(): void {
    if (this.#owner.cut(this)) this.#onCut();
  }

  onAbandon(): void {
    this.end();
  }
}
