/**
 * Writes the answer of a sync as JSON.
 *
 * @module
 */
import type { SyncResponse } from "../types.ts";

/**
 * The text of an answer: the same as `JSON.stringify` writes. Most answers name no changed key. Without a list to
 * follow, joining a few texts takes a fifth of the time of `JSON.stringify`, which is slow at an object without a
 * prototype.
 *
 * @param answer The answer. An exchange between servers has other fields.
 */
export function toAnswerText(answer: SyncResponse): string {
  const { changed, mesh, epoch, serverTime, pause, refused } = answer;
  for (const _key in changed) return JSON.stringify(answer);
  if (changed === undefined || refused !== undefined) return JSON.stringify(answer);
  const { peers, serverVersion } = mesh;
  const names = Array.isArray(peers) && peers.length === 0 ? "[]" : JSON.stringify(peers);
  const more = pause === undefined ? "" : `,"pause":${pause}`;
  return `{"changed":{},"mesh":{"peers":${names},"serverVersion":${serverVersion}},"epoch":${
    JSON.stringify(epoch)
  },` +
    `"serverTime":${serverTime}${more}}`;
}
