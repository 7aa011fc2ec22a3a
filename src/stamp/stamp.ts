/**
 * Stamps: the versions that an answer of the application stands for, as headers and as JSON.
 *
 * @module
 */
import { joinETags, matchesETag } from "./etag.ts";
import { formatField, type StampVersions } from "./field.ts";
import { kindOf } from "../store/node.ts";
import { readIfNoneMatch, type StampRequest } from "./request.ts";

/** The epoch of a joined stamp whose parts do not fit together. No storage has it, so the next sync tells every key. */
const NO_EPOCH = "mixed";

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

/** Keeps the parts of stamps, for {@linkcode joinStamps}. */
const partsOf = new WeakMap<Stamp, StampParts>();

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
  partsOf.set(stamp, parts);
  return stamp;
}

/**
 * Joins the stamps of one answer, for example of several resolvers. For a key in several of them, the joined stamp has
 * the lowest version. If they have different epochs, or one has a node that another has not, the joined stamp fits no
 * state of the server: a client that follows the answer fetches it again.
 *
 * @param stamps One stamp or more, of the same server.
 * @returns A stamp whose `ETag` stands for all of them.
 * @throws {TypeError} If no stamp is given, or a value was not made by `server.stamp`.
 *
 * @example
 * ```ts
 * import { joinStamps, MemoryStorage, RealityServer } from "@rootlodge/reality-server";
 *
 * const server = new RealityServer({ storage: new MemoryStorage() });
 * const stamp = joinStamps(await server.stamp(["user:1"]), await server.stamp(["messages:general"]));
 * console.assert(Object.keys(stamp.toJSON().versions).length === 2);
 * await server.close();
 * ```
 */
export function joinStamps(...stamps: readonly Stamp[]): Stamp {
  const all = stamps.map((stamp) => {
    const parts = partsOf.get(stamp);
    if (parts === undefined) {
      throw new TypeError(`Cannot join stamps: expected results of server.stamp(), got ${kindOf(stamp)}`);
    }
    return parts;
  });
  if (all.length === 0) throw new TypeError("Cannot join stamps: expected at least one");
  const versions = new Map<string, number>();
  let fits = all.every(({ epoch }) => epoch === all[0]!.epoch);
  for (const [key, version] of all.flatMap((parts) => Object.entries(parts.versions))) {
    const other = versions.get(key) ?? version;
    // It is not known whether the node was created or deleted in between. Neither version tells the client in both cases.
    if ((other === 0) !== (version === 0)) fits = false;
    versions.set(key, other === 0 || version === 0 ? Math.max(other, version) : Math.min(other, version));
  }
  // A key without a node is told only to a client that holds a version of it.
  if (!fits) { for (const [key, version] of versions) versions.set(key, version || 1); }
  return createStamp({
    epoch: fits ? all[0]!.epoch : NO_EPOCH,
    versions: Object.fromEntries(versions),
    etag: joinETags(all.map(({ etag }) => etag)),
    cacheControl: union(all.map(({ cacheControl }) => cacheControl)),
    vary: union(all.map(({ vary }) => vary)),
  });
}

/** Joins lists of a header, without repetitions. */
function union(values: readonly string[]): string {
  return [...new Set(values.flatMap((value) => value.split(",")).map((item) => item.trim()))].join(", ");
}

/** The prototype of promises of stamps. */
let unawaited: object | undefined;

/** Makes a promise of a stamp throw an error when it is used in place of the stamp. */
export function guardStamp(promise: Promise<Stamp>): Promise<Stamp> {
  unawaited ??= Object.create(
    Promise.prototype,
    Object.fromEntries(
      "etag headers isFresh notModified json toJSON".split(" ").map((name) => [name, {
        get() {
          throw new TypeError(`Cannot read ${name} of a promise: await server.stamp(keys) first`);
        },
      }]),
    ),
  );
  return Object.setPrototypeOf(promise, unawaited!);
}
