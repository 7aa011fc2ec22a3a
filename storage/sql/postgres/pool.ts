/**
 * Connections to PostgreSQL, each a client of its own that is given up when it is lost.
 *
 * A client of npm:postgres that brings a lost connection back may leave what is asked through it unanswered for
 * good, and one that is ended while it is about to connect does so all the same. So none of these is asked to:
 * a new one takes its place as soon as a statement fails other than by the server's word, has no answer in time, or
 * is answered by a server that only reads, and when the connection has lived long enough.
 *
 * @module
 */
import { ClosedError } from "../../../src/errors.ts";

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

/** How a pool treats its connections. */
export interface PoolOptions {
  /** How many connections there may be for statements. */
  readonly size: number;
  /** How long one statement may take on one connection, connecting included, in milliseconds. */
  readonly statementTimeout: number;
  /** How long a connection may live, in milliseconds; chance takes up to half of it off each. */
  readonly maxLifetime: number;
  /** The first statement on a connection for others; its row may say `is_standby`. */
  readonly greeting: string;
  /** Whether the rows of an answer say that the server, or the transaction, only reads. */
  readonly tellsReadOnly: (rows: readonly object[]) => boolean;
  /** Time, timers and chance. For tests. */
  readonly clock: PoolClock;
}

/** Time, timers and chance, as `Clock` of `src/clock.ts` has them; the time need not be that of the calendar. */
export interface PoolClock {
  /** A time in milliseconds that only goes on. */
  now(): number;
  /** Calls back once, no sooner than after that many milliseconds; gives a function that calls it off. */
  after(ms: number, callback: () => void): () => void;
  /** A number from 0 up to, not including, 1. */
  random(): number;
}

/** The runtime's own, which no change of the system's time moves. */
export const monotonicClock: PoolClock = {
  now: () => performance.now(),
  after(ms: number, callback: () => void): () => void {
    const timer = setTimeout(callback, ms);
    return () => clearTimeout(timer);
  },
  random: () => Math.random(),
};

/**
 * How long a connection for statements may have nothing to do, in seconds. One that is lost while it is made is made
 * again by npm:postgres, also after it was ended, and would else keep its place and the process for good.
 */
const IDLE_TIMEOUT = 30;

/** The shortest and the longest pause before a lost connection that listens is sought again, in milliseconds. */
const PAUSES = [50, 2000] as const;

/** How often a connection that listens is asked whether it is still there, in milliseconds. */
const CHECK_INTERVAL = 5000;

/** A connection to a server that only reads is kept so long, in milliseconds, before another one is tried. */
const READ_ONLY_LIFETIME = 500;

/** How long a connection that has lived long enough may take to say goodbye, in seconds. */
const GOODBYE_TIMEOUT = 1;

/** What a connection that listens is asked: whether its server only reads, and when that was started, which names it. */
const CHECK =
  "SELECT pg_is_in_recovery() OR current_setting('transaction_read_only') = 'on' AS is_standby, " +
  "pg_postmaster_start_time()::text AS server";

/** A statement had no answer in time. */
class LateError extends Error {}

interface Waiting {
  take(connection: Connection): void;
}

/** A few connections for statements, one at a time on each, and one that listens. */
export class PostgresPool {
  readonly #open: OpenClient;
  readonly #options: PoolOptions;
  /** Those that have nothing to do; the last of them had something to do last. */
  readonly #idle: Connection[];
  readonly #connections: readonly Connection[];
  readonly #waiting = new Set<Waiting>();
  readonly #ears = new Set<Ear>();

  /** @param open Makes a client. */
  constructor(open: OpenClient, options: PoolOptions) {
    this.#open = open;
    this.#options = options;
    this.#connections = Array.from({ length: options.size }, () => new Connection(open, options));
    this.#idle = [...this.#connections];
  }

