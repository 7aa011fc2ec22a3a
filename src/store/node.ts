/**
 * Checks keys, hashes and versions, and decides which of two nodes is newer. Pure.
 *
 * @module
 */
import type { RealityNodeMeta } from "../types.ts";

/** The longest key, in bytes of UTF-8. Storages size their columns by it. */
export const MAX_KEY_BYTES = 512;

/** The longest hash, in bytes of UTF-8. Storages size their columns by it. */
export const MAX_HASH_BYTES = 256;

/** What to write for data in place of a hash, at the end of an error message. */
export const HASH_DATA = "; write createHash(JSON.stringify(data))";

/** Anything but visible ASCII. Most keys contain none of it, and this test is faster than the next one. */
const UNUSUAL = /[^ -~]/;

/** Control characters, and lone surrogates, which have no UTF-8. */
const UNFIT = /[\p{Cc}\p{Cs}]/u;

/** The length of a well-formed text in bytes of UTF-8. */
export function utf8Length(text: string): number {
  let bytes = text.length;
  for (let i = 0; i < text.length; i++) {
    const unit = text.charCodeAt(i);
    if (unit > 0x7f) bytes += unit > 0x7ff && (unit < 0xd800 || unit > 0xdfff) ? 2 : 1;
  }
  return bytes;
}

/**
 * Checks a key.
 *
 * @param key The value to check.
 * @param maxBytes The longest allowed key, in bytes of UTF-8.
 * @returns What is wrong with it; `undefined` for a valid key.
 */
export function keyFault(key: unknown, maxBytes: number = MAX_KEY_BYTES): string | undefined {
  if (typeof key !== "string") return `expected a string, got ${kindOf(key)}`;
  if (key === "") return "expected at least 1 byte, got an empty string";
  if (isTooLong(key, maxBytes)) return `longer than maxKeyBytes (${maxBytes})`;
  if (isUnfit(key)) return "control characters and lone surrogates are not allowed";
  return undefined;
}

/**
 * Checks a hash. A hash may be empty.
 *
 * @param hash The value to check.
 * @param maxBytes The longest allowed hash, in bytes of UTF-8.
 * @returns What is wrong with it; `undefined` for a valid hash.
 */
export function hashFault(hash: unknown, maxBytes: number = MAX_HASH_BYTES): string | undefined {
  if (typeof hash !== "string") return `expected a string, got ${kindOf(hash)}`;
  if (isTooLong(hash, maxBytes)) return `longer than maxHashBytes (${maxBytes})`;
  if (isUnfit(hash)) return "control characters and lone surrogates are not allowed";
  return undefined;
}

/** Whether a value is a version: an integer from 0 to 2^53 − 1. */
export function isVersion(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 0;
}

/** Describes a value for the end of an error message. */
export function kindOf(value: unknown): string {
  if (value === null) return "null";
  if (value === undefined) return "nothing";
  if (Array.isArray(value)) return "an array";
  if (typeof value === "number") return `the number ${value}`;
  if (typeof value !== "object") return `a ${typeof value}`;
  const tag = Object.prototype.toString.call(value).slice(8, -1);
  if (tag === "Promise") return "a promise; await it";
  return tag === "Object" ? "an object" : `an object (${tag})`;
}

/**
 * Whether one node is newer than another node of the same key. This is a total order: of two different nodes exactly
 * one is newer, so all servers keep the same one.
 */
export function isNewer(a: RealityNodeMeta, b: RealityNodeMeta): boolean {
  if (a.version !== b.version) return a.version > b.version;
  if (a.updatedAt !== b.updatedAt) return a.updatedAt > b.updatedAt;
  if (a.hash !== b.hash) return isAfter(a.hash, b.hash);
  return a.deleted === true && b.deleted !== true;
}

/** Compares by code points, which is the order of UTF-8 bytes. Databases compare like this; `>` compares UTF-16. */
function isAfter(a: string, b: string): boolean {
  for (let i = 0; i < a.length && i < b.length; i++) {
    const [left, right] = [a.charCodeAt(i), b.charCodeAt(i)];
    // Surrogates stand for code points above all that fit into one unit.
    if (left !== right) {
      return left + (isSurrogate(left) ? 0x10000 : 0) > right + (isSurrogate(right) ? 0x10000 : 0);
    }
  }
  return a.length > b.length;
}

function isSurrogate(unit: number): boolean {
  return unit >= 0xd800 && unit <= 0xdfff;
}

function isUnfit(text: string): boolean {
  return UNUSUAL.test(text) && UNFIT.test(text);
}

/** Whether a text is longer than so many bytes of UTF-8. */
export function isTooLong(text: string, maxBytes: number): boolean {
  // One UTF-16 unit is at most three bytes, so most texts need no counting.
  return text.length * 3 > maxBytes && (text.length > maxBytes || utf8Length(text) > maxBytes);
}
