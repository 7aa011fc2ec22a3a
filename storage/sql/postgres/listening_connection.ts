/**
 * A connection that listens to a channel.
 *
 * @module
 */
import { ClosedError } from "../../../src/errors.ts";
import { EndingClients, lifetimeOf, type PoolOptions } from "./client_lifetime.ts";
import { refuseStandby } from "./server_errors.ts";
import type { OpenClient, SingleClient } from "./single_client.ts";
import { inTime } from "./time_limit.ts";

/** The shortest and the longest pause before a lost connection is made again, in milliseconds. */
const PAUSES = [50, 2000] as const;

/** How often the connection is checked, in milliseconds. */
const CHECK_INTERVAL = 5000;

/** How long a connection that was replaced may take to end, in seconds. */
const GOODBYE_TIMEOUT = 1;

/** Asks whether the server is read-only, and when it was started, which identifies it. */
const CHECK =
  "SELECT pg_is_in_recovery() OR current_setting('transaction_read_only') = 'on' AS is_standby, " +
  "pg_postmaster_start_time()::text AS server";

/** A channel, and the callbacks for it. */
export interface ChannelListener {
  /** The channel's name. */
  readonly channel: string;
  /** Receives each notification. */
  readonly onnotify: (payload: string) => void;
  /** Called when it listens, and again when it does so after notifications may have been missed. */
  readonly onlisten: () => void;
  /** Whether the connection matters now. Otherwise it is not checked. */
  readonly isWanted: () => boolean;
}

/** A client that listens, and what is known of it. */
interface ListeningClient {
  readonly client: SingleClient;
  readonly expiresAt: number;
  isClosed: boolean;
  /** The server that it leads to, once that is known. */
  server: unknown;
}

/** A connection that listens to one channel. */
export class ListeningConnection {
  readonly #open: OpenClient;
  readonly #options: PoolOptions;
  readonly #listener: ChannelListener;
  readonly #ending = new EndingClients();
  #client: ListeningClient | undefined;
  #cancel = () => {};
  #pauseMs: number = PAUSES[0];
  #isEnded = false;

  /**
   * @param open Makes a client.
   * @param options How connections are made and checked.
   * @param listener The channel and its callbacks.
   */
  constructor(open: OpenClient, options: PoolOptions, listener: ChannelListener) {
    this.#open = open;
    this.#options = options;
    this.#listener = listener;
  }

  /** Connects and listens. Later, a lost connection is replaced here. If the first one fails, the promise rejects. */
  async begin(): Promise<void> {
    const current = await this.#connect();
    if (this.#isEnded || current.isClosed) {
      this.#ending.add(current.client, 0);
      throw this.#isEnded ? new ClosedError("storage") : new Error("The connection was lost");
    }
    this.#client = current;
    this.#pauseMs = PAUSES[0];
    this.#checkLater();
    this.#listener.onlisten();
  }

  /** Ends the connection. */
  async end(timeout: number = 0): Promise<void> {
    this.#isEnded = true;
    this.#cancel();
    await Promise.all([this.#client?.client.end({ timeout }), this.#ending.settled()]);
  }

  async #connect(): Promise<ListeningClient> {
    const { channel, onnotify } = this.#listener;
    const client = this.#open({
      onclose: () => {
        current.isClosed = true;
        if (this.#client === current) this.#reconnect();
      },
      onnotify: (from, payload) => {
        if (from === channel) onnotify(payload);
      },
    }, 0);
    const current: ListeningClient = {
      client,
      expiresAt: this.#options.clock.now() + lifetimeOf(this.#options),
      isClosed: false,
      server: undefined,
    };
    try {
      await this.#inTime(() => client.unsafe(`LISTEN "${channel}"`));
      return current;
    } catch (error) {
      this.#ending.add(client, 0);
      throw error;
    }
  }

  #inTime<T>(work: () => PromiseLike<T>): Promise<T> {
    return inTime(this.#options.clock, this.#options.statementTimeout, work);
  }

  #checkLater(): void {
    this.#cancel = this.#options.clock.after(CHECK_INTERVAL, () => void this.#check());
  }

  /** Checks whether the connection is alive, and replaces it when it is old. */
  async #check(): Promise<void> {
    const current = this.#client;
    if (current === undefined) return;
    if (!this.#listener.isWanted()) return this.#checkLater();
    const isOld = this.#options.clock.now() >= current.expiresAt;
    // The new one listens before the old one is checked. So no notification is missed between them.
    const next = isOld ? await this.#connect().catch(() => undefined) : undefined;
    const server = await this.#askServer(current);
    if (this.#isEnded || this.#client !== current) {
      if (next) this.#ending.add(next.client, 0);
      return;
    }
    if (next === undefined) {
      if (server === undefined) return this.#reconnect();
      current.server = server;
      return this.#checkLater();
    }
    this.#client = next;
    next.server = await this.#askServer(next);
    this.#ending.add(current.client, GOODBYE_TIMEOUT);
    if (this.#isEnded || this.#client !== next) return;
    if (next.server === undefined) return this.#reconnect();
    if (server !== next.server) this.#listener.onlisten();
    this.#checkLater();
  }

  /** Which server a connection leads to; `undefined` when it does not answer or is a standby. */
  async #askServer({ client }: ListeningClient): Promise<unknown> {
    try {
      const [row] = await this.#inTime(() => client.unsafe(CHECK));
      refuseStandby(row);
      return (row as { server?: unknown } | undefined)?.server ?? "";
    } catch {
      return undefined;
    }
  }

  #reconnect(): void {
    const lost = this.#client;
    this.#client = undefined;
    if (lost) this.#ending.add(lost.client, 0);
    this.#cancel();
    if (this.#isEnded) return;
    const { clock } = this.#options;
    const pauseMs = this.#pauseMs * (0.5 + clock.random() / 2);
    this.#pauseMs = Math.min(this.#pauseMs * 2, PAUSES[1]);
    this.#cancel = clock.after(pauseMs, () => void this.begin().catch(() => this.#reconnect()));
  }
}
