/**
 * Closes a server.
 *
 * @module
 */
import type { ServerConfig } from "../check_options.ts";
import { RealityError } from "../errors.ts";
import type { Hooks } from "../hooks.ts";
import type { Lifecycle } from "../lifecycle.ts";
import type { SharedBodyBudget } from "../limits/body_budget.ts";
import type { DeadlineList } from "../limits/deadlines.ts";
import type { Observer } from "../telemetry/observer.ts";
import type { ScopeSource } from "./scope.ts";

/** What is closed with a server. */
export interface ShutdownOptions {
  readonly config: Pick<ServerConfig, "clock" | "closeTimeout">;
  readonly lifecycle: Lifecycle;
  readonly observer: Observer;
  readonly scopes: ScopeSource;
  readonly hooks: Hooks;
  readonly bodies: SharedBodyBudget;
  /** Streams whose client has to read something within a time limit. */
  readonly stalls: DeadlineList;
  /** The link to other servers. It sends what is pending, for a number of milliseconds at most. */
  readonly mesh: { close(ms: number): Promise<void> } | undefined;
}

/** Closes a server: answers waiting requests, stores pending changes, and sends them to other servers. */
export class Shutdown {
  readonly #options: ShutdownOptions;

  /** @param options What is closed. */
  constructor(options: ShutdownOptions) {
    this.#options = options;
  }

  /** Closes everything. Settles after `closeTimeout` at the latest. Further calls return the same promise. */
  close(): Promise<void> {
    return this.#options.lifecycle.close(() => this.#close());
  }

  async #close(): Promise<void> {
    const { observer } = this.#options;
    // The state of the server is read by what ends from here on. It changes before the next microtask.
    await null;
    observer.recordClosing("closing");
    await this.#stop();
    observer.recordClosing("closed");
  }

  async #stop(): Promise<void> {
    const { config: { clock, closeTimeout }, scopes, hooks, mesh, bodies, stalls, observer } = this.#options;
    const deadline = clock.elapsed() + closeTimeout;
    const left = () => Math.max(0, deadline - clock.elapsed());
    const drained = scopes.drain(left, {
      // A hook without an answer would delay its request for longer than the server may take to close.
      hurry: () => hooks.close(),
      tell: async () => await mesh?.close(left()),
    });
    bodies.close();
    stalls.close();
    if (await drained) return;
    const message =
      `The server is closed while something is still under way after closeTimeout (${closeTimeout} ms)`;
    observer.report(new RealityError("ERR_REALITY_CLOSED", message));
  }
}
