/**
 * The subset of `AbortSignal` that waiting requests need.
 *
 * @module
 */

/** An `AbortSignal`, or a cheaper object with the same methods. Every waiting request has one. */
export interface AbortSignalLike {
  /** Whether the client has disconnected. */
  readonly aborted: boolean;
  /** Throws the reason if the client has disconnected. */
  throwIfAborted(): void;
  /** Calls back when the client disconnects. */
  addEventListener(type: "abort", listener: () => void): void;
  /** Stops listening. */
  removeEventListener(type: "abort", listener: () => void): void;
}

/** The connection of a request: a socket, or an HTTP/2 stream. */
export interface Closable {
  /** Whether it is closed. */
  readonly destroyed?: boolean | undefined;
  /** Calls back when it closes. */
  once(event: "close", listener: () => void): unknown;
  /** Stops listening. */
  off(event: "close", listener: () => void): unknown;
}

/** The listeners of one connection, which may carry many requests. */
class CloseListeners {
  static readonly #all = new WeakMap<Closable, CloseListeners>();
  readonly #connection: Closable;
  readonly #listeners = new Set<() => void>();

  private constructor(connection: Closable) {
    this.#connection = connection;
  }

  static of(connection: Closable): CloseListeners {
    let listeners = CloseListeners.#all.get(connection);
    if (listeners === undefined) {
      CloseListeners.#all.set(connection, listeners = new CloseListeners(connection));
    }
    return listeners;
  }

  add(listener: () => void): void {
    if (this.#listeners.size === 0) this.#connection.once("close", this.#end);
    this.#listeners.add(listener);
  }

  remove(listener: () => void): void {
    const isLast = this.#listeners.delete(listener) && this.#listeners.size === 0;
    if (isLast) this.#connection.off("close", this.#end);
  }

  readonly #end = (): void => {
    const listeners = [...this.#listeners];
    this.#listeners.clear();
    for (const listener of listeners) listener();
  };
}

/**
 * Calls back when a connection closes; at once if it is closed already. A connection has one listener for all of its
 * requests.
 *
 * @returns A function that stops listening.
 */
export function onClose(connection: Closable, listener: () => void): () => void {
  if (connection.destroyed) {
    listener();
    return () => {};
  }
  const listeners = CloseListeners.of(connection);
  listeners.add(listener);
  return () => listeners.remove(listener);
}

/**
 * Calls back when a client disconnects; at once if it has disconnected already.
 *
 * @returns A function that stops listening.
 */
export function onAbort(signal: AbortSignalLike, listener: () => void): () => void {
  if (signal.aborted) listener();
  else signal.addEventListener("abort", listener);
  return () => signal.removeEventListener("abort", listener);
}
