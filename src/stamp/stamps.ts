/**
 * Makes stamps: reads the versions of keys, as a sync does.
 *
 * @module
 */
import { type ReadAccess, type Rights, seesAll } from "../access.ts";
import { checkNames, wrongOption } from "../check.ts";
import type { ServerConfig } from "../check_options.ts";
import type { Lifecycle } from "../lifecycle.ts";
import { checkKeys } from "../parse_keys.ts";
import type { StorageReading } from "../store/contract.ts";
import { versionOf } from "../sync/compare.ts";
import type { SyncDeps } from "../sync/sync.ts";
import { makeETag } from "./etag.ts";
import { type StampSource, toRequest } from "./request.ts";
import { createStamp, type Stamp } from "./stamp.ts";

/** Options of {@linkcode RealityServer.stamp}. */
export interface StampOptions {
  /**
   * The request that gets the answer: of any host, or the context of Hono. `authorize` is called with it, and the stamp
   * names only the keys that it may read. Left out: the stamp names all keys. Give it wherever there is an `authorize`.
   */
  readonly request?: StampSource;
  /** What `authorize` gets as `context`. */
  readonly context?: unknown;
  /**
   * What the answer depends on beside the keys: the language, the id of the user, the version of the application. The
   * `ETag` contains it, or its hash.
   *
   * @default {""}
   */
  readonly variant?: string;
  /**
   * The header `Cache-Control`. With the default, a browser keeps the answer and asks each time whether it is fresh, and
   * shared caches do not keep it.
   *
   * @default {"private, no-cache"}
   */
  readonly cacheControl?: string;
  /**
   * The header `Vary`.
   *
   * @default {"Authorization, Cookie, Origin"}
   */
  readonly vary?: string;
}

/** What stamps need. */
export interface StampsOptions {
  readonly config: Pick<ServerConfig, "limits" | "clock" | "storage">;
  readonly lifecycle: Lifecycle;
  readonly access: ReadAccess;
  /** Returns what answers a sync. */
  readonly getDeps: () => Pick<SyncDeps, "reader" | "mesh">;
}

/** Makes the stamps of one server. */
export class Stamps {
  readonly #options: StampsOptions;

  /** @param options What stamps need. */
  constructor(options: StampsOptions) {
    this.#options = options;
  }

  /**
   * Reads the versions of keys.
   *
   * @throws {TypeError} For an option that is unknown or wrong.
   * @throws {RefusalError} For an invalid key, for too many keys, and when `authorize` refuses the request.
   * @throws {StorageError} When the storage fails.
   * @throws {ClosedError} After `close()`.
   */
  async create(given: readonly string[], options: StampOptions): Promise<Stamp> {
    const { config, lifecycle, access, getDeps } = this.#options;
    lifecycle.assertOpen();
    checkNames("stamp", options, ["request", "context", "variant", "cacheControl", "vary"]);
    const variant = readText("variant", options.variant, "");
    const cacheControl = readText("cacheControl", options.cacheControl, "private, no-cache");
    const vary = readText("vary", options.vary, "Authorization, Cookie, Origin");
    if (!Array.isArray(given)) throw wrongOption("keys", "an array of keys", given);
    const keys = [...new Set(checkKeys(given, config.limits))];
    const source = options.request;
    const request = source === undefined ? undefined : toRequest(source);
    const rights = await access.createAsk(keys, {
      getSignal: () => undefined,
      toRequest: request && (() => request),
      getContext: () => options.context,
    })?.();
    const { reader, mesh } = getDeps();
    if (mesh !== undefined) {
      mesh.contactStalePeers();
      await mesh.bootstrap();
    }
    const reading = await reader.read(keys);
    const { epoch } = reading;
    const versions = readVersions(keys, reading, rights, config.clock.now());
    const moment = this.#nameMoment(reading, Object.values(versions));
    const etag = await makeETag({ epoch, versions }, { variant, moment });
    return createStamp({ epoch, versions, etag, cacheControl, vary });
  }

  /**
   * Names what the versions do not tell apart. A version of a node is never used again, but a key without a node can get
   * one and lose it again: the state of the whole storage tells that. If nothing tells it, the name is a new one each time.
   * So it is for a stamp that names no key, and for a storage that does not report nodes published below its counter.
   */
  #nameMoment({ replicaId, maxVersion, late }: StorageReading, versions: readonly number[]): string {
    const isReported = this.#options.config.storage.readNodes !== undefined;
    if (versions.length > 0 && !versions.includes(0)) return "";
    return versions.length > 0 && isReported ? `${replicaId}.${maxVersion}.${late}` : crypto.randomUUID();
  }
}

/** The versions of the keys that the client may read. The others are not named, as their names may be secret. */
function readVersions(
  keys: readonly string[],
  { nodes }: StorageReading,
  rights: Rights | undefined,
  now: number,
): Readonly<Record<string, number>> {
  const readable = rights === undefined ? keys : keys.filter((key) => seesAll(rights, [key], now));
  return Object.fromEntries(readable.map((key) => [key, versionOf(nodes, key)]));
}

function readText(name: string, value: unknown, whenAbsent: string): string {
  if (value === undefined) return whenAbsent;
  if (typeof value !== "string" || /\p{Cs}/u.test(value)) {
    throw wrongOption(name, "a string without lone surrogates", value);
  }
  return value;
}
