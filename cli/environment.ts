/**
 * What a server of its own is told by environment variables. Pure.
 *
 * @module
 */
import type { HandlerOptions } from "../src/http/handler.ts";
import {
  checkLimits,
  checkRateLimit,
  checkTrustProxy,
  DEFAULT_LIMITS,
  type Limits,
  type RateLimitOptions,
} from "../src/options.ts";
import { redactInvalidURL, redactURL } from "../src/redact.ts";
import { LOG_FORMATS, LOG_LEVELS, type LogSetting } from "./log.ts";

/** Variables by name; an empty one counts as not set. */
export type Environment = Readonly<Record<string, string | undefined>>;

/** How a server of its own is run. */
export interface Settings {
  /** Where it listens; 0 lets the system choose. */
  readonly port: number;
  /** The address it listens at; `undefined` for all that the machine has. */
  readonly host: string | undefined;
  /** Where nodes are kept. */
  readonly storage: StorageSetting;
  /** Its name; `undefined` for a random one. */
  readonly serverId: string | undefined;
  /** The URLs of the other servers. */
  readonly meshPeers: readonly string[];
  /** What the servers sign with: none, one, or two while it is changed. */
  readonly meshSecrets: readonly string[];
  /** The address of a Redis, through which news reaches other servers sooner; `undefined` for none. */
  readonly redis: string | undefined;
  /** The bearer tokens that open the write routes. */
  readonly writeTokens: readonly string[];
  /** Who may read. */
  readonly readers: ReaderSetting;
  /** Limits that differ from the defaults. */
  readonly limits: Partial<Limits>;
  /** How often one client may ask; `undefined` for as often as it likes. */
  readonly rateLimit: RateLimitOptions | undefined;
  /** How many proxies, or which, are believed when they say whom they ask for; `undefined` for none. */
  readonly trustProxy: number | readonly string[] | undefined;
  /** What is printed. */
  readonly log: LogSetting;
  /** Where it is mounted, and for which origins. */
  readonly handler: HandlerOptions;
}

/** Who may read: everybody, who has a token, or who the application says. */
export type ReaderSetting =
  | { readonly kind: "everybody" }
  | {
    readonly kind: "jwt";
    /** What tokens are signed with: none, one, or two while it is changed. */
    readonly secrets: readonly string[];
    /** Where the public keys are by which tokens are verified, in the place of secrets. */
    readonly jwksURL: string | undefined;
    /** Who must have issued a token. */
    readonly issuer: string | undefined;
    /** One of those whom a token must be for. */
    readonly audience: readonly string[];
    /** The cookie that has the token where there is no `Authorization`. */
    readonly cookie: string | undefined;
  }
  | {
    readonly kind: "url";
    /** Where the application is asked. */
    readonly url: string;
    /** Headers of requests that it is sent beside those that it always is. */
    readonly headers: readonly string[];
  };

/** Where nodes are kept: an SQLite file by its path, a PostgreSQL database by its URL, or memory. */
export type StorageSetting =
  | { readonly kind: "memory" }
  | { readonly kind: "sqlite"; readonly path: string }
  | { readonly kind: "postgres"; readonly url: string };

/** The variable of a limit: `REALITY_MAX_KEYS` for `maxKeys`. */
function variableOf(limit: string): string {
  return `REALITY_${limit.replace(/[A-Z]/g, (letter) => `_${letter}`).toUpperCase()}`;
}

const LIMIT_NAMES = Object.keys(DEFAULT_LIMITS) as (keyof Limits)[];

const LIMIT_LINES = LIMIT_NAMES.map((name) => `  ${variableOf(name).padEnd(37)}${DEFAULT_LIMITS[name]}`);

