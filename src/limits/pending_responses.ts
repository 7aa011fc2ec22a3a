/**
 * The responses that clients have not taken yet: how many bytes of them are held, and for how long.
 *
 * @module
 */
import type { Deadline, DeadlineList } from "./deadlines.ts";
import type { Metrics } from "../telemetry/metrics.ts";
import type { Limits } from "../options.ts";

/** What all responses share that are pending: written, and not taken by their clients yet. */
export interface ResponseBudget {
  /**
   * Begins to count a response. A stream is none: it is written as it is read.
   *
   * @param bytes How large it is.
   * @param onCut Called when it is to be cut off, unless it ended before.
   */
  begin(bytes: number, onCut: () => void): PendingResponse;
}

/** One of them. */
export interface PendingResponse {
  /** Is taken, or lost. May be called twice. */
  end(): void;
}

/**
 * Cuts off each response that is pending for longer than `responseTimeout`; and where all of them hold more than
 * `maxSendingBytes`, those that have been pending for longest.
 */
export class PendingResponses implements ResponseBudget {
  readonly #max: number;
  readonly #deadlines: DeadlineList;
  readonly #metrics: Pick<Metrics, "responsesCut">;
  /** In the order in which they began. */
  readonly #pending = new Set<Pending>();
  #bytes = 0;

  /**
   * @param limits How much may be pending.
   * @param deadlines Ends those that are pending for longer than `responseTimeout`.
   * @param metrics What those that were cut off are counted in.
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

  /** How many are pending. */
  get size(): number {
    return this.#pending.size;
  }

  /** How many bytes they are, all together. */
  get bytes(): number {
    return this.#bytes;
  }

  begin(bytes: number, onCut: () => void): PendingResponse {
    // The oldest go first: a client that takes what it gets has none that is old. A response is never refused for its
    // size alone, since it would be as large the next time.
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

  /** Forgets one of them; says whether it was pending. */
  end(response: Pending): boolean {
    this.#deadlines.remove(response);
    if (!this.#pending.delete(response)) return false;
    this.#bytes -= response.bytes;
    return true;
  }

  /** Forgets one of them that is to be cut off; says whether it was pending. */
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
