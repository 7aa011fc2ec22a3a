/**
 * What a key, a hash and a version must look like, and which of two nodes is newer. Pure.
 *
 * @module
 */
import type { RealityNodeMeta } from "../types.ts";

/** The longest key, in bytes of UTF-8. Storages size their columns by it. */
export const MAX_KEY_BYTES = 512;

/** The longest hash, in bytes of UTF-8. Storages size their columns by it. */
export const MAX_HASH_BYTES = 256;

/** What is not visible ASCII, of which most keys are made: quicker to look for than what is unfit. */
const UNUSUAL = /[^ -~]/;

/** Control characters, and lone surrogates, which have no UTF-8. */
const UNFIT = /[\p{Cc}\p{Cs}]/u;

/** How many bytes a well-formed text takes in UTF-8. */
export function utf8Length(text: string): number {
  let bytes = text.length;
  for (let i = 0; i < text.length; i++) {
    const unit = text.charCodeAt(i);
    if (unit > 0x7f) bytes += unit > 0x7ff && (unit < 0xd800 || unit > 0xdfff) ? 2 : 1;
  }
  return bytes;
}

/**
 * Says what is wrong with a key, or nothing.
 *
 * @param key What should be a key.
 * @param maxBytes The longest key allowed, in bytes of UTF-8.
 * @returns What was found in place of a key, or `undefined` for a good one.
 */
export function keyFault(key: unknown, maxBytes: number = MAX_KEY_BYTES): string | undefined {
  if (typeof key !== "string") return `expected a string, got ${kindOf(key)}`;
  if (key === "") return "expected at least 1 byte, got an empty string";
  if (isTooLong(key, maxBytes)) return `longer than maxKeyBytes (${maxBytes})`;
  if (isUnfit(key)) return "control characters and lone surrogates are not allowed";
  return undefined;
}

/**
 * Says what is wrong with a hash, or nothing. A hash may be empty.
 *
 * @param hash What should be a hash.
 * @param maxBytes The longest hash allowed, in bytes of UTF-8.
 * @returns What was found in place of a hash, or `undefined` for a good one.
 */
export function hashFault(hash: unknown, maxBytes: number = MAX_HASH_BYTES): string | undefined {
  if (typeof hash !== "string") return `expected a string, got ${kindOf(hash)}`;
  if (isTooLong(hash, maxBytes)) return `longer than maxHashBytes (${maxBytes})`;
  if (isUnfit(hash)) return "control characters and lone surrogates are not allowed";
  return undefined;
}

/** Whether this is a version: an integer from 0 to 2^53 − 1. */
export function isVersion(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 0;
}

/** What a value is, in words, for the end of an error's message. */
export function kindOf(value: unknown): string {
  if (value === null) return "null";
  if (value === undefined) return "nothing";
  if (Array.isArray(value)) return "an array";
  if (typeof value === "number") return `the number ${value}`;
  return typeof value === "object" ? "an object" : `a ${typeof value}`;
}

/**
 * Whether one node is newer than another of the same key. A total order: of two different nodes exactly one
 * is newer, whoever asks, so that servers which compare the same two keep the same one.
 */
export function isNewer(a: RealityNodeMeta, b: RealityNodeMeta): boolean {
  if (a.version !== b.version) return a.version > b.version;
  if (a.updatedAt !== b.updatedAt) return a.updatedAt > b.updatedAt;
  if (a.hash !== b.hash) return isAfter(a.hash, b.hash);
  return a.deleted === true && b.deleted !== true;
}

/** In order of code points, which is that of UTF-8's bytes: so databases compare, while `>` compares UTF-16. */
function isAfter(a: string, b: string): boolean {
  for (let i = 0; i < a.length && i < b.length; i++) {
    const [left, right] = [a.charCodeAt(i), b.charCodeAt(i)];
    // Surrogates stand for what comes after all that fits into one unit.
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

function isTooLong(text: string, maxBytes: number): boolean {
  // One UTF-16 unit is at most three bytes, so most texts need no counting.
  return text.length * 3 > maxBytes && (text.length > maxBytes || utf8Length(text) > maxBytes);
}
