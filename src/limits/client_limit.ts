/**
 * Limits how often each client may send requests, and tells clients apart.
 *
 * @module
 */
import type { AbortSignalLike } from "../abort_signal.ts";
import type { Clock } from "../clock.ts";
import { RealityError } from "../errors.ts";
import { createHash } from "../hash.ts";
import type { Hooks } from "../hooks.ts";
import type { RateLimitConfig } from "../check_options.ts";
import type { RequestRecord } from "../telemetry/request_record.ts";
import { clientAddress, clientNetwork, type TrustedProxies, UNIX_SOCKET } from "./client_address.ts";
import { formatPolicy, formatQuota, type Quota, RateLimiter } from "./rate_limit.ts";

/** Identifies all clients together whose address is no longer known. */
const UNKNOWN_ADDRESS = "lost";

/** A longer identifier of a client is hashed, in characters. */
const MAX_CLIENT_LENGTH = 128;

/** A request of a client, as limits and hooks see it. */
export interface ClientRequest extends Locatable {
  /** The request for the application's hook. */
  toRequest(): Request;
  /** What the host provides beside the request. */
  getContext(): unknown;
  /** Aborts when the client disconnects. */
  getSignal(): AbortSignalLike;
  /** Whether all strings of its body contain only visible ASCII; left out: unknown. */
  readonly hasPlainStrings?: boolean;
}

/** What is needed of a request to find its client. */
export interface Locatable {
  /** A header's value by its lower-case name. */
  header(name: string): string | null;
  /** The address of the connection; `unix` for a Unix socket, `null` if unknown. */
  remoteAddress(): string | null;
  /** Represents the connection, if it can carry several requests at the same time. */
  connection?(): object | undefined;
}

/** Identifies the client of a request by its address; `null` if that is unknown. */
export function clientOf(request: Locatable, trusted: TrustedProxies): string | null {
  const address = addressOf(request, trusted);
  return address === null ? null : clientNetwork(address);
}

/** Whether a trusted proxy forwarded a request. A connection of a proxy carries the requests of many clients. */
export function isProxied(request: Locatable, trusted: TrustedProxies): boolean {
  return addressOf(request, trusted) !== addressOf(request, 0);
}

function addressOf(request: Locatable, trusted: TrustedProxies): string | null {
  return clientAddress(request.remoteAddress(), {
    xForwardedFor: request.header("x-forwarded-for"),
    forwarded: request.header("forwarded"),
  }, trusted);
}

/** What a client limit needs. */
export interface ClientLimitDeps {
  readonly clock: Clock;
  /** Calls the application's `key`. */
  readonly hooks: Pick<Hooks, "call">;
  /** Receives an error, once, if clients cannot be told apart. */
  readonly report: (error: RealityError) => void;
}

/** Limits how often each client may send requests. */
export class ClientLimit {
  readonly #limiter: RateLimiter;
  readonly #policy: string;
  readonly #key: RateLimitConfig["key"];
  readonly #trusted: TrustedProxies;
  readonly #hooks: Pick<Hooks, "call">;
  readonly #report: (error: RealityError) => void;
  #isReported = false;
  /** Whether the address of any client was known. Then a request without an address has lost it. */
  #knowsAddresses = false;

  /**
   * @param config The limit, and how clients are told apart.
   * @param trusted The trusted proxies.
   * @param deps What the limit needs.
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
   * @param record Records the client.
   * @returns The quota of the client; `null` if it is not limited.
   */
  async take(request: ClientRequest, record: Pick<RequestRecord, "client">): Promise<Quota | null> {
    const client = record.client = await this.#identify(request, addressOf(request, this.#trusted));
    return client === null ? null : this.#limiter.take(client);
  }

  /** The header fields that tell a client its quota. */
  fields(quota: Quota): Record<string, string> {
    return { "ratelimit-policy": this.#policy, "ratelimit": formatQuota(quota) };
  }

  async #identify(request: ClientRequest, address: string | null): Promise<string | null> {
    const key = this.#key;
    if (key !== undefined) {
      const call = () => key(request.toRequest(), { address, context: request.getContext() });
      const client: unknown = await this.#hooks.call("rateLimit.key", call, () => request.getSignal());
      if (client === null) return null;
      // The identifier is kept in memory, so it must be short whatever the client has sent.
      if (typeof client === "string") {
        return client.length > MAX_CLIENT_LENGTH ? await createHash(client) : client;
      }
      throw new TypeError('Cannot read the answer of "rateLimit.key": expected a string or null');
    }
    if (address !== null) {
      this.#knowsAddresses = true;
      return clientNetwork(address);
    }
    // A connection that was reset by its client has no address any more, but its earlier requests are still answered.
    if (this.#knowsAddresses && request.remoteAddress() === null) return UNKNOWN_ADDRESS;
    if (!this.#isReported) {
      this.#isReported = true;
      this.#report(
        new RealityError(
          "ERR_REALITY_INTERNAL",
          request.remoteAddress() === UNIX_SOCKET
            ? 'Cannot limit clients: they come through a Unix socket, which has no address; put "unix" into ' +
              'trustProxy and let the proxy send X-Forwarded-For, or set "rateLimit.key"'
            : "Cannot limit clients: their address is not known; pass the runtime's second argument to the " +
              'handler, or set "rateLimit.key"',
        ),
      );
    }
    return null;
  }
}
