/**
 * The text of a sync's answer. Pure.
 *
 * @module
 */
import type { RealityNodeMeta, SyncResponse } from "../types.ts";

/**
 * Writes an answer as `JSON.stringify` would. That takes two to four times as long for an object whose keys are never
 * the same twice, such as `changed`.
 */
export function writeAnswer({ changed, mesh, epoch, serverTime }: SyncResponse): string {
  let nodes = "";
  for (const key in changed) {
    const name = JSON.stringify(key);
    const separator = nodes === "" ? "" : ",";
    nodes += `${separator}${name}:${writeMeta(name, changed[key]!)}`;
  }
  const rest = JSON.stringify({ mesh, epoch, serverTime });
  return `{"changed":{${nodes}},${rest.slice(1)}`;
}

/** Writes a meta, given its key as JSON. */
function writeMeta(name: string, meta: RealityNodeMeta): string {
  const { version, hash, updatedAt, deleted } = meta;
  // A storage of the application's own may give anything.
  const isPlain = Number.isFinite(version) && Number.isFinite(updatedAt) && typeof hash === "string";
  if (!isPlain) return JSON.stringify(meta);
  const end = deleted === undefined ? "}" : `,"deleted":${deleted}}`;
  return `{"key":${name},"version":${version},"hash":${JSON.stringify(hash)},"updatedAt":${updatedAt}${end}`;
}
