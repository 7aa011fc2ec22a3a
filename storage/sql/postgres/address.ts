/**
 * Reads the parameters in a PostgreSQL address, as providers, libpq and Prisma write them.
 *
 * @module
 */
import { readFileSync } from "node:fs";

/** What an address says, in the terms of npm:postgres. */
export interface PostgresAddress {
  /** The address with the parameters that the client or the server understands. */
  readonly address: string;
  /** Settings for the client that other parameters stand for. */
  readonly settings: Readonly<Record<string, unknown>>;
  /** Whether the address leads to a pooler that lends its connections for one transaction. */
  readonly isPooler: boolean;
  /** How many connections there may be at most, where the address says it. */
  readonly maxConnections: number | undefined;
  /** What weakens the security that the address asks for, in words. */
  readonly warnings: readonly string[];
}

/** Parameters for pools, timers and caches of other clients: what they ask for is done by options here, or not at all. */
const HINTS: readonly string[] = [
  ...[
    "connect_timeout",
    "pool_timeout",
    "socket_timeout",
    "max_connection_lifetime",
    "max_idle_connection_lifetime",
  ],
  ...["keepalives", "keepalives_idle", "keepalives_interval", "keepalives_count", "tcp_user_timeout"],
  ...[
    "fallback_application_name",
    "load_balance_hosts",
    "sslcompression",
    "krbsrvname",
    "gsslib",
    "gssdelegation",
  ],
  ...["supa", "workaround", "uselibpqcompat", "binary_parameters"],
];

/** Parameters that say whom to trust or where to go, and that cannot be followed, unless they have one of these values. */
const REFUSED: Readonly<Record<string, readonly string[]>> = {
  hostaddr: [],
  service: [],
  servicefile: [],
  passfile: [],
  replication: ["false", "off", "no", "0"],
  requirepeer: [],
  require_auth: [],
  gssencmode: ["disable", "prefer"],
  requiressl: ["0"],
  sslcrl: [],
  sslcrldir: [],
  sslcertmode: ["disable", "allow"],
  sslidentity: [],
  sslsni: ["1"],
  client_encoding: ["auto", "utf8", "UTF8", "utf-8", "UTF-8"],
};

/** Parameters that stand for a setting of npm:postgres. */
const RENAMED: Readonly<Record<string, string>> = { user: "user", password: "password", dbname: "database" };

const SSL_MODES: readonly string[] = ["disable", "allow", "prefer", "require", "verify-ca", "verify-full"];

/**
 * Reads an address.
 *
 * @param address Begins with `postgres://` or `postgresql://`; may name several hosts.
 * @throws {TypeError} When a parameter is not supported and cannot be ignored; the message names it.
 */