/** What can be set, for people. */
export const USAGE: string = `Settings come from environment variables:

  PORT                 where to listen; 0 lets the system choose       8000
  HOST                 the address to listen at                        all of this machine
  REALITY_STORAGE      sqlite:<file>, postgres://<url> or memory:      sqlite:./reality.db
  REALITY_BASE_PATH    the path under which all routes hang            /reality
  REALITY_SERVER_ID    the server's name, unique among its peers       a random one
  REALITY_CORS         origins that may read, with commas between, or *   none
  REALITY_LOG_LEVEL    ${LOG_LEVELS.join(", ")}: how much is printed     info
  REALITY_LOG_FORMAT   ${LOG_FORMATS.join(" or ")}                                    text

Other servers:

  REALITY_PEERS        URLs of the other servers, with commas between  none
  REALITY_MESH_SECRET  what the servers sign with; two with a comma between   nothing
  REDIS_URL            redis://<url> or rediss://<url>: sooner news    none

Who may write and read:

  REALITY_WRITE_TOKEN  opens the write routes; two with a comma between   they are closed
  REALITY_JWT_SECRET   reading needs a token signed with this: 32 characters or more; two with a comma between
  REALITY_JWKS_URL     reading needs a token that fits one of the public keys at this URL
  REALITY_JWT_ISSUER   the "iss" that a token must have                any
  REALITY_JWT_AUDIENCE  the "aud" that a token must have, or one of them, with commas between   any
  REALITY_JWT_COOKIE   the cookie with the token, where there is no header, as of EventSource   none
  REALITY_AUTHORIZE_URL  where your application is asked who may read what
  REALITY_AUTHORIZE_HEADERS  headers that it is sent beside authorization, cookie, origin and x-api-key

Clients and limits:

  REALITY_TRUST_PROXY  how many proxies stand before it, or their addresses and networks, or unix   none
  REALITY_RATE_LIMIT   requests of one client in seconds, such as 600/60   none
${LIMIT_LINES.join("\n")}

"reality-server check --help" says how to check a server that runs, "reality-server new-epoch --help" what to do once a
database was brought back from a copy, "reality-server --version" which version this is.`;

/** Every variable that begins with `REALITY_`. */
const KNOWN: readonly string[] = [
  ...[
    "STORAGE",
    "BASE_PATH",
    "SERVER_ID",
    "CORS",
    "LOG_LEVEL",
    "LOG_FORMAT",
    "PEERS",
    "MESH_SECRET",
    "WRITE_TOKEN",
  ],
  ...[
    "JWT_SECRET",
    "JWKS_URL",
    "JWT_ISSUER",
    "JWT_AUDIENCE",
    "JWT_COOKIE",
    "AUTHORIZE_URL",
    "AUTHORIZE_HEADERS",
  ],
  ...["TRUST_PROXY", "RATE_LIMIT"],
].map((name) => `REALITY_${name}`).concat(LIMIT_NAMES.map(variableOf));

/**
 * Reads the settings.
 *
 * @param environment The variables.
 * @returns What they say, with every default filled in.
 * @throws {RangeError} For a variable with a value that cannot be used, or with a name that begins with `REALITY_` and
 *   is none; names it.
 */
export function readEnvironment(environment: Environment): Settings {
  refuseUnknown(environment);
  const cors = readCors(environment.REALITY_CORS);
  const basePath = readBasePath(environment.REALITY_BASE_PATH);
  return {
    port: readPort(environment.PORT),
    host: environment.HOST || undefined,
    storage: readStorage(environment.REALITY_STORAGE, "REALITY_STORAGE"),
    serverId: readServerId(environment.REALITY_SERVER_ID),
    meshPeers: readPeers(environment.REALITY_PEERS, basePath),
    meshSecrets: readSecrets(environment.REALITY_MESH_SECRET),
    redis: readRedis(environment.REDIS_URL),
    writeTokens: readTokens(environment.REALITY_WRITE_TOKEN),
    readers: readReaders(environment),
    limits: readLimits(environment),
    rateLimit: readRateLimit(environment.REALITY_RATE_LIMIT),
    trustProxy: readTrustProxy(environment.REALITY_TRUST_PROXY),
    log: {
      level: readChoice("REALITY_LOG_LEVEL", environment.REALITY_LOG_LEVEL, LOG_LEVELS) ?? "info",
      format: readChoice("REALITY_LOG_FORMAT", environment.REALITY_LOG_FORMAT, LOG_FORMATS) ?? "text",
    },
    handler: {
      basePath,
      ...(cors === undefined ? {} : { cors: { origin: cors } }),
    },
  };
}

