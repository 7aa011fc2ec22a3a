/**
 * How who waits hears that the client is gone.
 *
 * @module
 */

/** An `AbortSignal`, or what does as much of it and costs less, since every client that waits has one. */
export interface HangUp {
  /** Whether the client is gone. */
  readonly aborted: boolean;
  /** Throws the reason, once the client is gone. */
  throwIfAborted(): void;
  /** Calls back when the client goes. */
  addEventListener(type: "abort", listener: () => void): void;
  /** Stops listening. */
  removeEventListener(type: "abort", listener: () => void): void;
}
