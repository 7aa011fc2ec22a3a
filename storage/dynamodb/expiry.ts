/**
 * When tombstones of a DynamoDB table expire, and which ones count as collected. Pure.
 *
 * @module
 */
import { joinVectors } from "../../src/store/contract.ts";
import type { State } from "./state.ts";
import { dotVersionOf, type NewNode } from "./stored_node.ts";

/**
 * DynamoDB deletes expired items at any later time. Their attribute is this much later, in seconds, ...
 */
export const TTL_DELAY = 86_400;

/**
 * ... and a reading this much after the expiry, in seconds, counts the tombstone as collected, if there was no write
 * since.
 */
const TTL_GUARD = TTL_DELAY / 2;

/** The most different expiry times in the future. */
const MAX_EXPIRING = 8;

/** When a tombstone that is made now expires, in seconds since 1970; `undefined` for never. */
export function expiryOf(now: number, timeout: number): number | undefined {
  if (timeout === Infinity) return undefined;
  // Times are rounded up, so that the counter's item has few of them, however many tombstones there are.
  const step = Math.max(1, Math.floor(timeout / 1000 / MAX_EXPIRING));
  const until = Math.ceil((now + timeout) / 1000 / step) * step;
  return Math.min(until, Number.MAX_SAFE_INTEGER - TTL_DELAY);
}

/** Whether this is a tombstone that counts as collected. */
export function isCollected(
  node: NewNode,
  { collectedVersion, collected, replicaId }: State,
  now: number,
): boolean {
  return node.deleted === true && node.until !== undefined && node.version <= collectedVersion &&
    dotVersionOf(node) <= (collected.get(node.replicaId ?? replicaId) ?? 0) && node.until * 1000 <= now;
}

/** The highest version among tombstones that were deleted, or may have been. */
export function collectedVersionAt(state: State, now: number): number {
  let collected = state.collectedVersion;
  for (const { until, version } of state.expiring) {
    if ((until + TTL_GUARD) * 1000 <= now) collected = Math.max(collected, version);
  }
  return collected;
}

/** For each replica the highest dot version among tombstones that were deleted, or may have been. */
export function collectedAt(state: State, now: number): Map<string, number> {
  let collected = new Map(state.collected);
  for (const { until, vector } of state.expiring) {
    if ((until + TTL_GUARD) * 1000 <= now) collected = joinVectors(collected, vector);
  }
  return collected;
}