/** What a server with these settings says of itself when it starts: where things are, and what is open. */
export function describeSettings(settings: Settings): string[] {
  const { storage, redis, meshPeers, meshSecrets, writeTokens, readers, handler } = settings;
  const lines = [`Nodes are kept in ${placeOf(storage)}`];
  if (redis !== undefined) lines.push(`News goes through Redis at ${new URL(redis).host}`);
  if (meshPeers.length > 0) {
    const proof = meshSecrets.length > 0
      ? "signed with REALITY_MESH_SECRET"
      : "not signed: the network between the servers is trusted";
    lines.push(`Peers are ${meshPeers.map(redactURL).join(", ")}, ${proof}`);
  }
  lines.push(readersOf(readers));
  lines.push(
    writeTokens.length === 0
      ? "The write routes are closed: REALITY_WRITE_TOKEN opens them"
      : "The write routes are open to who has a REALITY_WRITE_TOKEN",
    `${handler.basePath}/metrics is open to everybody: let a proxy close it`,
  );
  const origins = handler.cors?.origin;
  if (origins !== undefined) {
    lines.push(
      `Pages of ${origins === "*" ? "every origin" : String(origins).replaceAll(",", ", ")} may ask`,
    );
  }
  return lines;
}

/** Where nodes are kept, without what only the database should know. */
function placeOf(storage: StorageSetting): string {
  if (storage.kind === "sqlite") return storage.path;
  return storage.kind === "memory"
    ? "memory: they are gone at the end"
    : `PostgreSQL at ${new URL(storage.url).host}`;
}

function readersOf(readers: ReaderSetting): string {
  if (readers.kind === "url") return `Reads are allowed by ${redactURL(readers.url)}`;
  if (readers.kind === "jwt") {
    const keys = readers.jwksURL === undefined
      ? "REALITY_JWT_SECRET"
      : `the keys at ${redactURL(readers.jwksURL)}`;
    return `Reads need a token that fits ${keys}`;
  }
  return "Reads are open to everybody: REALITY_JWT_SECRET, REALITY_JWKS_URL or REALITY_AUTHORIZE_URL closes them";
}

/** A misspelt variable would be a setting that is not there, such as who may read. */
function refuseUnknown(environment: Environment): void {
  for (const [name, value] of Object.entries(environment)) {
    if (!name.startsWith("REALITY_") || !value || KNOWN.includes(name)) continue;
    const [nearest = ""] = [...KNOWN].sort((a, b) => distance(name, a) - distance(name, b));
    const hint = distance(name, nearest) <= 4 ? `: is it ${nearest}?` : ": --help lists all that there are";
    throw new RangeError(`Cannot use ${name}: there is no such variable${hint}`);
  }
}

/** How many letters have to be put in, left out or replaced. */
function distance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, j) => j);
  for (let i = 0; i < a.length; i++) {
    const next = [i + 1];
    for (let j = 0; j < b.length; j++) {
      const replaced = row[j]! + (a[i] === b[j] ? 0 : 1);
      next.push(Math.min(replaced, row[j + 1]! + 1, next[j]! + 1));
    }
    row = next;
  }
  return row[b.length]!;
}

