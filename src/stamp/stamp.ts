/**
 * Stamps: the versions that an answer of the application stands for, as headers and as JSON.
 *
 * @module
 */
import { matchesETag } from "./etag.ts";
import { formatField, type StampVersions } from "./field.ts";
import { readIfNoneMatch, type StampRequest } from "./request.ts";

/**
 * The versions that an answer stands for. They were read before the data, so the answer never claims more than it has.
 * Methods may be passed unbound.
 *
 * @example
 * ```ts
 * import { MemoryStorage, RealityServer } from "@rootlodge/reality-server";
 *
 * const server = new RealityServer({ storage: new MemoryStorage() });
 * await server.updateNode("messages:general", "1");
 * const stamp = await server.stamp(["messages:general"]);
 * const response = stamp.json(["hello"]);
 * const again = new Request("http://localhost/", { headers: { "if-none-match": response.headers.get("etag")! } });
 * console.assert((await server.stamp(["messages:general"])).isFresh(again));
 * await server.close();
 * ```
 */
export interface Stamp {
  /** The entity tag: the header `ETag`. It changes with each version, the epoch, the keys and `variant`. */
  readonly etag: string;
  /**
   * `reality-stamp`, `etag`, `cache-control` and `vary`, for `new Response(…, { headers })`, `res.set(…)` of Express,
   * `reply.headers(…)` of Fastify and `writeHead` of `node:http`.
   *
   * @throws {RangeError} If `reality-stamp` is longer than 4096 bytes, which proxies may refuse. Send `toJSON()` inside
   *   of the answer then.
   */
  readonly headers: Record<string, string>;
  /**
   * Whether the client has this answer already, by its header `If-None-Match`. If so, answer 304 with the headers and
   * read no data. Always false for other methods than GET and HEAD.
   *
   * @param request The request or context of any host, or its `Headers`.
   * @throws {TypeError} If the value has no headers.
   */
  isFresh(request: StampRequest): boolean;
  /**
   * Makes the answer for a client that has the data: status 304 with the headers.
   *
   * @throws {RangeError} What `headers` throws.
   */
  notModified(): Response;
  /**
   * Makes an answer with data as JSON and the headers.
   *
   * @param value The data, read after the stamp.
   * @param init Status and headers. They override those of the stamp.
   * @throws {RangeError} What `headers` throws.
   */
  json(value: unknown, init?: ResponseInit): Response;
  /** The versions, for data that travels inside a page. The client takes them as `initial.stamp` and `initial`. */
  toJSON(): StampVersions;
}

/** What a stamp is made of. */
export interface StampParts extends StampVersions {
  readonly etag: string;
  readonly cacheControl: string;
  readonly vary: string;
}

/** The parts of all stamps, for `joinStamps`. */
const allParts = new WeakMap<object, StampParts>();

/** The parts of a stamp; undefined if the value was not made by `server.stamp`. */
export function partsOf(stamp: Stamp): StampParts | undefined {
  return allParts.get(stamp);
}

/** Creates a stamp. */
export function createStamp(parts: StampParts): Stamp {
  const { epoch, versions, etag, cacheControl, vary } = parts;
  const getHeaders = () => ({
    "reality-stamp": formatField(parts),
    etag,
    "cache-control": cacheControl,
    vary,
  });
  const stamp: Stamp = {
    etag,
    get headers() {
      return getHeaders();
    },
    isFresh: (request) => matchesETag(readIfNoneMatch(request), etag),
    notModified: () => new Response(null, { status: 304, headers: getHeaders() }),
    json(value, init = {}) {
      const headers = new Headers(getHeaders());
      for (const [name, text] of new Headers(init.headers)) headers.set(name, text);
      return Response.json(value, { ...init, headers });
    },
    toJSON: () => ({ epoch, versions }),
  };
  allParts.set(stamp, parts);
  return stamp;
}
