/**
 * A short fingerprint of a text or bytes, the same on every runtime.
 *
 * @module
 */

/**
 * Makes a short fingerprint of an application's state, to be given to `updateNode`: the first 128 bits of its
 * SHA-256, as 22 characters of base64url.
 *
 * Equal states give equal fingerprints on every runtime; different ones differ, also when somebody tries to
 * make them meet. It is no password hash and no signature: whoever can guess the state can check the guess.
 *
 * @param data The state: a text, taken as UTF-8, or bytes.
 * @returns 22 characters out of `A–Z a–z 0–9 - _`.
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
    throw new TypeError(`Cannot hash: expected a string or a Uint8Array, got ${typeof data}`);
  }
  const digest = await crypto.subtle.digest("SHA-256", bytes as Uint8Array<ArrayBuffer>);
  return btoa(String.fromCharCode(...new Uint8Array(digest, 0, 16)))
    .slice(0, 22).replaceAll("+", "-").replaceAll("/", "_");
}