function readReaders(environment: Environment): ReaderSetting {
  const { REALITY_JWT_SECRET: secret, REALITY_JWKS_URL: jwks, REALITY_AUTHORIZE_URL: url } = environment;
  const ways = Object.entries({
    REALITY_JWT_SECRET: secret,
    REALITY_JWKS_URL: jwks,
    REALITY_AUTHORIZE_URL: url,
  })
    .filter(([, value]) => value).map(([name]) => name);
  if (ways.length > 1) throw new RangeError(`Cannot use ${ways.join(" and ")} together: choose one`);
  const { REALITY_JWT_ISSUER: issuer, REALITY_JWT_AUDIENCE: audience, REALITY_JWT_COOKIE: cookie } =
    environment;
  const { REALITY_AUTHORIZE_HEADERS: headers } = environment;
  const isJWT = Boolean(secret || jwks);
  if (!isJWT && (issuer || audience || cookie)) {
    throw new RangeError(
      "Cannot use REALITY_JWT_… alone: expected REALITY_JWT_SECRET or REALITY_JWKS_URL as well",
    );
  }
  if (!url && headers) {
    throw new RangeError(
      "Cannot use REALITY_AUTHORIZE_HEADERS alone: expected REALITY_AUTHORIZE_URL as well",
    );
  }
  if (url) {
    return {
      kind: "url",
      url: readURL("REALITY_AUTHORIZE_URL", url),
      headers: readNames("REALITY_AUTHORIZE_HEADERS", headers).map((name) => name.toLowerCase()),
    };
  }
  if (!isJWT) return { kind: "everybody" };
  return {
    kind: "jwt",
    secrets: secret ? readJWTSecrets(secret) : [],
    jwksURL: jwks ? readURL("REALITY_JWKS_URL", jwks) : undefined,
    issuer: issuer || undefined,
    audience: splitList(audience ?? ""),
    cookie: readNames("REALITY_JWT_COOKIE", cookie)[0],
  };
}

function readJWTSecrets(text: string): readonly string[] {
  const secrets = splitList(text);
  if (secrets.length > 2 || secrets.some((secret) => secret.length < 32)) {
    throw wrong("REALITY_JWT_SECRET", "one secret of 32 characters or more, or two of them");
  }
  return secrets;
}

function readURL(name: string, text: string): string {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  // Credentials in a URL are what `fetch` refuses.
  if (url !== undefined && /^https?:$/.test(url.protocol) && url.username + url.password === "") {
    return url.href;
  }
  throw wrong(name, "an http or https URL without credentials in it", redactInvalidURL(text));
}

