/**
 * What a server of its own is told by environment variables. Pure.
 *
 * @module
 */
import type { HandlerOptions } from "../src/http/handler.ts";
import { redactInvalidURL, redactURL } from "../src/redact.ts";

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
  /** Where it is mounted, and for which origins. */
  readonly handler: HandlerOptions;
}

/** Where nodes are kept: an SQLite file by its path, a PostgreSQL database by its URL, or memory. */
export type StorageSetting =
  | { readonly kind: "memory" }
  | { readonly kind: "sqlite"; readonly path: string }
  | { readonly kind: "postgres"; readonly url: string };

/** What can be set, for people. */
export const USAGE = `Settings come from environment variables:

  PORT                 where to listen; 0 lets the system choose       8000
  HOST                 the address to listen at                        all of this machine
  REALITY_STORAGE      sqlite:<file>, postgres://<url> or memory:      sqlite:./reality.db
  REALITY_BASE_PATH    the path under which all routes hang            /reality
  REALITY_SERVER_ID    the server's name, unique among its peers       a random one
  REALITY_PEERS        URLs of the other servers, with commas between  none
  REALITY_MESH_SECRET  what the servers sign with; two with a comma between   nothing
  REDIS_URL            redis://<url> or rediss://<url>: sooner news    none
  REALITY_CORS         origins that may read, with commas between, or *   none
  REALITY_WRITE_TOKEN  opens the write routes; two with a comma between   they are closed

"reality-server check --help" says how to check a server that runs, "reality-server new-epoch --help" what to do once a
database was brought back from a copy.`;

/**
 * Reads the settings.
 *
 * @param environment The variables.
 * @returns What they say, with every default filled in.
 * @throws {RangeError} For a variable with a value that cannot be used; names it.
 */
export function readEnvironment(environment: Environment): Settings {
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
    handler: {
      basePath,
      ...(cors === undefined ? {} : { cors: { origins: cors } }),
    },
  };
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
