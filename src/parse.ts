/**
 * Parses the JSON of sync requests into checked messages, or refuses it with an error that names the fault.
 *
 * @module
 */
import type { Known } from "./sync/compare.ts";
import { RefusalError } from "./errors.ts";
import { isVersion, keyFault, kindOf } from "./store/node.ts";
import type { Limits } from "./server_limits.ts";
import type { SyncRequest } from "./types.ts";

/** A checked sync request. */
export interface ParsedSync extends Omit<SyncRequest, "known"> {
  readonly known: Known;
}

/**
 * Reads a sync request (PROTOCOL 3.1). Unknown fields are ignored, so that clients may be newer than the server. An
 * optional field that is `null` counts as absent.
 *
 * @param body The body.
 * @param limits The limits of keys.
 * @param isPlain Whether all strings of the body are known to contain only visible ASCII.
 * @throws {RefusalError} `BAD_REQUEST` or `TOO_MANY_KEYS`, naming the field or the limit.
 */
export function parseSync(body: unknown, limits: Limits, isPlain: boolean = false): ParsedSync {
  const fields = parseObject("the body", body);
  if (Object.hasOwn(fields, "gossip")) {
    throw new RefusalError("ERR_REALITY_FORBIDDEN", 'Cannot read "gossip": this server has no peers');
  }
  const known = parseKnown(fields.known, limits, isPlain);
  // Copies have no spare capacity. Arrays built by push() do, and it would be kept for as long as the request waits.
  const wait = fields.wait ?? undefined;
  const kept = wait === undefined ? known : { keys: [...known.keys], versions: [...known.versions] };
  const request: ParsedSync = { known: kept };
  const epoch = parseText(fields, "epoch", 128);
  if (epoch !== undefined) request.epoch = epoch;
  if (wait !== undefined) {
    if (typeof wait !== "number" || !(wait >= 0)) {
      throw bad('"wait"', `expected milliseconds, 0 or more, got ${kindOf(wait)}`);
    }
    request.wait = wait;
  }
  const detail = fields.detail ?? false;
  if (typeof detail !== "boolean") throw bad('"detail"', `expected true or false, got ${kindOf(detail)}`);
  if (detail) request.detail = true;
  for (const name of ["clientId", "mode", "hint"] as const) {
    const text = parseText(fields, name, 256);
    if (text !== undefined) request[name] = text;
  }
  const timestamp = fields.timestamp ?? undefined;
  if (timestamp !== undefined) {
    if (typeof timestamp !== "number") {
      throw bad('"timestamp"', `expected a number, got ${kindOf(timestamp)}`);
    }
    request.timestamp = timestamp;
  }
  return request;
}

/** Reads each property once: in an object with many keys, one lookup costs more than all the checks. */
function parseKnown(known: unknown, limits: Limits, isPlain: boolean): Known {
  const fields = withoutInherited(parseObject('"known"', known));
  const keys: string[] = [];
  const versions: number[] = [];
  // V8 reads the values without a lookup only inside a for-in loop over the same object. `Object.values` is faster up to
  // some 100 keys, and takes half as long again for more.
  for (const key in fields) {
    if (keys.length >= limits.maxKeys) checkCount(Object.keys(fields).length, limits);
    // A character of ASCII is one byte.
    if (!isPlain || key === "" || key.length > limits.maxKeyBytes) {
      const fault = keyFault(key, limits.maxKeyBytes);
      if (fault !== undefined) throw bad(`a key of "known"`, `${fault}, at ${quote(key)}`);
    }
    const version = fields[key];
    if (!isVersion(version)) {
      throw bad(
        `the version of ${quote(key)}`,
        `expected an integer from 0 to 2^53 - 1, got ${kindOf(version)}`,
      );
    }
    keys.push(key);
    versions.push(version);
  }
  // The entries of a Map are not properties.
  if (keys.length === 0 && known instanceof Map) {
    throw bad('"known"', `expected an object, got ${kindOf(known)}`);
  }
  return { keys, versions };
}

/** Returns an object whose for-in loop finds only own properties: the same object, unless it inherits any. */
function withoutInherited(fields: Readonly<Record<string, unknown>>): Readonly<Record<string, unknown>> {
  for (const _name in Object.getPrototypeOf(fields)) return Object.assign(Object.create(null), fields);
  return fields;
}

/**
 * Checks that a value is an object.
 *
 * @throws {RefusalError} `BAD_REQUEST`, naming what it is.
 */
export function parseObject(what: string, value: unknown): Readonly<Record<string, unknown>> {
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    throw bad(what, `expected an object, got ${kindOf(value)}`);
  }
  return value as Record<string, unknown>;
}

function parseText(
  fields: Readonly<Record<string, unknown>>,
  name: string,
  longest: number,
): string | undefined {
  // Many encoders write null for an absent value.
  const value = fields[name] ?? undefined;
  if (value === undefined) return undefined;
  if (typeof value !== "string") throw bad(`"${name}"`, `expected a string, got ${kindOf(value)}`);
  if (value.length > longest) throw bad(`"${name}"`, `longer than ${longest} characters`);
  return value;
}

/**
 * Checks the number of keys.
 *
 * @throws {RefusalError} `TOO_MANY_KEYS`, naming the limit.
 */
export function checkCount(count: number, limits: Limits): void {
  if (count <= limits.maxKeys) return;
  throw new RefusalError(
    "ERR_REALITY_TOO_MANY_KEYS",
    `Cannot take ${count} keys in one request: more than maxKeys (${limits.maxKeys})`,
  );
}

/** The refusal of a part of a request. */
export function bad(what: string, found: string): RefusalError {
  return new RefusalError("ERR_REALITY_BAD_REQUEST", `Cannot read ${what}: ${found}`);
}

/** A key for a message: quoted, escaped and shortened. */
function quote(key: string): string {
  return JSON.stringify(key.length > 60 ? `${key.slice(0, 60)}…` : key);
}
