/**
 * The event listeners on both Redis clients.
 *
 * @module
 */
import { isReady, type RedisClient } from "./client.ts";
import type { ConnectionSide } from "./connection_health.ts";

type Listener = (...args: unknown[]) => void;

/** Listeners that can be removed together. */
export class ConnectionListeners {
  readonly #listeners: [client: RedisClient, event: string, listener: Listener][] = [];

  /** Adds a listener. */
  add(client: RedisClient, event: string, listener: Listener): void {
    this.#listeners.push([client, event, listener]);
    client.on(event, listener);
  }

  /**
   * Watches a connection.
   *
   * @param side Its name, for messages.
   * @param client The client.
   * @param handlers `onReady`: the client is connected; `onLost`: it has lost its connection, for this cause.
   */
  watch(
    side: ConnectionSide,
    client: RedisClient,
    { onReady, onLost }: { readonly onReady: () => void; readonly onLost: (cause: unknown) => void },
  ): void {
    let lastError: unknown;
    this.add(client, "ready", () => {
      lastError = undefined;
      onReady();
    });
    this.add(client, "error", (error) => {
      // ioredis emits the cause before it reports that the connection is lost.
      if (isReady(client)) lastError = error;
      else onLost(error);
    });
    for (const event of ["close", "end", "reconnecting"]) {
      this.add(client, event, () => {
        if (!isReady(client)) onLost(lastError ?? `the ${side} has lost its connection`);
      });
    }
  }

  /** Removes all listeners but those of errors: an `error` event without a listener would end the process. */
  removeAllButErrors(): void {
    this.#remove((event) => event !== "error");
  }

  /** Removes the listeners of errors. */
  removeErrors(): void {
    this.#remove((event) => event === "error");
  }

  #remove(matches: (event: string) => boolean): void {
    for (const [client, event, listener] of this.#listeners) if (matches(event)) client.off(event, listener);
  }
}
