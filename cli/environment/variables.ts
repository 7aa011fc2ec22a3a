/**
 * The environment variables of a standalone server: their names, and the help text.
 *
 * @module
 */
import { DEFAULT_LIMITS, type Limits } from "../../src/server_limits.ts";
import { LOG_FORMATS, LOG_LEVELS } from "../log.ts";

/** Variables by name. An empty value counts as not set. */
export type Environment = Readonly<Record<string, string | undefined>>;

/** The names of all limits. */
export const LIMIT_NAMES: readonly (keyof Limits)[] = Object.keys(DEFAULT_LIMITS) as (keyof Limits)[];

/** Returns the variable of a limit: `REALITY_MAX_KEYS` for `maxKeys`. */
export function limitVariable(limit: keyof Limits): string {
  return `REALITY_${limit.replace(/[A-Z]/g, (letter) => `_${letter}`).toUpperCase()}`;
}

const LIMIT_LINES = LIMIT_NAMES.map((name) => `  ${limitVariable(name).padEnd(37)}${DEFAULT_LIMITS[name]}`);

/** The help text: every variable, its meaning and its default. */
export const USAGE: string = `Settings are environment variables:

  PORT                 port to listen on; 0 lets the system choose     8000
  HOST                 address to listen on                            all addresses
  REALITY_STORAGE      sqlite:<file>, postgres://<url> or memory:      sqlite:./reality.db
  REALITY_OUTBOX       table that programs fill in their transactions, such as reality_outbox   none
  REALITY_BASE_PATH    base path of all routes                         /reality
  REALITY_SERVER_ID    name of the server, unique among its peers      random
  REALITY_CORS         origins whose pages may read, separated by commas, or *   none
  REALITY_LOG_LEVEL    ${LOG_LEVELS.join(", ")}                        info
  REALITY_LOG_FORMAT   ${LOG_FORMATS.join(" or ")}                                    text

Other servers:

  REALITY_PEERS        URLs of the other servers, separated by commas  none
  REALITY_MESH_SECRET  secret that signs messages between servers; two, separated by a comma, to change it   none
  REDIS_URL            redis://<url> or rediss://<url>: tells other servers sooner   none

Write and read access:

  REALITY_WRITE_TOKEN  token of the write routes; two, separated by a comma, to change it   write routes closed
  REALITY_JWT_SECRET   secret of the tokens that reading requires: 32 characters or more; two, separated by a comma
  REALITY_JWKS_URL     URL of the public keys of the tokens that reading requires
  REALITY_JWT_ISSUER   required "iss" of a token                       any
  REALITY_JWT_AUDIENCE  required "aud" of a token; one of several, separated by commas   any
  REALITY_JWT_COOKIE   cookie with the token if there is no Authorization header, as with EventSource   none
  REALITY_AUTHORIZE_URL  URL at which your application decides which keys a client may read
  REALITY_AUTHORIZE_HEADERS  headers to forward to it besides authorization, cookie, origin and x-api-key

Clients and limits:

  REALITY_TRUST_PROXY  number of trusted proxies, or their addresses and networks, or unix   none
  REALITY_RATE_LIMIT   requests per seconds of one client, such as 600/60   none
${LIMIT_LINES.join("\n")}

Other commands: "reality-server check --help" checks a running server, "reality-server new-epoch --help" starts a new
epoch after a database was restored from a backup, "reality-server track --help" lets a database tell which rows changed,
"reality-server --version" prints the version.`;

/** Every variable that begins with `REALITY_`: those of the help text. */
const VARIABLES: readonly string[] = [...new Set(USAGE.match(/\bREALITY_[A-Z_]*[A-Z]/g))];

/**
 * Refuses unknown variables: a misspelt one would be a missing setting, for example a missing read restriction.
 *
 * @throws {RangeError} If a variable begins with `REALITY_` and is unknown; the message suggests the nearest one.
 */
export function refuseUnknown(environment: Environment): void {
  for (const [name, value] of Object.entries(environment)) {
    if (!name.startsWith("REALITY_") || !value || VARIABLES.includes(name)) continue;
    const [nearest = ""] = [...VARIABLES].sort((a, b) => editDistance(name, a) - editDistance(name, b));
    const hint = editDistance(name, nearest) <= 4
      ? `: did you mean ${nearest}?`
      : ": --help lists all variables";
    throw new RangeError(`Cannot use ${name}: there is no such variable${hint}`);
  }
}

/** The number of letters to insert, remove or replace to get from one name to the other. */
function editDistance(a: string, b: string): number {
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