  /**
   * Runs one statement, once a connection is free for it. Where a connection that was there already gives no answer
   * in time, or turns out to lead to a server that only reads, the statement is sent once more, on a new connection:
   * it may then have been run twice. What waits for a connection gives up after the time that this takes.
   */
  async unsafe(sql: string, params?: unknown[], options?: { prepare?: boolean }): Promise<readonly object[]> {
    const connection = this.#idle.pop() ?? await this.#wait();
    try {
      return await connection.run(sql, params, options);
    } finally {
      const [next] = this.#waiting;
      if (next) next.take(connection);
      else this.#idle.push(connection);
    }
  }

  /**
   * Listens to a channel on a connection of its own. When it is lost, it is sought until it is back.
   *
   * @param onlisten Hears that it listens, also when it does again and may have missed something.
   * @param isWanted Whether it matters now that the connection is there: else nobody looks.
   */
  async listen(
    channel: string,
    onnotify: (payload: string) => void,
    onlisten: () => void = () => {},
    isWanted: () => boolean = () => true,
  ): Promise<{ unlisten(): Promise<void> }> {
    const ear = new Ear(this.#open, this.#options, { channel, onnotify, onlisten, isWanted });
    await ear.begin();
    this.#ears.add(ear);
    return { unlisten: () => ear.end() };
  }

  /** Ends all connections. */
  async end({ timeout = 0 }: { timeout?: number } = {}): Promise<void> {
    const all = [...this.#connections, ...this.#ears];
    await Promise.all(all.map((each) => each.end(timeout)));
  }

  #wait(): Promise<Connection> {
    const { clock, statementTimeout } = this.#options;
    const longest = statementTimeout * 2;
    return new Promise((resolve, reject) => {
      const leave = () => {
        this.#waiting.delete(waiting);
        cancel();
      };
      const waiting: Waiting = {
        take: (connection) => {
          leave();
          resolve(connection);
        },
      };
      const cancel = clock.after(longest, () => {
        leave();
        reject(new LateError(`no connection was free within ${longest} ms`));
      });
      this.#waiting.add(waiting);
    });
  }
}

/** Clients that were given up and have not ended yet. */
class Leaving {
  readonly #ends = new Set<Promise<void>>();

