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
 * @returns The stamp; `undefined` if there is no field, or it is not valid. Of a key that is there twice it has the lower
 * version. If there are different epochs, or a key has version 0 and another one, the epoch is `mixed`, which is that of no
 * server: the data has to be fetched again.
 */
export function parseStamp(field: string | null | undefined): DataStamp | undefined {
  const epochs: string[] = [];
  const versions: [key: string, version: number][] = [];
  for (const [, display, displayVersion, isEpoch, quoted, version] of (field ?? "").matchAll(STRINGS)) {
    const text = display === undefined ? quoted!.replace(/\\(.)/g, "$1") : decode(display);
    if (isEpoch) {
      epochs.push(text!);
      continue;
    }
    const number = Number(displayVersion ?? version ?? NaN);
    if (text === undefined || !Number.isSafeInteger(number)) return undefined;
    versions.push([text, number]);
  }
  return joinVersions(epochs, versions);
}

/**
 * Joins the versions of several parts: of each key the lowest one. If the epochs differ, or one part was read when a key had
 * no node and another one was not, no versions tell what changed since. Then the epoch is one that no server has.
 */
export function joinVersions(
  epochs: readonly string[],
  entries: readonly (readonly [key: string, version: number])[],
): DataStamp | undefined {
  let [epoch] = epochs;
  if (epoch === undefined) return undefined;
  if (epochs.some((other) => other !== epoch)) epoch = "mixed";
  const versions = new Map<string, number>();
  for (const [key, version] of entries) {
    const other = versions.get(key) ?? version;
    if ((other === 0) !== (version === 0)) epoch = "mixed";
    versions.set(key, Math.min(other, version));
  }
  return { epoch, versions: Object.fromEntries(versions) };
}

function decode(text: string): string | undefined {
  try {
    return decodeURIComponent(text);
  } catch {
    return undefined;
  }
}
