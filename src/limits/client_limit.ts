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
import type { RateLimitConfig } from "../options.ts";
import type { RequestRecord } from "../telemetry/request_record.ts";
import { clientAddress, clientNetwork, type TrustedProxies, UNIX_SOCKET } from "./client_address.ts";
import { formatPolicy, formatQuota, type Quota, RateLimiter } from "./rate_limit.ts";

/** What stands for all clients together whose address is lost. */
const UNKNOWN_ADDRESS = "lost";

/** The longest text that stands for a client as it is, in characters. */
const MAX_CLIENT_LENGTH = 128;

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
    if (this.#knowsAddresses && request.remoteAddress() === null) return UNKNOWN_ADDRESS;
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