export function readAddress(address: string): PostgresAddress {
  const start = address.indexOf("?");
  const base = start === -1 ? address : address.slice(0, start);
  const given = new Map(
    new URLSearchParams(start === -1 ? "" : address.slice(start + 1).replace(/#.*$/s, "")),
  );
  const take = (name: string) => {
    const value = given.get(name);
    given.delete(name);
    return value;
  };
  for (const [name, harmless] of Object.entries(REFUSED)) {
    const value = take(name);
    if (value !== undefined && !harmless.includes(value)) throw refused(name, "it is not supported");
  }
  const settings: Record<string, unknown> = {};
  for (const [name, setting] of Object.entries(RENAMED)) {
    const value = take(name);
    if (value !== undefined) settings[setting] = value;
  }
  Object.assign(settings, readHosts(take("host"), take("port")));
  const schema = take("schema");
  if (schema !== undefined) {
    if (given.has("search_path")) throw refused("schema", "there is a search_path as well");
    given.set("search_path", `"${schema.replaceAll('"', '""')}"`);
  }
  // A server that is not the primary is rejected later.
  if (given.get("target_session_attrs") === "any") given.delete("target_session_attrs");
  const [isPooler, cacheSize] = [take("pgbouncer") === "true", take("statement_cache_size")];
  if (isPooler || cacheSize === "0") settings.prepare = false;
  const limit = take("connection_limit");
  const binding = take("channel_binding");
  const ssl = readSSL(take);
  if (ssl !== undefined) settings.ssl = ssl;
  for (const name of HINTS) given.delete(name);
  const rest = `${new URLSearchParams([...given])}`;
  return {
    address: rest === "" ? base : `${base}?${rest}`,
    settings,
    isPooler,
    maxConnections: limit !== undefined && /^[1-9]\d{0,4}$/.test(limit) ? Number(limit) : undefined,
    warnings: binding === "require" && !isVerified(ssl)
      ? [
        "channel_binding=require is not supported: sslmode=verify-full has the server's certificate checked instead",
      ]
      : [],
  };
}

function readHosts(host: string | undefined, port: string | undefined): Readonly<Record<string, unknown>> {
  const [hosts, ports] = [host?.split(","), port?.split(",")];
  if (ports !== undefined && ports.length > 1 && ports.length !== hosts?.length) {
    throw refused("port", "expected one, or one for each host");
  }
  const isMany = hosts !== undefined && hosts.length > 1;
  return {
    ...(host === undefined ? {} : { host: isMany ? hosts : host }),
    ...(port === undefined ? {} : { port: isMany ? hosts.map((_, i) => Number(ports?.[i] ?? port)) : port }),
  };
}

/** What npm:postgres takes as `ssl`; nothing where the address does not say. */
function readSSL(take: (name: string) => string | undefined): unknown {
  const [sslmode, ssl] = [take("sslmode"), take("ssl")];
  // The spelling of node-postgres.
  const isUnverified = sslmode === "no-verify" || sslmode === undefined && ssl === "no-verify";
  let mode = isUnverified ? "require" : sslmode ?? readSwitch(ssl);
  if (mode !== undefined && !SSL_MODES.includes(mode)) {
    throw refused(sslmode === undefined ? "ssl" : "sslmode", `expected one of ${SSL_MODES.join(", ")}`);
  }
  const accept = take("sslaccept");
  if (accept !== undefined && !["strict", "accept_invalid_certs"].includes(accept)) {
    throw refused("sslaccept", "expected strict or accept_invalid_certs");
  }
  const [root, cert, key, passphrase] = ["sslrootcert", "sslcert", "sslkey", "sslpassword"].map(take);
  const [minVersion, maxVersion] = ["ssl_min_protocol_version", "ssl_max_protocol_version"].map(take);
  if ((cert === undefined) !== (key === undefined)) {
    throw refused(
      cert === undefined ? "sslkey" : "sslcert",
      "a client's certificate needs sslcert and sslkey; a certificate authority is named by sslrootcert",
    );
  }
  if (mode === "disable") return false;
  // With a root certificate, libpq verifies the server with sslmode=require as well.
  if (accept === "strict" || root !== undefined) mode = "verify-full";
  const details = {
    ...(root === undefined || root === "system" ? {} : { ca: readFile("sslrootcert", root) }),
    ...(cert === undefined || key === undefined
      ? {}
      : { cert: readFile("sslcert", cert), key: readFile("sslkey", key) }),
    ...(passphrase === undefined ? {} : { passphrase }),
    ...(minVersion === undefined ? {} : { minVersion }),
    ...(maxVersion === undefined ? {} : { maxVersion }),
  };
  if (Object.keys(details).length === 0) return mode;
  return { ...details, rejectUnauthorized: mode?.startsWith("verify-") === true };
}

/** `ssl` as npm:postgres, node-postgres and JDBC write it: a mode, or whether to encrypt and check the certificate. */
function readSwitch(ssl: string | undefined): string | undefined {
  if (ssl === "true" || ssl === "1") return "verify-full";
  return ssl === "false" || ssl === "0" ? "disable" : ssl;
}

/** Whether `ssl`, as {@linkcode readAddress} gives it, has the server's certificate checked. */
function isVerified(ssl: unknown): boolean {
  if (typeof ssl === "object" && ssl !== null) {
    return (ssl as { rejectUnauthorized?: boolean }).rejectUnauthorized === true;
  }
  return typeof ssl === "string" && ssl.startsWith("verify-");
}

function readFile(name: string, path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch (cause) {
    throw refused(name, `its file cannot be read (${(cause as { code?: unknown }).code ?? "unknown error"})`);
  }
}

function refused(name: string, why: string): TypeError {
  return new TypeError(`Cannot open Postgres with the parameter "${name}" in its address: ${why}`);
}
