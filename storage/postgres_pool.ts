/**
 * Connections to PostgreSQL, each a client of its own that is given up when it is lost.
 *
 * A client of npm:postgres that brings a lost connection back may leave what is asked through it unanswered for
 * good, and one that is ended while it is about to connect may do so all the same. So none of these is asked to:
 * a new one takes its place.
 *
 * @module
 */
import { ClosedError } from "../src/errors.ts";

/** A client with one connection. */
export interface SingleClient {
  /** Runs one statement. */
  unsafe(sql: string, params?: never[], options?: { prepare?: boolean }): PromiseLike<readonly object[]>;
  /** Ends the connection, after at most so many seconds for what is under way. */
  end(options?: { timeout?: number }): Promise<void>;
}

/** What a client tells of its connection. */
export interface ClientEvents {
  /** The connection was lost, or could not be made. */
  onclose(): void;
  /** Something was announced on a channel that it listens to. */
  onnotify(channel: string, payload: string): void;
}

/** Makes a client that connects when it is first asked something. */
export type OpenClient = (events: ClientEvents) => SingleClient;

/** The shortest and the longest pause before a lost connection that listens is sought again, in milliseconds. */
const PAUSES = [50, 2000] as const;

/** A few connections for statements, and one that listens. */
export class PostgresPool {
  readonly #connections: readonly Connection[];
  readonly #open: OpenClient;
  readonly #ears = new Set<Ear>();

  /**
   * @param open Makes a client.
   * @param size How many connections there may be for statements.
   */
  constructor(open: OpenClient, size: number) {
    this.#open = open;
    this.#connections = Array.from({ length: size }, () => new Connection(open));
  }

  /** Runs one statement on the connection that has the least to do; of several, the first. */
  async unsafe(sql: string, params?: unknown[], options?: { prepare?: boolean }): Promise<readonly object[]> {
    const free = this.#connections.reduce((a, b) => b.load < a.load ? b : a);
    return await free.run(sql, params, options);
  }

  /** Listens to a channel on a connection of its own. When it is lost, it is sought until it is back. */
  async listen(
    channel: string,
    onnotify: (payload: string) => void,
    onlisten: () => void = () => {},
  ): Promise<{ unlisten(): Promise<void> }> {
    const ear = new Ear(this.#open, channel, onnotify, onlisten);
    await ear.begin();
    this.#ears.add(ear);
    return { unlisten: () => ear.end() };
  }

  /** Ends all connections. */
  async end({ timeout = 0 }: { timeout?: number } = {}): Promise<void> {
    const all = [...this.#connections, ...this.#ears];
    await Promise.all(all.map((each) => each.end(timeout)));
  }
}

/** A place for one connection. */
class Connection {
  /** How many statements are under way. */
  load = 0;
  readonly #open: OpenClient;
  #client: SingleClient | undefined;
  #ready: Promise<SingleClient> | undefined;
  #isEnded = false;

  constructor(open: OpenClient) {
    this.#open = open;
  }

  async run(sql: string, params?: unknown[], options?: { prepare?: boolean }): Promise<readonly object[]> {
    this.load++;
    try {
      const client = await (this.#ready ??= this.#connect());
      return await client.unsafe(sql, params as never[], options);
    } finally {
      this.load--;
    }
  }

  async end(timeout: number): Promise<void> {
    this.#isEnded = true;
    await this.#client?.end({ timeout });
  }

  async #connect(): Promise<SingleClient> {
    if (this.#isEnded) throw new ClosedError("storage");
    const client = this.#open({ onclose: () => this.#giveUp(client), onnotify: () => {} });
    this.#client = client;
    try {
      // Nothing else is asked before it is there, so that it has nothing to come back for.
      await client.unsafe("SELECT 1");
    } catch (error) {
      this.#giveUp(client);
      throw error;
    }
    return client;
  }

  #giveUp(client: SingleClient): void {
    if (this.#client === client) this.#client = this.#ready = undefined;
    void client.end({ timeout: 0 });
  }
}

/** A connection that listens to one channel. */
class Ear {
  readonly #open: OpenClient;
  readonly #channel: string;
  readonly #onnotify: (payload: string) => void;
  readonly #onlisten: () => void;
  #client: SingleClient | undefined;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #pauseMs: number = PAUSES[0];
  #isEnded = false;

  constructor(open: OpenClient, channel: string, onnotify: (payload: string) => void, onlisten: () => void) {
    this.#open = open;
    this.#channel = channel;
    this.#onnotify = onnotify;
    this.#onlisten = onlisten;
  }

  /** Connects and listens. Later losses are mended here; that it cannot begin is for the caller. */
  async begin(): Promise<void> {
    let [isListening, isClosed] = [false, false];
    const client = this.#client = this.#open({
      onclose: () => {
        isClosed = true;
        if (isListening) this.#seek(client);
      },
      onnotify: (channel, payload) => {
        if (channel === this.#channel) this.#onnotify(payload);
      },
    });
    try {
      await client.unsafe(`LISTEN "${this.#channel}"`);
      if (this.#isEnded) throw new ClosedError("storage");
      if (isClosed) throw new Error("The connection was lost");
    } catch (error) {
      void client.end({ timeout: 0 });
      throw error;
    }
    isListening = true;
    this.#pauseMs = PAUSES[0];
    this.#onlisten();
  }

  async end(timeout: number = 0): Promise<void> {
    this.#isEnded = true;
    clearTimeout(this.#timer);
    await this.#client?.end({ timeout });
  }

  #seek(lost: SingleClient): void {
    void lost.end({ timeout: 0 });
    if (this.#isEnded) return;
    const pauseMs = this.#pauseMs * (0.5 + Math.random() / 2);
    this.#pauseMs = Math.min(this.#pauseMs * 2, PAUSES[1]);
    this.#timer = setTimeout(() => void this.begin().catch(() => this.#seek(lost)), pauseMs);
  }
}
