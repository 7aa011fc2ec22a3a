/**
 * Answers one sync request, at once or when there is something to tell.
 *
 * @module
 */

import type { Clock } from "./clock.ts";
import { compare } from "./compare.ts";
import type { Reading } from "./fence.ts";
import type { ParsedSync } from "./parse.ts";
import type { StorageReading } from "./storage.ts";
import type { MeshInfo, RealityNodeMeta, SyncResponse } from "./types.ts";
import type { Waiters } from "./waiters.ts";
import type { Watch } from "./watch.ts";

/** The rooms that a sync request passes through. */
export interface SyncRooms {
  readonly reader: Reading;
  readonly waiters: Waiters;
  readonly watch: Watch;
  readonly clock: Clock;
  readonly maxWait: number;
}

/**
 * Answers a sync request (PROTOCOL 3 and 5).
 *
 * @param request A checked request.
 * @param rooms Where to read and where to wait.
 * @param getSignal Gives the signal that aborts when the client goes away; asked only by who waits.
 * @throws {StorageError} When the storage fails.
 * @throws The signal's reason, once it has aborted.
 */
export async function answerSync(
  request: ParsedSync,
  rooms: SyncRooms,
  getSignal?: () => AbortSignal | undefined,
): Promise<SyncResponse> {
  const { keys } = request.known;
  const wait = Math.min(request.wait ?? 0, rooms.maxWait);
  // Who waits for nothing in particular would only wait out its time.
  const waiter = wait > 0 && keys.length > 0 ? rooms.waiters.add(keys) : null;
  if (waiter === null) {
    const reading = await rooms.reader.read(keys);
    return respond(request, reading, compareReading(request, reading), rooms);
  }
  const signal = getSignal?.();
  const leave = () => waiter.release();
  signal?.addEventListener("abort", leave, { once: true });
  try {
    signal?.throwIfAborted();
    // Waits that began together end apart, so that their clients do not come back together.
    const deadline = rooms.clock.now() + wait - Math.floor(wait / 16 * rooms.clock.random());
    // The waiter hears of changes from before this read on: what the read misses wakes it (PROTOCOL 5.1).
    for (let last = false;;) {
      let reading: StorageReading | undefined = await rooms.reader.read(keys);
      signal?.throwIfAborted();
      const changed = compareReading(request, reading);
      const left = deadline - rooms.clock.now();
      if (changed !== null || last || left <= 0) return respond(request, reading, changed, rooms);
      rooms.watch.park(reading);
      // Not kept in memory for as long as this waits.
      reading = undefined;
      last = await waiter.next(left) !== "wake";
      signal?.throwIfAborted();
    }
  } finally {
    signal?.removeEventListener("abort", leave);
    waiter.release();
  }
}

function compareReading(
  request: ParsedSync,
  reading: StorageReading,
): Record<string, RealityNodeMeta> | null {
  const sameEpoch = request.epoch === undefined || request.epoch === reading.epoch;
  return compare(request.known, reading.nodes, sameEpoch);
}

function respond(
  request: ParsedSync,
  reading: StorageReading,
  changed: Record<string, RealityNodeMeta> | null,
  rooms: SyncRooms,
): SyncResponse {
  const legacy = request.clientId !== undefined && request.mode !== undefined && request.hint !== undefined;
  const mesh: MeshInfo = { peers: legacy ? {} : [], serverVersion: reading.maxVersion };
  return {
    changed: changed ?? Object.create(null) as Record<string, RealityNodeMeta>,
    mesh,
    epoch: reading.epoch,
    serverTime: rooms.clock.now(),
  };
}
