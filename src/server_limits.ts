/**
 * The limits of requests and of the server, their defaults and their ranges.
 *
 * @module
 */
import { checkInteger, checkNames } from "./check.ts";
import { MAX_HASH_BYTES, MAX_KEY_BYTES } from "./store/node.ts";

/** The limits of one request, and of one server. */
export interface Limits {
  /** Bytes of a request body, counted while it is read. Larger ones get 413. @default {1048576} */
  readonly maxBodyBytes: number;
  /** Keys in one request. Requests with more get 413. @default {10000} */
  readonly maxKeys: number;
  /** Bytes of UTF-8 in a key, at most 512. A longer key gets 400. @default {512} */
  readonly maxKeyBytes: number;
  /** Bytes of UTF-8 in a hash, at most 256. A longer hash gets 400. @default {256} */
  readonly maxHashBytes: number;
  /**
   * The longest wait of a sync, in milliseconds. A longer `wait` is reduced to it. With 0, no sync waits. Keep it below the
   * time limit of every proxy in front.
   *
   * @default {25000}
   */
  readonly maxWait: number;
  /** Waiting syncs and open streams at the same time. Further syncs are answered at once, with a `pause`. @default {50000} */
  readonly maxWaiters: number;
  /**
   * The same for one client. Clients are identified as for `rateLimit`: by address, behind the proxies of `trustProxy`.
   * A client may use the same share of `maxWaitingBytes` as it may use of `maxWaiters`. Left out: half of `maxWaiters`, but
   * at least 1,000.
   *
   * @default {25000}
   */
  readonly maxWaitersPerClient: number;
  /** The same for one connection of `node:http` or HTTP/2. A connection can carry many requests. @default {250} */
  readonly maxWaitersPerConnection: number;
  /**
   * The estimated memory of waiting syncs and open streams, in bytes: 1,024 for each, plus 128 and the length for each of
   * its keys. Further syncs are answered at once, with a `pause`.
   *
   * @default {134217728}
   */
  readonly maxWaitingBytes: number;
  /** Open streams at the same time. Further ones send the current state and end. @default {50000} */
  readonly maxStreams: number;
  /** Requests being read or answered at the same time, without those that wait. Further ones get 503. @default {10000} */
  readonly maxRequests: number;
  /** Bytes of all request bodies that are being read. Further requests get 503. @default {67108864} */
  readonly maxReadingBytes: number;
  /** The time for a request body to arrive, in milliseconds. Then the request gets 408. @default {10000} */
  readonly bodyTimeout: number;
  /**
   * Bytes of all responses that clients have not read yet. Above the limit, the connections of the oldest pending responses
   * are closed. Event streams are not counted. Applies behind `node:http`, `node:http2`, Express and Fastify.
   *
   * @default {67108864}
   */
  readonly maxSendingBytes: number;
  /**
   * The time within which a client must read a response, in milliseconds. Then its connection is closed. Lower frees
   * memory and connections sooner; higher allows slower networks. Event streams have `stallTimeout` instead. Applies where
   * `maxSendingBytes` applies.
   *
   * @default {60000}
   */
  readonly responseTimeout: number;
  /** The time after which a stream ends whose client reads nothing, in milliseconds. @default {60000} */
  readonly stallTimeout: number;
}

/** The default limits. */
export const DEFAULT_LIMITS: Limits = Object.freeze({
  maxBodyBytes: 1_048_576,
  maxKeys: 10_000,
  maxKeyBytes: MAX_KEY_BYTES,
  maxHashBytes: MAX_HASH_BYTES,
  maxWait: 25_000,
  maxWaiters: 50_000,
  maxWaitersPerClient: 25_000,
  maxWaitersPerConnection: 250,
  maxWaitingBytes: 134_217_728,
  maxStreams: 50_000,
  maxRequests: 10_000,
  maxReadingBytes: 67_108_864,
  bodyTimeout: 10_000,
  maxSendingBytes: 67_108_864,
  responseTimeout: 60_000,
  stallTimeout: 60_000,
});

/** The range of each limit: lowest, highest. */
const LIMIT_RANGES: Readonly<Record<keyof Limits, readonly [number, number]>> = {
  maxBodyBytes: [1, 2 ** 30],
  maxKeys: [1, 1_000_000],
  maxKeyBytes: [1, MAX_KEY_BYTES],
  maxHashBytes: [1, MAX_HASH_BYTES],
  maxWait: [0, 3_600_000],
  maxWaiters: [0, 10_000_000],
  maxWaitersPerClient: [1, 10_000_000],
  maxWaitersPerConnection: [1, 10_000_000],
  maxWaitingBytes: [0, 2 ** 40],
  maxStreams: [0, 10_000_000],
  maxRequests: [1, 10_000_000],
  maxReadingBytes: [1, 2 ** 40],
  bodyTimeout: [10, 3_600_000],
  maxSendingBytes: [1, 2 ** 40],
  responseTimeout: [10, 3_600_000],
  stallTimeout: [10, 86_400_000],
};

/** Checks the option `limits` and fills in the defaults. */
export function checkLimits(limits: unknown): Limits {
  if (limits === undefined) return DEFAULT_LIMITS;
  const given = checkNames("limits", limits, Object.keys(LIMIT_RANGES));
  const checked: Record<string, number> = { ...DEFAULT_LIMITS };
  for (const [name, range] of Object.entries(LIMIT_RANGES)) {
    if (given[name] !== undefined) checked[name] = checkInteger(name, given[name], range);
  }
  if (given.maxWaitersPerClient === undefined) {
    checked.maxWaitersPerClient = Math.max(1_000, Math.ceil(checked.maxWaiters! / 2));
  }
  return Object.freeze(checked) as unknown as Limits;
}
