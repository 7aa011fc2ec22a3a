/**
 * The settings of a standalone server.
 *
 * @module
 */
import type { HandlerOptions } from "../../src/http/handler.ts";
import type { Limits } from "../../src/server_limits.ts";
import type { RateLimitOptions } from "../../src/options.ts";
import type { LogSetting } from "../log.ts";

/** The settings of a standalone server. */
export interface Settings {
  /** The port; 0 lets the system choose one. */
  readonly port: number;
  /** The address to listen on; `undefined` for all addresses of the machine. */
  readonly host: string | undefined;
  /** The storage. */
  readonly storage: StorageSetting;
  /** The table of the outbox; `undefined` for none. */
  readonly outbox: string | undefined;
  /** The name of the server; `undefined` for a random one. */
  readonly serverId: string | undefined;
  /** The URLs of the other servers. */
  readonly meshPeers: readonly string[];
  /** The secrets with which servers sign messages: none, one, or two during a change of secrets. */
  readonly meshSecrets: readonly string[];
  /** The URL of a Redis that carries invalidations to other servers sooner; `undefined` for none. */
  readonly redis: string | undefined;
  /** The bearer tokens of the write routes. */
  readonly writeTokens: readonly string[];
  /** Which clients may read. */
  readonly readers: ReaderSetting;
  /** Limits that differ from the defaults. */
  readonly limits: Partial<Limits>;
  /** The rate limit of one client; `undefined` for none. */
  readonly rateLimit: RateLimitOptions | undefined;
  /** The number or the addresses of the proxies whose client addresses are trusted; `undefined` for none. */
  readonly trustProxy: number | readonly string[] | undefined;
  /** What is logged. */
  readonly log: LogSetting;
  /** The base path, and CORS. */
  readonly handler: HandlerOptions;
}

/** Which clients may read: all, those with a token, or those that the application allows. */
export type ReaderSetting =
  | { readonly kind: "everybody" }
  | {
    readonly kind: "jwt";
    /** The secrets with which tokens are signed: none, one, or two during a change of secrets. */
    readonly secrets: readonly string[];
    /** The URL of the public keys that verify tokens, instead of secrets. */
    readonly jwksURL: string | undefined;
    /** The required issuer of a token. */
    readonly issuer: string | undefined;
    /** The audiences, one of which a token must have. */
    readonly audience: readonly string[];
    /** The cookie that has the token if there is no `Authorization` header. */
    readonly cookie: string | undefined;
  }
  | {
    readonly kind: "url";
    /** The URL at which the application decides. */
    readonly url: string;
    /** Headers of the client's request that are forwarded, in addition to those that always are. */
    readonly headers: readonly string[];
  };

/** The storage: an SQLite file by its path, a PostgreSQL database by its URL, or memory. */
export type StorageSetting =
  | { readonly kind: "memory" }
  | { readonly kind: "sqlite"; readonly path: string }
  | { readonly kind: "postgres"; readonly url: string };
