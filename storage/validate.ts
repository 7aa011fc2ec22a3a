/**
 * Checks nodes, changes and versions before anything is written. Pure.
 *
 * @module
 */
import { isVersion, kindOf } from "../src/store/node.ts";
import type { NodeChange, NodeHash, NodeMerge } from "../src/store/contract.ts";
import type { RealityNodeMeta } from "../src/types.ts";

/**
 * Checks that a meta can be published under a key.
 *
 * @throws {TypeError} When the meta names another key, or a field has the wrong type.
 * @throws {RangeError} When its version is not an integer from 1 to 2^53 − 1.
 */
export function checkMeta(key: string, meta: RealityNodeMeta): void {
  if (meta.key !== key) {
    throw new TypeError(`Cannot set node ${JSON.stringify(key)}: its meta names ${JSON.stringify(meta.key)}`);
  }
  if (!isVersion(meta.version) || meta.version === 0) {
    const found = typeof meta.version === "number" ? String(meta.version) : kindOf(meta.version);
    throw new RangeError(
      `Cannot set node ${JSON.stringify(key)}: expected a version from 1 to 2^53 - 1, got ${found}`,
    );
  }
  checkFields(meta);
}

/**
 * Checks that changes can be made in one step.
 *
 * @throws {TypeError} When two of them have the same key, or a field has the wrong type.
 * @throws {RangeError} When there are more than `maxChanges`.
 */
export function checkChanges(changes: readonly NodeChange[], maxChanges: number): void {
  if (changes.length > maxChanges) {
    throw new RangeError(
      `Cannot apply ${changes.length} changes at once: at most maxChanges (${maxChanges})`,
    );
  }
  for (const change of changes) {
    checkFields(change);
    change.unless?.forEach(checkCondition);
  }
  if (changes.length < 2) return;
  const keys = new Set<string>();
  for (const { key } of changes) {
    if (keys.has(key)) throw new TypeError(`Cannot apply changes: ${JSON.stringify(key)} is named twice`);
    keys.add(key);
  }
}

/**
 * Checks that nodes of other storages can be merged in one step.
 *
 * @throws {TypeError} When two of them have the same key, or a field has the wrong type.
 * @throws {RangeError} When there are more than `maxChanges`, or a version or dot is invalid.
 */
export function checkMerges(merges: readonly NodeMerge[], maxChanges: number): void {
  checkChanges(merges.map(({ node }) => node), maxChanges);
  for (const { node } of merges) {
    if (!("replicaId" in node)) continue;
    checkMeta(node.key, node);
    if (
      !isVersion(node.dotVersion) || node.dotVersion === 0 || typeof node.replicaId !== "string" ||
      node.replicaId === ""
    ) {
      throw new RangeError(
        `Cannot merge node ${JSON.stringify(node.key)}: expected a dot version and a replica id`,
      );
    }
  }
}

/**
 * Checks that a version can be given.
 *
 * @throws {RangeError} When the counter has reached its end. Only a version of another storage can move it there.
 */
export function checkCounter(version: number): void {
  if (version > Number.MAX_SAFE_INTEGER) {
    throw new RangeError("Cannot give a version: the counter has come to 2^53 - 1");
  }
}

function checkCondition({ key, hash }: NodeHash): void {
  if (typeof key === "string" && key !== "" && typeof hash === "string") return;
  throw new TypeError(`Cannot apply changes: expected a key and a hash in unless, got ${kindOf(key)}`);
}

/** An empty key would be the counter's row, and fields of another type would not be returned as they were. */
function checkFields({ key, hash, updatedAt }: NodeChange | RealityNodeMeta): void {
  if (typeof key !== "string" || key === "") {
    throw new TypeError(
      `Cannot write a node: expected a key, got ${key === "" ? "an empty string" : kindOf(key)}`,
    );
  }
  if (typeof hash !== "string") {
    throw new TypeError(`Cannot write node ${JSON.stringify(key)}: expected a hash, got ${kindOf(hash)}`);
  }
  if (!Number.isSafeInteger(updatedAt)) {
    throw new TypeError(
      `Cannot write node ${JSON.stringify(key)}: expected whole milliseconds as updatedAt, got ${
        kindOf(updatedAt)
      }`,
    );
  }
}
