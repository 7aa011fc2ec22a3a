/**
 * Tells a request of `node:http` or `node:http2` that its client has disconnected.
 *
 * @module
 */
import { type AbortSignalLike, type Closable, onClose } from "../../src/abort_signal.ts";

/** The request: its connection and, on HTTP/2, its stream. */
interface Incoming {
  readonly socket?: Partial<Closable> & { destroy?(): unknown };
  /** The stream of HTTP/2. */
  readonly stream?: Partial<Closable>;
}

/** The response. */
interface Outgoing {
  readonly destroyed: boolean;
  readonly socket?: unknown;
  destroy(): unknown;
  on(event: "close", listener: () => void): unknown;
}

/** Whether the client has disconnected, or the response has been sent. */
export function isOver({ stream, socket }: Incoming, response: Outgoing): boolean {
  // `destroyed` is not set on a response of HTTP/2, nor on one that waits for its turn on a connection.
  return response.destroyed === true || (stream ?? socket)?.destroyed === true;
}

/** Closes the stream of HTTP/2, or else the connection, even if the response waits for its turn on it. */
export function cutOff(request: Incoming, response: Outgoing): void {
  response.destroy();
  if (response.socket === null && request.stream === undefined) request.socket?.destroy?.();
}

const NO_LISTENERS: readonly (() => void)[] = Object.freeze([]);

/**
 * Aborts when the client disconnects or the response has been sent. Waiting requests each keep one, so it is smaller
 * than an `AbortSignal`.
 */
export class NodeAbortSignal implements AbortSignalLike {
  readonly #request: Incoming;
  readonly #response: Outgoing;
  #listeners = NO_LISTENERS;
  #stopListening: (() => void) | undefined;

  /**
   * @param request The request.
   * @param response Its response.
   */
  constructor(request: Incoming, response: Outgoing) {
    this.#request = request;
    this.#response = response;
    if (this.aborted) return;
    // "close" is emitted once. `on` keeps less memory than `once`, and the listener is never removed.
    response.on("close", this.#end);
    // Of pipelined requests, only the response at the front is told that the connection closed.
    const { socket } = request;
    const waitsItsTurn = response.socket === null && request.stream === undefined;
    if (waitsItsTurn && isConnection(socket)) this.#stopListening = onClose(socket, this.#end);
  }

  get aborted(): boolean {
    return isOver(this.#request, this.#response);
  }

  throwIfAborted(): void {
    if (this.aborted) throw new DOMException("The client is gone", "AbortError");
  }

  addEventListener(_type: "abort", listener: () => void): void {
    // Most signals have one listener. An array literal has no spare capacity, and every waiting request keeps one.
    this.#listeners = this.#listeners.length === 0 ? [listener] : [...this.#listeners, listener];
  }

  removeEventListener(_type: "abort", listener: () => void): void {
    this.#listeners = this.#listeners.filter((other) => other !== listener);
  }

  readonly #end = (): void => {
    this.#stopListening?.();
    const listeners = this.#listeners;
    this.#listeners = NO_LISTENERS;
    for (const listener of listeners) listener();
  };
}

function isConnection(socket: Partial<Closable> | undefined): socket is Closable {
  return typeof socket?.once === "function" && typeof socket.off === "function";
}
