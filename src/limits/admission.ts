/**
 * Who may come in: how many requests are dealt with at once, what their bodies may hold, and how often a client may
 * ask. Asked before anything of a body is read.
 *
 * @module
 */
import { clientAddress, clientNetwork, type TrustedProxies, UNIX_SOCKET } from "./client_address.ts";
import type { Clock } from "../clock.ts";
import { type DeadlineList, Deadlines, type Due } from "./deadlines.ts";
import { ClosedError, RealityError, RefusalError } from "../errors.ts";
import type { AbortSignalLike } from "../abort_signal.ts";
import { createHash } from "../hash.ts";
import type { Hooks } from "../hooks.ts";
import type { Limits, RateLimitConfig } from "../options.ts";
import type { RequestRecord } from "../telemetry/request_record.ts";
import { formatPolicy, formatQuota, type Quota, RateLimiter } from "./rate_limit.ts";

/** What stands for all clients together whose address is lost. */
const LOST_ADDRESS = "lost";

/** The longest text that stands for a client as it is, in characters. */
const MAX_CLIENT_LENGTH = 128;

/** The requests that are being read or answered. Who waits is none of them. */
export class ConcurrencyLimit {
  readonly #max: number;
  #entered = 0;
  #parked = 0;
  #onEmptied: (() => void) | undefined;

  /**
   * @param max How many there may be at once.
   */
  constructor(max: number) {
    this.#max = max;
  }

  /** How many there are now. */
  get busy(): number {
    return this.#entered - this.#parked;
  }

