/**
 * Parses the field `Reality-Stamp`, in which an answer of the application says which versions it stands for.
 *
 * @module
 */
import type { DataStamp } from "./types.ts";

/** Strings of structured fields (RFC 9651): display strings, and quoted strings with the name or version around them. */
const STRINGS = /%"([^"]*)"(?:;v="(\d+)")?|(epoch=)?"((?:[^"\\]|\\.)*)"(?:;v="(\d+)")?/g;

/**
 * Parses the value of the header field `Reality-Stamp`.
 *
 * ```ts
 * import { parseStamp } from "@rootlodge/reality-server/client";
 *
 * const stamp = parseStamp('epoch="0lqx1k2p3-x1y2z3w4", keys=("chat:general";v="6" %"caf%c3%a9";v="0")');
 * console.assert(stamp?.versions["café"] === 0);
 * ```
 *
 * @param field The value, as `headers.get("reality-stamp")` returns it.
 * @returns The stamp; `undefined` if there is no field, it is not valid, or its parts have different epochs. Of a key that
 * is there twice it has the lower version that is not 0.
 */
export function parseStamp(field: string | null | undefined): DataStamp | undefined {
  let epoch: string | undefined;
  const versions = new Map<string, number>();
  for (const [, display, displayVersion, isEpoch, quoted, version] of (field ?? "").matchAll(STRINGS)) {
    const text = display === undefined ? quoted!.replace(/\\(.)/g, "$1") : decode(display);
    if (isEpoch) {
      if (epoch !== undefined && epoch !== text) return undefined;
      epoch = text;
      continue;
    }
    const number = Number(displayVersion ?? version ?? NaN);
    if (text === undefined || !Number.isSafeInteger(number)) return undefined;
    const other = versions.get(text) ?? number;
    // Of two versions the data certainly has the lower one. 0 is no version: it would hide a deletion.
    versions.set(text, other === 0 || number === 0 ? Math.max(other, number) : Math.min(other, number));
  }
  return epoch === undefined ? undefined : { epoch, versions: Object.fromEntries(versions) };
}

function decode(text: string): string | undefined {
  try {
    return decodeURIComponent(text);
  } catch {
    return undefined;
  }
}
