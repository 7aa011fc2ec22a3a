/**
 * Connections to PostgreSQL, each a client of its own that is given up when it is lost.
 *
 * A client of npm:postgres that brings a lost connection back may leave what is asked through it unanswered for
 * good, and one that is ended while it is about to connect does so all the same. So none of these is asked to:
 * a new one takes its place as soon as a statement fails other than by the server's word.
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

/**
 * Makes a client that connects when it is first asked something.
 *
 * @param idleTimeout After so many seconds without anything to do it ends; 0 for never.
 */
export type OpenClient = (events: ClientEvents, idleTimeout: number) => SingleClient;

/**
 * How long a connection for statements may have nothing to do, in seconds. One that is lost while it is made is made
 * again by npm:postgres, also after it was ended, and would else keep its place and the process for good.
 */
const IDLE_TIMEOUT = 30;

/**
 * How long a client may take to connect, in milliseconds. One that is let in and thrown out at once, as by a proxy
 * before a database that is away, tries again for as long as it is let, and says nothing.
 */
const CONNECT_TIMEOUT = 10_000;

/** The shortest and the longest pause before a lost connection that listens is sought again, in milliseconds. */
const PAUSES = [50, 2000] as const;

/** A few connections for statements, one at a time on each, and one that listens. */
export class PostgresPool {
  readonly #open: OpenClient;
  readonly #connectTimeout: number;
  /** Those that have nothing to do; the last of them had something to do last. */
  readonly #idle: Connection[];
  readonly #connections: readonly Connection[];
  readonly #waiting: ((connection: Connection) => void)[] = [];
  readonly #ears = new Set<Ear>();

  /**
   * @param open Makes a client.
   * @param size How many connections there may be for statements.
   * @param connectTimeout How long a client may take to connect, in milliseconds.
   */
  constructor(open: OpenClient, size: number, connectTimeout: number = CONNECT_TIMEOUT) {
    this.#open = open;
    this.#connectTimeout = connectTimeout;
    this.#connections = Array.from({ length: size }, () => new Connection(open, connectTimeout));
    this.#idle = [...this.#connections];
  }

  /** Runs one statement, once a connection is free for it. */
  async unsafe(sql: string, params?: unknown[], options?: { prepare?: boolean }): Promise<readonly object[]> {
    const connection = this.#idle.pop() ??
      await new Promise<Connection>((resolve) => this.#waiting.push(resolve));
    try {
      return await connection.run(sql, params, options);
    } finally {
      const next = this.#waiting.shift();
      if (next) next(connection);
      else this.#idle.push(connection);
    }
  }

  /** Listens to a channel on a connection of its own. When it is lost, it is sought until it is back. */
  async listen(
    channel: string,
    onnotify: (payload: string) => void,
    onlisten: () => void = () => {},
  ): Promise<{ unlisten(): Promise<void> }> {
    const ear = new Ear(this.#open, this.#connectTimeout, channel, onnotify, onlisten);
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

/**
 * A place for one connection. One statement at a time: a client keeps those that it cannot send yet, and would
 * connect for them once more when the connection is lost.
 */
class Connection {
  readonly #open: OpenClient;
  readonly #connectTimeout: number;
  #client: SingleClient | undefined;
  #isReady = false;
  #isEnded = false;

  constructor(open: OpenClient, connectTimeout: number) {
    this.#open = open;
    this.#connectTimeout = connectTimeout;
  }

  async run(sql: string, params?: unknown[], options?: { prepare?: boolean }): Promise<readonly object[]> {
    if (this.#isEnded) throw new ClosedError("storage");
    const client = this.#client ??= this.#create();
    if (!this.#isReady) {
      try {
        await askFirst(client, "SELECT 1", this.#connectTimeout);
        if (this.#client !== client) throw new Error("The connection was lost");
        this.#isReady = true;
      } catch (error) {
        this.#giveUp(client);
        throw error;
      }
    }
    try {
      return await client.unsafe(sql, params as never[], options);
    } catch (error) {
      // Its end is told only later, and what is asked until then would make it connect for that once more.
      if (!isServersWord(error)) this.#giveUp(client);
      throw error;
    }
  }

  async end(timeout: number): Promise<void> {
    this.#isEnded = true;
    await this.#client?.end({ timeout });
  }

  #create(): SingleClient {
    const client = this.#open({ onclose: () => this.#giveUp(client), onnotify: () => {} }, IDLE_TIMEOUT);
    return client;
  }

  #giveUp(client: SingleClient): void {
    if (this.#client === client) [this.#client, this.#isReady] = [undefined, false];
    void client.end({ timeout: 0 });
  }
}

/** A connection that listens to one channel. */
class Ear {
  readonly #open: OpenClient;
  readonly #connectTimeout: number;
  readonly #channel: string;
  readonly #onnotify: (payload: string) => void;
  readonly #onlisten: () => void;
  #client: SingleClient | undefined;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #pauseMs: number = PAUSES[0];
  #isEnded = false;

  constructor(
    open: OpenClient,
    connectTimeout: number,
    channel: string,
    onnotify: (payload: string) => void,
    onlisten: () => void,
  ) {
    this.#open = open;
    this.#connectTimeout = connectTimeout;
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
    }, 0);
    try {
      await askFirst(client, `LISTEN "${this.#channel}"`, this.#connectTimeout);
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

/** Runs a client's first statement, for which it connects. */
async function askFirst(client: SingleClient, sql: string, connectTimeout: number): Promise<void> {
  // Its end rejects what it has not sent yet.
  const timer = setTimeout(() => void client.end({ timeout: 0 }), connectTimeout);
  try {
    await client.unsafe(sql);
  } finally {
    clearTimeout(timer);
  }
}

/** Whether the server said this of a statement, and goes on with the session. */
function isServersWord(error: unknown): boolean {
  const { name, severity } = error as { name?: unknown; severity?: unknown };
  return name === "PostgresError" && severity !== "FATAL" && severity !== "PANIC";
}