  /**
   * Lets a request in, which has to leave.
   *
   * @throws {RefusalError} `OVERLOADED` when there are enough.
   */
  enter(): void {
    if (this.busy >= this.#max) throw overloaded(`maxRequests (${this.#max}) are being answered`);
    this.#entered++;
  }

  /** Has been answered. */
  leave(): void {
    this.#entered--;
    if (this.#entered === 0) this.#onEmptied?.();
  }

  /** Settles when all that came in, those who wait included, have been answered. */
  drained(): Promise<void> {
    if (this.#entered === 0) return Promise.resolve();
    return new Promise((resolve) => this.#onEmptied = resolve);
  }

  /** Begins to wait. */
  startWait(): void {
    this.#parked++;
  }

  /** Has waited. */
  endWait(): void {
    this.#parked--;
  }
}

/** What counts the requests that are dealt with. */
export type RequestLimit = Pick<ConcurrencyLimit, "busy" | "enter" | "leave" | "startWait" | "endWait">;

/** The reading of one body. */
export interface BodyReservation {
  /**
   * Counts bytes that are held from now on.
   *
   * @throws {RefusalError} `OVERLOADED` when all bodies together hold too many.
   */
  take(bytes: number): void;
  /** Is over: whatever it held is given back. May be called twice. */
  end(): void;
}

/** What all bodies share that are being read. */
export interface BodyBudget {
  /** What every one of `maxRequests` bodies may hold, in bytes, and there is still enough for all. */
  readonly share: number;
  /**
   * Begins to read a body.
   *
   * @param declared How long it says it is; 0 where it does not say.
   * @param onStop Called when its time is up or the server closes, unless it ended before.
   * @throws {RefusalError} `OVERLOADED` when there is no room for it.
   * @throws {ClosedError} When the server is closed.
   */
  begin(declared: number, onStop: (refusal: RealityError) => void): BodyReservation;
}

/** The bodies that are being read: how many bytes of them are held, and which have taken too long. */
export class SharedBodyBudget implements BodyBudget {
  readonly share: number;
  readonly #max: number;
  readonly #timeout: number;
  readonly #deadlines: DeadlineList;
  #held = 0;
  #isClosed = false;

  /**
   * @param limits How much there may be, and for how long.
   * @param clock Where time and timers come from.
   * @param deadlines Ends those that take longer than `bodyTimeout`; left out, one timer serves all.
   */
  constructor(
    { maxReadingBytes, maxRequests, bodyTimeout }: Pick<
      Limits,
      "maxReadingBytes" | "maxRequests" | "bodyTimeout"
    >,
    clock: Clock,
    deadlines: DeadlineList = new Deadlines(clock, bodyTimeout),
  ) {
    this.share = Math.floor(maxReadingBytes / maxRequests);
    this.#max = maxReadingBytes;
    this.#timeout = bodyTimeout;
    this.#deadlines = deadlines;
  }

  /** Bytes that are held now. */
  get held(): number {
    return this.#held;
  }

  begin(declared: number, onStop: (refusal: RealityError) => void): BodyReservation {
    if (this.#isClosed) throw new ClosedError();
    if (this.#held >= this.#max || declared > this.#max - this.#held) throw this.#full();
    const reading = new Reservation(this, onStop);
    this.#deadlines.add(reading);
    return reading;
  }

  /** Turns down what is still being read, and whatever else would be. */
  close(): void {
    this.#isClosed = true;
    this.#deadlines.close();
  }

  /** Counts bytes of one of them. */
  take(reading: Reservation, bytes: number): void {
    if (bytes > this.#max - this.#held) throw this.#full();
    reading.held += bytes;
    this.#held += bytes;
  }

  /** Forgets one of them. */
  end(reading: Reservation): void {
    this.#deadlines.remove(reading);
    this.#held -= reading.held;
    reading.held = 0;
  }

  /** Why a body is given up whose time is up. */
  get lateness(): RealityError {
    if (this.#isClosed) return new ClosedError();
    return new UnreadRefusal(
      "ERR_REALITY_TIMEOUT",
      `Cannot read the body: it was not there after bodyTimeout (${this.#timeout} ms)`,
    );
  }

  #full(): RefusalError {
    return new UnreadRefusal(
      "ERR_REALITY_OVERLOADED",
      `Cannot read the body: maxReadingBytes (${this.#max}) are held by all that are being read`,
    );
  }
}

class Reservation implements BodyReservation, Due {
  dueAt = 0;
  before: Due | undefined = undefined;
  after: Due | undefined = undefined;
  held = 0;
  readonly #room: SharedBodyBudget;
  readonly #onStop: (refusal: RealityError) => void;

  constructor(room: SharedBodyBudget, onStop: (refusal: RealityError) => void) {
    this.#room = room;
    this.#onStop = onStop;
  }

  take(bytes: number): void {
    this.#room.take(this, bytes);
  }

  end(): void {
    this.#room.end(this);
  }

  onLate(): void {
    this.end();
    this.#onStop(this.#room.lateness);
  }

  onLost(): void {
    this.end();
  }
}

/** A refusal that leaves a part of the body unread: the connection is of no more use. */
export class UnreadRefusal extends RefusalError {}

/** What is looked at of a request to tell whose it is. */
export interface LimitedRequest extends Locatable {
  /** The request as the application's own hook sees it. */
  toRequest(): Request;
  /** What the host knows beside it. */
  getContext(): unknown;
  /** Tells when the client goes. */
  getSignal(): AbortSignalLike;
}

/** What is looked at of a request to tell where it comes from. */
export interface Locatable {
  /** A header's value by its lower-case name. */
  header(name: string): string | null;
  /** The address that connected; `unix` for a Unix socket, `null` for unknown. */
  remoteAddress(): string | null;
  /** What stands for the connection, where it can bring several requests at once. */
  connection?(): object | undefined;
}

/** What stands for the client of a request by its address; `null` where that is not known. */
export function clientOf(request: Locatable, trusted: TrustedProxies): string | null {
  const address = addressOf(request, trusted);
  return address === null ? null : clientNetwork(address);
}

/** Whether a trusted proxy brought a request: one connection of it carries the requests of many clients. */
export function isProxied(request: Locatable, trusted: TrustedProxies): boolean {
  return addressOf(request, trusted) !== addressOf(request, 0);
}

function addressOf(request: Locatable, trusted: TrustedProxies): string | null {
  return clientAddress(request.remoteAddress(), {
    xForwardedFor: request.header("x-forwarded-for"),
    forwarded: request.header("forwarded"),
  }, trusted);
}

/** What a limit of clients works with. */
export interface ClientLimitDeps {
  readonly clock: Clock;
  /** Call the application's own key. */
  readonly hooks: Pick<Hooks, "call">;
  /** Hears, once, that clients cannot be told apart. */
  readonly report: (error: RealityError) => void;
}

/** How often each client may ask, whoever that is. */
export class ClientLimit {
  readonly #limiter: RateLimiter;
  readonly #policy: string;
  readonly #key: RateLimitConfig["key"];
  readonly #trusted: TrustedProxies;
  readonly #hooks: Pick<Hooks, "call">;
  readonly #report: (error: RealityError) => void;
  #isReported = false;
  /** Whether any client's address was known: then one without has lost it. */
  #knowsAddresses = false;

  /**
   * @param config The limit, and what tells clients apart.
   * @param trusted Which proxies are believed.
   * @param rooms What it works with.
   */
  constructor(config: RateLimitConfig, trusted: TrustedProxies, { clock, hooks, report }: ClientLimitDeps) {
    this.#hooks = hooks;
    this.#limiter = new RateLimiter(config, clock);
    this.#policy = formatPolicy(config);
    this.#key = config.key;
    this.#trusted = trusted;
    this.#report = report;
  }

  /**
   * Counts a request.
   *
   * @param record Where it is noted whose it is.
   * @returns What it found; `null` for one that is not limited.
   */
  async take(request: LimitedRequest, record: Pick<RequestRecord, "client">): Promise<Quota | null> {
    const client = record.client = await this.#identify(request, addressOf(request, this.#trusted));
    return client === null ? null : this.#limiter.take(client);
  }

  /** The header fields that tell a client how it stands. */
  fields(quota: Quota): Record<string, string> {
    return { "ratelimit-policy": this.#policy, "ratelimit": formatQuota(quota) };
  }

  async #identify(request: LimitedRequest, address: string | null): Promise<string | null> {
    const key = this.#key;
    if (key !== undefined) {
      const call = () => key(request.toRequest(), { address, context: request.getContext() });
      const client: unknown = await this.#hooks.call("rateLimit.key", call, () => request.getSignal());
      if (client === null) return null;
      // What is kept of a client must be small, whatever it has sent.
      if (typeof client === "string") {
        return client.length > MAX_CLIENT_LENGTH ? await createHash(client) : client;
      }
      throw new TypeError('Cannot read the answer of "rateLimit.key": expected a string or null');
    }
    if (address !== null) {
      this.#knowsAddresses = true;
      return clientNetwork(address);
    }
    // A connection that its client has reset tells no address any more, though what came before is still answered.
    if (this.#knowsAddresses && request.remoteAddress() === null) return LOST_ADDRESS;
    if (!this.#isReported) {
      this.#isReported = true;
      this.#report(
        new RealityError(
          "ERR_REALITY_INTERNAL",
          request.remoteAddress() === UNIX_SOCKET
            ? 'Cannot limit clients: they come through a Unix socket, which has no address; put "unix" into ' +
              'trustProxy and let the proxy say X-Forwarded-For, or give "rateLimit.key"'
            : "Cannot limit clients: their address is not known here; hand the runtime's second argument on to the " +
              'handler, or give "rateLimit.key"',
        ),
      );
    }
    return null;
  }
}

/** The refusal of a request for which there is no place. */
export function overloaded(found: string): RefusalError {
  return new RefusalError("ERR_REALITY_OVERLOADED", `Cannot take the request: ${found}`);
}
