/**
 * Makes entity tags.
 *
 * @module
 */
import { createHash } from "./hash.ts";

/** Longer tags are replaced by their hash, which takes several times as long as a sync (`bench/stamp_bench.ts`). */
const MAX_PLAIN_LENGTH = 512;

/**
 * Makes a weak entity tag of a text that says what the answer depends on. The text has only characters that a tag may
 * contain. Two texts have the same tag only if SHA-256 collides for a long one.
 */
export async function toETag(text: string): Promise<string> {
  return `W/"${text.length > MAX_PLAIN_LENGTH ? await createHash(text) : text}"`;
}
