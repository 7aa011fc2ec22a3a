/**
 * Creates a short hash of a text or of bytes, the same on every runtime.
 *
 * @module
 */

import { HASH_DATA } from "./store/node.ts";

/**
 * Creates a short hash of an application's state for `updateNode`: the first 128 bits of its SHA-256, as 22
 * characters of base64url.
 *
 * Equal states have equal hashes on every runtime. Different states have different hashes, even if an attacker
 * chooses them. This is neither a password hash nor a signature: anyone who can guess the state can verify the guess.
 *
 * @param data The state: a text, encoded as UTF-8, or bytes.
 * @returns 22 characters of `A–Z a–z 0–9 - _`.
 * @throws {TypeError} When `data` is neither a string nor bytes.
 *
 * @example
 * ```ts
 * import { createHash } from "@rootlodge/reality-server";
 *
 * console.assert(await createHash("abc") === "ungWv48Bz-pBQUDeXa4iIw");
 * ```
 */
export async function createHash(data: string | Uint8Array): Promise<string> {
  const bytes = typeof data === "string" ? new TextEncoder().encode(data) : data;
  if (!(bytes instanceof Uint8Array)) {
    throw new TypeError(`Cannot hash: expected a string or a Uint8Array, got ${typeof data}${HASH_DATA}`);
  }
  const digest = await crypto.subtle.digest("SHA-256", bytes as Uint8Array<ArrayBuffer>);
  return btoa(String.fromCharCode(...new Uint8Array(digest, 0, 16)))
    .slice(0, 22).replaceAll("+", "-").replaceAll("/", "_");
}