function readNames(name: string, text: string | undefined): readonly string[] {
  const names = splitList(text ?? "");
  const bad = names.find((one) => !/^[\w!#$%&'*+.^`|~-]+$/.test(one));
  if (bad !== undefined) throw wrong(name, "names with commas between", bad);
  return names;
}

function readLimits(environment: Environment): Partial<Limits> {
  const limits: Record<string, number> = {};
  for (const limit of LIMIT_NAMES) {
    const text = environment[variableOf(limit)];
    if (!text) continue;
    limits[limit] = readNumber(variableOf(limit), text);
    named(variableOf(limit), () => checkLimits({ [limit]: limits[limit] }));
  }
  return limits;
}

function readRateLimit(text: string | undefined): RateLimitOptions | undefined {
  if (!text) return undefined;
  const [, limit, seconds] = /^(\d{1,9})\/(\d{1,9})$/.exec(text) ?? [];
  if (limit === undefined) throw wrong("REALITY_RATE_LIMIT", "requests and seconds, such as 600/60", text);
  const option = { limit: Number(limit), window: Number(seconds) * 1_000 };
  named("REALITY_RATE_LIMIT", () => checkRateLimit(option));
  return option;
}

function readTrustProxy(text: string | undefined): number | readonly string[] | undefined {
  if (!text) return undefined;
  const option = /^\d+$/.test(text) ? readNumber("REALITY_TRUST_PROXY", text) : splitList(text);
  named("REALITY_TRUST_PROXY", () => checkTrustProxy(option));
  return option;
}

function readNumber(name: string, text: string): number {
  if (!/^\d{1,15}$/.test(text)) throw wrong(name, "a whole number", text);
  return Number(text);
}

function readChoice<T extends string>(
  name: string,
  text: string | undefined,
  choices: readonly T[],
): T | undefined {
  if (!text) return undefined;
  const found = choices.find((choice) => choice === text.toLowerCase());
  if (found === undefined) throw wrong(name, choices.join(" or "), text);
  return found;
}

/** Names the variable in the place of the option that it stands for. */
function named(name: string, check: () => void): void {
  try {
    check();
  } catch (error) {
    throw new RangeError(`Cannot use ${name}: ${(error as Error).message}`);
  }
}

function readPort(text: string | undefined): number {
  if (!text) return 8000;
  const port = Number(text);
  if (!/^\d{1,5}$/.test(text) || port > 65_535) throw wrong("PORT", "a number from 0 to 65535", text);
  return port;
}

/**
 * Reads where nodes are kept.
 *
 * @param text An address; an empty one is the default, an SQLite file.
 * @param name What to call it in an error.
 * @throws {RangeError} For an address that cannot be used.
 */
export function readStorage(text: string | undefined, name: string): StorageSetting {
  if (!text) return { kind: "sqlite", path: "./reality.db" };
  if (text === "memory:") return { kind: "memory" };
  const [, path] = /^sqlite:(.+)$/.exec(text) ?? [];
  if (path !== undefined) return { kind: "sqlite", path };
  if (/^postgres(?:ql)?:\/\//.test(text) && URL.canParse(text)) return { kind: "postgres", url: text };
  throw wrong(name, "sqlite:<file>, postgres://<url> or memory:", redactInvalidURL(text));
}

function readServerId(text: string | undefined): string | undefined {
  if (!text) return undefined;
  if (!/^[\x21-\x7e]{1,128}$/.test(text)) {
    throw wrong("REALITY_SERVER_ID", "1 to 128 visible characters of ASCII", text);
  }
  return text;
}

/** A URL without a path leads to a server that is mounted as this one is. */
function readPeers(text: string | undefined, basePath: string): readonly string[] {
  return (text ? splitList(text) : []).map((peer) => {
    const url = URL.canParse(peer) ? new URL(peer) : undefined;
    // A name or a password in it would be refused later, and must not be shown.
    const fits = url !== undefined && /^https?:$/.test(url.protocol) && url.username + url.password === "";
    if (!fits) throw wrong("REALITY_PEERS", "URLs such as http://server-2:8000");
    return url.pathname === "/" ? new URL(`${basePath}/sync`, url).href : url.href;
  });
}

function readSecrets(text: string | undefined): readonly string[] {
  const secrets = text ? splitList(text) : [];
  if (secrets.length > 2 || secrets.some((secret) => secret.length < 16)) {
    throw wrong("REALITY_MESH_SECRET", "one secret of 16 characters or more, or two of them");
  }
  return secrets;
}

function readRedis(text: string | undefined): string | undefined {
  if (!text) return undefined;
  if (/^rediss?:\/\//.test(text) && URL.canParse(text)) return text;
  throw wrong("REDIS_URL", "redis://<url> or rediss://<url>", redactInvalidURL(text));
}

function readBasePath(text: string | undefined): string {
  if (!text) return "/reality";
  const path = text.replace(/\/$/, "");
  if (!/^(?:\/[\w.~!$&'()*+,;=:@-]+)*$/.test(path)) {
    throw wrong("REALITY_BASE_PATH", "a path such as /reality, or /", text);
  }
  return path;
}

function readCors(text: string | undefined): readonly string[] | "*" | undefined {
  if (!text) return undefined;
  if (text.trim() === "*") return "*";
  const origins = splitList(text);
  for (const origin of origins) {
    if (!URL.canParse(origin) || new URL(origin).origin !== origin) {
      throw wrong("REALITY_CORS", "* or origins such as https://app.example", origin);
    }
  }
  return origins;
}

function readTokens(text: string | undefined): readonly string[] {
  if (!text) return [];
  const tokens = splitList(text);
  for (const token of tokens) {
    if (/^[\x21-\x7e]{16,1024}$/.test(token)) continue;
    throw wrong("REALITY_WRITE_TOKEN", "tokens of 16 to 1024 visible characters of ASCII");
  }
  return tokens;
}

function splitList(text: string): string[] {
  return text.split(",").map((part) => part.trim()).filter((part) => part !== "");
}

/** The value is left out where it may be a secret. */
function wrong(name: string, expected: string, found?: string): RangeError {
  const end = found === undefined ? "" : `, got ${JSON.stringify(redactURL(found).slice(0, 100))}`;
  return new RangeError(`Cannot use ${name}: expected ${expected}${end}`);
}