  add(client: SingleClient, timeout: number): void {
    const end = client.end({ timeout }).catch(() => {}).finally(() => this.#ends.delete(end));
    this.#ends.add(end);
  }

  async all(): Promise<void> {
    await Promise.all(this.#ends);
  }
}

/**
 * A place for one connection. One statement at a time: a client keeps those that it cannot send yet, and would
 * connect for them once more when the connection is lost.
 */
class Connection {
  readonly #open: OpenClient;
  readonly #options: PoolOptions;
  readonly #leaving = new Leaving();
  #client: SingleClient | undefined;
  #isReady = false;
  /** When the client was ready, by the clock. */
  #readyAt = 0;
  /** When it has lived long enough. */
  #expiresAt = 0;
  #isEnded = false;

  constructor(open: OpenClient, options: PoolOptions) {
    this.#open = open;
    this.#options = options;
  }

  async run(sql: string, params?: unknown[], options?: { prepare?: boolean }): Promise<readonly object[]> {
    if (this.#isReady && this.#options.clock.now() >= this.#expiresAt) {
      this.#giveUp(this.#client, GOODBYE_TIMEOUT);
    }
    const wasThere = this.#isReady;
    const statement = [sql, params, options] as const;
    try {
      const rows = await this.#ask(statement);
      if (!this.#options.tellsReadOnly(rows) || !this.#leave() || !wasThere) return rows;
    } catch (error) {
      if (!wasThere || !(error instanceof LateError || isReadOnlyError(error) && this.#leave())) throw error;
    }
    return await this.#ask(statement);
  }

  async end(timeout: number): Promise<void> {
    this.#isEnded = true;
    await Promise.all([this.#client?.end({ timeout }), this.#leaving.all()]);
  }

  async #ask(
    [sql, params, options]: readonly [string, unknown[] | undefined, { prepare?: boolean } | undefined],
  ): Promise<readonly object[]> {
    if (this.#isEnded) throw new ClosedError("storage");
    const client = this.#client ??= this.#create();
    try {
      return await this.#inTime(async () => {
        if (!this.#isReady) await this.#greet(client);
        return await client.unsafe(sql, params as never[], options);
      });
    } catch (error) {
      // Its end is told only later, and what is asked until then would make it connect for that once more.
      if (!this.#isReady || !isServersWord(error)) this.#giveUp(client);
      throw error;
    }
  }

  #inTime<T>(work: () => PromiseLike<T>): Promise<T> {
    return inTime(this.#options.clock, this.#options.statementTimeout, work);
  }

  async #greet(client: SingleClient): Promise<void> {
    const [row] = await client.unsafe(this.#options.greeting);
    if (this.#client !== client) throw new Error("The connection was lost");
    refuseStandby(row);
    this.#isReady = true;
    this.#readyAt = this.#options.clock.now();
    this.#expiresAt = this.#readyAt + lifetimeOf(this.#options);
  }

  /** Gives the connection up unless it is that young: a new one would most likely lead to the same server. */
  #leave(): boolean {
    if (this.#options.clock.now() - this.#readyAt < READ_ONLY_LIFETIME) return false;
    this.#giveUp(this.#client);
    return true;
  }

  #create(): SingleClient {
    const client = this.#open({ onclose: () => this.#giveUp(client), onnotify: () => {} }, IDLE_TIMEOUT);
    return client;
  }

  #giveUp(client: SingleClient | undefined, timeout: number = 0): void {
    if (client === undefined) return;
    if (this.#client === client) [this.#client, this.#isReady] = [undefined, false];
    this.#leaving.add(client, timeout);
  }
}

/** What is listened to, and who hears it. */
interface Listening {
  readonly channel: string;
  readonly onnotify: (payload: string) => void;
  readonly onlisten: () => void;
  readonly isWanted: () => boolean;
}

/** A client that listens, and what is known of it. */
interface Line {
  readonly client: SingleClient;
  readonly expiresAt: number;
  isClosed: boolean;
  /** Which server it leads to, once that is known. */
  server: unknown;
}

/** A connection that listens to one channel. */
class Ear {
  readonly #open: OpenClient;
  readonly #options: PoolOptions;
  readonly #listening: Listening;
  readonly #leaving = new Leaving();
  #line: Line | undefined;
  #cancel = () => {};
  #pauseMs: number = PAUSES[0];
  #isEnded = false;

  constructor(open: OpenClient, options: PoolOptions, listening: Listening) {
    this.#open = open;
    this.#options = options;
    this.#listening = listening;
  }

  /** Connects and listens. Later losses are mended here; that it cannot begin is for the caller. */
  async begin(): Promise<void> {
    const line = await this.#connect();
    if (this.#isEnded || line.isClosed) {
      this.#leaving.add(line.client, 0);
      throw this.#isEnded ? new ClosedError("storage") : new Error("The connection was lost");
    }
    this.#line = line;
    this.#pauseMs = PAUSES[0];
    this.#checkLater();
    this.#listening.onlisten();
  }

  async end(timeout: number = 0): Promise<void> {
    this.#isEnded = true;
    this.#cancel();
    await Promise.all([this.#line?.client.end({ timeout }), this.#leaving.all()]);
  }

  async #connect(): Promise<Line> {
    const { channel, onnotify } = this.#listening;
    const client = this.#open({
      onclose: () => {
        line.isClosed = true;
        if (this.#line === line) this.#seek();
      },
      onnotify: (from, payload) => {
        if (from === channel) onnotify(payload);
      },
    }, 0);
    const line: Line = {
      client,
      expiresAt: this.#options.clock.now() + lifetimeOf(this.#options),
      isClosed: false,
      server: undefined,
    };
    try {
      await this.#inTime(() => client.unsafe(`LISTEN "${channel}"`));
      return line;
    } catch (error) {
      this.#leaving.add(client, 0);
      throw error;
    }
  }

  #inTime<T>(work: () => PromiseLike<T>): Promise<T> {
    return inTime(this.#options.clock, this.#options.statementTimeout, work);
  }

  #checkLater(): void {
    this.#cancel = this.#options.clock.after(CHECK_INTERVAL, () => void this.#check());
  }

  /** Looks whether the connection is still there, and takes a new one in its place when it is old. */
  async #check(): Promise<void> {
    const line = this.#line;
    if (line === undefined) return;
    if (!this.#listening.isWanted()) return this.#checkLater();
    const isOld = this.#options.clock.now() >= line.expiresAt;
    // The new one listens before the old one is asked: what the old one had told by then, nobody has missed.
    const next = isOld ? await this.#connect().catch(() => undefined) : undefined;
    const server = await this.#askServer(line);
    if (this.#isEnded || this.#line !== line) {
      if (next) this.#leaving.add(next.client, 0);
      return;
    }
    if (next === undefined) {
      if (server === undefined) return this.#seek();
      line.server = server;
      return this.#checkLater();
    }
    this.#line = next;
    next.server = await this.#askServer(next);
    this.#leaving.add(line.client, GOODBYE_TIMEOUT);
    if (this.#isEnded || this.#line !== next) return;
    if (next.server === undefined) return this.#seek();
    if (server !== next.server) this.#listening.onlisten();
    this.#checkLater();
  }

  /** Which server a connection leads to; nothing when it gives no answer, or is a standby. */
  async #askServer({ client }: Line): Promise<unknown> {
    try {
      const [row] = await this.#inTime(() => client.unsafe(CHECK));
      refuseStandby(row);
      return (row as { server?: unknown } | undefined)?.server ?? "";
    } catch {
      return undefined;
    }
  }

  #seek(): void {
    const lost = this.#line;
    this.#line = undefined;
    if (lost) this.#leaving.add(lost.client, 0);
    this.#cancel();
    if (this.#isEnded) return;
    const { clock } = this.#options;
    const pauseMs = this.#pauseMs * (0.5 + clock.random() / 2);
    this.#pauseMs = Math.min(this.#pauseMs * 2, PAUSES[1]);
    this.#cancel = clock.after(pauseMs, () => void this.begin().catch(() => this.#seek()));
  }
}

/** A lifetime for one connection, in milliseconds: so that not all of them end at once. */
function lifetimeOf({ clock, maxLifetime }: PoolOptions): number {
  return maxLifetime * (0.5 + clock.random() / 2);
}

/** Settles as the work does, or rejects when that takes too long. */
export function inTime<T>(clock: PoolClock, timeout: number, work: () => PromiseLike<T>): Promise<T> {
  return new Promise((resolve, reject) => {
    const cancel = clock.after(timeout, () => reject(new LateError(`no answer within ${timeout} ms`)));
    work().then((value) => {
      cancel();
      resolve(value);
    }, (error) => {
      cancel();
      reject(error);
    });
  });
}

/** @throws {Error} When a row says that the server is a standby. */
function refuseStandby(row: object | undefined): void {
  if (!(row as { is_standby?: unknown } | undefined)?.is_standby) return;
  throw new Error("the server is a standby, which only reads: the address must lead to the primary");
}

/** Whether the server said this of a statement, and goes on with the session. */
function isServersWord(error: unknown): boolean {
  const { name, severity, code } = (error ?? {}) as { name?: unknown; severity?: unknown; code?: unknown };
  // connection_exception, admin_shutdown, crash_shutdown, cannot_connect_now: poolers say them of a lost server.
  const isLoss = typeof code === "string" && /^(08|57P0[123])/.test(code);
  return name === "PostgresError" && severity !== "FATAL" && severity !== "PANIC" && !isLoss;
}

/** Whether the server said that it, or the transaction, only reads. */
function isReadOnlyError(error: unknown): boolean {
  return (error as { code?: unknown } | null)?.code === "25006";
}
