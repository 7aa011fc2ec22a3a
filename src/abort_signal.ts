/**
 * How who waits hears that the client is gone.
 *
 * @module
 */

/** An `AbortSignal`, or what does as much of it and costs less, since every client that waits has one. */
export interface AbortSignalLike {
  /** Whether the client is gone. */
  readonly aborted: boolean;
  /** Throws the reason, once the client is gone. */
  throwIfAborted(): void;
  /** Calls back when the client goes. */
  addEventListener(type: "abort", listener: () => void): void;
  /** Stops listening. */
  removeEventListener(type: "abort", listener: () => void): void;
}

/** What a request came in on: a socket, or a stream of HTTP/2. */
export interface Closable {
  /** Whether it is closed. */
  readonly destroyed?: boolean | undefined;
  /** Listens to its end. */
  once(event: "close", listener: () => void): unknown;
  /** Stops listening. */
  off(event: "close", listener: () => void): unknown;
}

/** Those who wait for a connection's end: many requests may be under way on one. */
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
 * Calls back when a connection closes; at once, if it is closed already. However many requests are under way on a
 * connection, it has one listener for all of them.
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
 * Calls back when a client goes away; at once, if it is gone already.
 *
 * @returns A function that stops listening.
 */
export function onAbort(signal: AbortSignalLike, listener: () => void): () => void {
  if (signal.aborted) listener();
  else signal.addEventListener("abort", listener);
  return () => signal.removeEventListener("abort", listener);
}
