/**
 * Parses the keys and updates of other requests than syncs, or refuses them with an error that names the fault.
 *
 * @module
 */
import { bad, checkCount, parseObject } from "./parse.ts";
import type { Limits } from "./server_limits.ts";
import { hashFault, keyFault, kindOf } from "./store/node.ts";
import type { NodeUpdate } from "./types.ts";

/**
 * Reads the body of an update: `{key, hash, ifChanged?}` or `{updates: [{key, hash, ifChanged?}, …]}`.
 *
 * @throws {RefusalError} `BAD_REQUEST` or `TOO_MANY_KEYS`, naming the field or the limit.
 */
export function parseUpdates(body: unknown, limits: Limits): NodeUpdate[] {
  const fields = parseObject("the body", body);
  if (fields.updates === undefined) return [parseUpdate(fields, "", limits)];
  if (!Array.isArray(fields.updates)) {
    throw bad('"updates"', `expected an array, got ${kindOf(fields.updates)}`);
  }
  checkCount(fields.updates.length, limits);
  return fields.updates.map((update, i) =>
    parseUpdate(parseObject(`"updates[${i}]"`, update), `updates[${i}].`, limits)
  );
}

/**
 * Reads the body of an invalidation: `{keys: […]}`.
 *
 * @throws {RefusalError} `BAD_REQUEST` or `TOO_MANY_KEYS`, naming the field or the limit.
 */
export function parseKeys(body: unknown, limits: Limits): string[] {
  const { keys } = parseObject("the body", body);
  if (!Array.isArray(keys)) throw bad('"keys"', `expected an array, got ${kindOf(keys)}`);
  return checkKeys(keys, limits);
}

/**
 * Checks a list of keys of a request.
 *
 * @throws {RefusalError} `BAD_REQUEST` or `TOO_MANY_KEYS`, naming the field or the limit.
 */
export function checkKeys(keys: readonly unknown[], limits: Limits): string[] {
  checkCount(keys.length, limits);
  return keys.map((key, i) => {
    const fault = keyFault(key, limits.maxKeyBytes);
    if (fault !== undefined) throw bad(`"keys[${i}]"`, fault);
    return key as string;
  });
}

function parseUpdate(fields: Readonly<Record<string, unknown>>, path: string, limits: Limits): NodeUpdate {
  const { key, hash } = fields;
  // Many encoders write null for an absent value.
  const ifChanged = fields.ifChanged ?? false;
  const keyWrong = keyFault(key, limits.maxKeyBytes);
  if (keyWrong !== undefined) throw bad(`"${path}key"`, keyWrong);
  const hashWrong = hashFault(hash, limits.maxHashBytes);
  if (hashWrong !== undefined) throw bad(`"${path}hash"`, hashWrong);
  if (typeof ifChanged !== "boolean") {
    throw bad(`"${path}ifChanged"`, `expected true or false, got ${kindOf(ifChanged)}`);
  }
  const update: NodeUpdate = { key: key as string, hash: hash as string };
  if (ifChanged) update.ifChanged = true;
  return update;
}
