/**
 * How a request of `node:http` or `node:http2` hears that its client is gone.
 *
 * @module
 */
import { type AbortSignalLike, type Closable, onClose } from "../../src/http/exchange.ts";

/** What a request came in on. */
interface Incoming {
  readonly socket?: Partial<Closable> & { destroy?(): unknown };
  /** The stream of HTTP/2. */
  readonly stream?: Partial<Closable>;
}

/** Where its response goes. */
interface Outgoing {
  readonly destroyed: boolean;
  readonly socket?: unknown;
  destroy(): unknown;
  on(event: "close", listener: () => void): unknown;
}

/** Whether nobody is there any more to take the response, or it has been sent. */
export function isOver({ stream, socket }: Incoming, response: Outgoing): boolean {
  // The response of HTTP/2 does not say, and one that waits for its turn on a connection does not know.
  return response.destroyed === true || (stream ?? socket)?.destroyed === true;
}

/** Closes the stream of HTTP/2, or the connection, also under a response that waits for its turn. */
export function cutOff(request: Incoming, response: Outgoing): void {
  response.destroy();
  if (response.socket === null && request.stream === undefined) request.socket?.destroy?.();
}

const NO_LISTENERS: readonly (() => void)[] = Object.freeze([]);

/** Hears that an exchange is over. For the clients that wait an `AbortSignal` is too large. */
export class NodeAbortSignal implements AbortSignalLike {
  readonly #request: Incoming;
  readonly #response: Outgoing;
  #listeners = NO_LISTENERS;
  #stopListening: (() => void) | undefined;

  /**
   * @param request What came in.
   * @param response Where the answer goes.
   */
  constructor(request: Incoming, response: Outgoing) {
    this.#request = request;
    this.#response = response;
    if (this.aborted) return;
    // Closed once, so that taking the listener off is worth less than what "once" keeps for it.
    response.on("close", this.#end);
    // Of pipelined requests, only the first has a response that is told of the connection's end.
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
    // Most have one, and an array written out has no room to spare: it is kept for every client that waits.
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
