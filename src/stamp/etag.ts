/**
 * Makes the `ETag` of a stamp, and compares it with `If-None-Match`.
 *
 * @module
 */
import { toETag } from "../etag.ts";
import type { StampVersions } from "./field.ts";

/** A joined tag with more bytes might not fit into the headers that proxies accept. */
const MAX_JOINED_LENGTH = 2048;

/** What a tag stands for beside the versions. */
export interface TagParts {
  /** What else the answer depends on. */
  readonly variant: string;
  /**
   * The state of the whole storage, if a key has no node. Without it, a key that is created and deleted again would have
   * the tag from before, although data that was read in between shows the node.
   */
  readonly moment: string;
}

/**
 * Makes a weak entity tag. Two states have the same tag only if all parts are equal, or if SHA-256 collides for a long
 * one. It is weak, since data is read after the versions: equal tags do not promise equal bytes.
 */
export async function makeETag({ epoch, versions }: StampVersions, parts: TagParts): Promise<string> {
  const keys: string[] = [];
  for (const key in versions) keys.push(`${escape(key)}=${versions[key]}`);
  const text = [escape(epoch), escape(parts.variant), escape(parts.moment), ...keys.sort()].join(";");
  return await toETag(text);
}

/** Replaces what a tag may not contain, and `;`, `=` and `&`. So the parts of a tag cannot be confused. */
function escape(text: string): string {
  return /^[\w.:-]*$/.test(text) ? text : encodeURIComponent(text);
}

/**
 * Makes the tag of an answer with several stamps: it says all that their tags say, each once. If that is too long, it is
 * a tag that no other answer has.
 */
export function joinETags(tags: readonly string[]): string {
  const parts = new Set(tags.flatMap((tag) => tag.slice('W/"'.length, -1).split("&")));
  const tag = `W/"${[...parts].sort().join("&")}"`;
  return tag.length > MAX_JOINED_LENGTH ? `W/"${crypto.randomUUID()}"` : tag;
}

/**
 * Whether `If-None-Match` lists a tag, by the weak comparison of RFC 9110. `*` lists none: it does not say which answer
 * the client has.
 */
export function matchesETag(ifNoneMatch: string | null, etag: string): boolean {
  return [...(ifNoneMatch ?? "").matchAll(/"[^"]*"/g)].some(([quoted]) => `W/${quoted}` === etag);
}
