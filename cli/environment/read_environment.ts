/**
 * Reads the settings of a standalone server from environment variables. Pure.
 *
 * @module
 */
import { checkLimits, type Limits } from "../../src/server_limits.ts";
import { checkRateLimit, checkTrustProxy } from "../../src/check_options.ts";
import type { RateLimitOptions } from "../../src/options.ts";
import { redactInvalidURL } from "../../src/redact.ts";
import { LOG_FORMATS, LOG_LEVELS } from "../log.ts";
import { readReaders } from "./read_readers.ts";
import type { Settings } from "./settings.ts";
import {
  checkAs,
  parseBasePath,
  parseChoice,
  parseNumber,
  parsePort,
  parseSecrets,
  parseStorage,
  splitList,
  wrong,
} from "./values.ts";
import { type Environment, LIMIT_NAMES, limitVariable, refuseUnknown } from "./variables.ts";

/**
 * Reads the settings.
 *
 * @param environment The variables.
 * @returns The settings, with every default filled in.
 * @throws {RangeError} If the value of a variable is wrong, or a variable begins with `REALITY_` and is unknown. The
 *   message names it.
 */
export function readEnvironment(environment: Environment): Settings {
  refuseUnknown(environment);
  const cors = readCors(environment.REALITY_CORS);
  const basePath = parseBasePath(environment.REALITY_BASE_PATH);
  return {
    port: parsePort(environment.PORT),
    host: environment.HOST || undefined,
    storage: parseStorage(environment.REALITY_STORAGE, "REALITY_STORAGE"),
    outbox: readOutbox(environment),
    serverId: readServerId(environment.REALITY_SERVER_ID),
    meshPeers: readPeers(environment.REALITY_PEERS, basePath),
    meshSecrets: parseSecrets("REALITY_MESH_SECRET", environment.REALITY_MESH_SECRET, 16),
    redis: readRedis(environment.REDIS_URL),
    writeTokens: readTokens(environment.REALITY_WRITE_TOKEN),
    readers: readReaders(environment),
    limits: readLimits(environment),
    rateLimit: readRateLimit(environment.REALITY_RATE_LIMIT),
    trustProxy: readTrustProxy(environment.REALITY_TRUST_PROXY),
    log: {
      level: parseChoice("REALITY_LOG_LEVEL", environment.REALITY_LOG_LEVEL, LOG_LEVELS) ?? "info",
      format: parseChoice("REALITY_LOG_FORMAT", environment.REALITY_LOG_FORMAT, LOG_FORMATS) ?? "text",
    },
    handler: {
      basePath,
      ...(cors === undefined ? {} : { cors: { origin: cors } }),
    },
  };
}

function readLimits(environment: Environment): Partial<Limits> {
  const limits: Record<string, number> = {};
  for (const limit of LIMIT_NAMES) {
    const text = environment[limitVariable(limit)];
    if (!text) continue;
    limits[limit] = parseNumber(limitVariable(limit), text);
    checkAs(limitVariable(limit), () => checkLimits({ [limit]: limits[limit] }));
  }
  return limits;
}

function readRateLimit(text: string | undefined): RateLimitOptions | undefined {
  if (!text) return undefined;
  const [, limit, seconds] = /^(\d{1,9})\/(\d{1,9})$/.exec(text) ?? [];
  if (limit === undefined) throw wrong("REALITY_RATE_LIMIT", "requests and seconds, such as 600/60", text);
  const option = { limit: Number(limit), window: Number(seconds) * 1_000 };
  checkAs("REALITY_RATE_LIMIT", () => checkRateLimit(option));
  return option;
}

function readTrustProxy(text: string | undefined): number | readonly string[] | undefined {
  if (!text) return undefined;
  const option = /^\d+$/.test(text) ? parseNumber("REALITY_TRUST_PROXY", text) : splitList(text);
  checkAs("REALITY_TRUST_PROXY", () => checkTrustProxy(option));
  return option;
}

function readOutbox({ REALITY_OUTBOX: text, REALITY_STORAGE: storage }: Environment): string | undefined {
  if (!text) return undefined;
  if (storage === "memory:") throw wrong("REALITY_OUTBOX", "a REALITY_STORAGE that is a database", storage);
  if (/^[A-Za-z_][A-Za-z0-9_]{0,47}$/.test(text)) return text;
  throw wrong("REALITY_OUTBOX", "the name of a table, such as reality_outbox", text);
}

function readServerId(text: string | undefined): string | undefined {
  if (!text) return undefined;
  if (!/^[\x21-\x7e]{1,128}$/.test(text)) {
    throw wrong("REALITY_SERVER_ID", "1 to 128 visible ASCII characters", text);
  }
  return text;
}

/** Reads the URLs of the peers. One without a path gets the base path of this server. */
function readPeers(text: string | undefined, basePath: string): readonly string[] {
  return splitList(text).map((peer) => {
    const url = URL.canParse(peer) ? new URL(peer) : undefined;
    // A URL with credentials is wrong, and must not be in the error.
    const fits = url !== undefined && /^https?:$/.test(url.protocol) && url.username + url.password === "";
    if (!fits) throw wrong("REALITY_PEERS", "URLs such as http://server-2:8000");
    return url.pathname === "/" ? new URL(`${basePath}/sync`, url).href : url.href;
  });
}

function readRedis(text: string | undefined): string | undefined {
  if (!text) return undefined;
  if (/^rediss?:\/\//.test(text) && URL.canParse(text)) return text;
  throw wrong("REDIS_URL", "redis://<url> or rediss://<url>", redactInvalidURL(text));
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
    throw wrong("REALITY_WRITE_TOKEN", "tokens of 16 to 1024 visible ASCII characters");
  }
  return tokens;
}
