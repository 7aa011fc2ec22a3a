/**
 * Answers one sync request, at once or when there is something to tell.
 *
 * @module
 */

import { type AskRights, mask, type Rights } from "../access.ts";
import type { Admission } from "../limits/admission.ts";
import type { Clock } from "../clock.ts";
import { compare, metaOf, versionOf } from "./compare.ts";
import type { Reading } from "../store/cached_reader.ts";
import type { HangUp } from "../abort_signal.ts";
import type { Metrics } from "../telemetry/metrics.ts";
import type { ParsedSync } from "../parse.ts";
import { drawPause } from "../limits/retry_delay.ts";
import type { StorageReading } from "../store/contract.ts";
import type { MeshInfo, PeerHealth, PeerState, RealityNodeMeta, SyncResponse } from "../types.ts";
import { Visit } from "../telemetry/request_record.ts";
import type { Waiters, WaiterSource } from "./waiters.ts";
import type { Watch } from "./change_poller.ts";

/** What a sync request asks of the mesh. */
export interface SyncMesh {
  /** Id → state of the peers that have ever answered. */
  readonly states: ReadonlyMap<string, PeerState>;
  /** Hears that a client asks. */
  noteTraffic(): void;
  /** Settles once this server may answer. */
  open(): Promise<void>;
  /** Which versions that clients claim to hold the peers are asked about. */
  readonly claims: {
    areWorthAsking(claims: readonly Claim[]): boolean;
    noteFruitless(claims: readonly Claim[]): void;
  };
  /** Asks the peers for what they have; settles by a deadline and never rejects. */
  catchUp(): Promise<void>;
}

/** A version that a client holds, and this server does not know. */
type Claim = Pick<RealityNodeMeta, "key" | "version">;

/** The rooms that a sync request passes through. */
export interface SyncRooms {
  readonly reader: Reading;
  readonly waiters: Pick<Waiters, "add">;
  readonly watch: Pick<Watch, "park">;
  readonly clock: Clock;
  readonly maxWait: number;
  readonly mesh?: SyncMesh | undefined;
  readonly metrics: Pick<Metrics, "changedKeys" | "waitsBegun" | "waitsEnded" | "waitDurations">;
}

/** Who asks. */
export interface SyncClient {
  /** Gives what tells when the client goes away; asked only by who waits. */
  readonly source?: { getSignal(): HangUp | undefined };
  /** Says where it comes from; asked only of who wants to wait. Left out for a caller that is trusted. */
  readonly locate?: (() => WaiterSource) | undefined;
  /** What the client may read; left out: everything. */
  readonly askRights?: AskRights | undefined;
  /** Where it is noted what becomes of the request. */
  readonly visit?: Visit;
  /** Hears when the request begins to wait, and when it has waited; left out for one that was not let in. */
  readonly parking?: Parking | undefined;
}

/** What counts the requests that are dealt with: who waits is none of them. */
export type Parking = Pick<Admission, "park" | "unpark">;

/**
 * Answers a sync request (PROTOCOL 3 and 5).
 *
 * @param request A checked request.
 * @param rooms Where to read and where to wait.
 * @param client Who asks.
 * @returns The answer itself where nobody has to be asked or waited for: promises would cost more than all the rest.
 * @throws {StorageError} When the storage fails.
 * @throws The signal's reason, once it has aborted.
 */
export function answerSync(
  request: ParsedSync,
  rooms: SyncRooms,
  client: SyncClient = {},
): SyncResponse | Promise<SyncResponse> {
  const visit = client.visit ?? new Visit(rooms.clock.elapsed());
  const wait = Math.min(request.wait ?? 0, rooms.maxWait);
  if (wait > 0 || rooms.mesh !== undefined || client.askRights !== undefined) {
    return answerInTime(request, rooms, client, visit, wait);
  }
  const answer = (reading: StorageReading) =>
    respond(request, reading, compareReading(request, reading), rooms, visit);
  const reading = rooms.reader.read(request.known.keys);
  return reading instanceof Promise ? reading.then(answer) : answer(reading);
}

async function answerInTime(
  request: ParsedSync,
  rooms: SyncRooms,
  { source, locate, askRights, parking }: SyncClient,
  visit: Visit,
  wait: number,
): Promise<SyncResponse> {
  const { keys } = request.known;
  if (rooms.mesh !== undefined) {
    rooms.mesh.noteTraffic();
    await rooms.mesh.open();
  }
  // Who waits for nothing in particular would only wait out its time.
  const waiter = wait > 0 && keys.length > 0 ? rooms.waiters.add(keys, locate?.()) : null;
  if (waiter === null) {
    const reading = await readCaughtUp(request, rooms, await askRights?.());
    return respond(request, reading, compareReading(request, reading), rooms, visit);
  }
  const signal = source?.getSignal();
  const leave = () => waiter.release();
  signal?.addEventListener("abort", leave);
  try {
    signal?.throwIfAborted();
    // Waits that began together end apart, so that their clients do not come back together.
    const deadline = rooms.clock.elapsed() + wait - Math.floor(wait / 16 * rooms.clock.random());
    // The waiter hears of changes from before this read on: what the read misses wakes it (PROTOCOL 5.1).
    for (let last = false;;) {
      // Asked anew each time: rights may have ended while this waited (PROTOCOL 5.7).
      const rights = await askRights?.();
      let reading: StorageReading | undefined = await readCaughtUp(request, rooms, rights);
      signal?.throwIfAborted();
      const changed = compareReading(request, reading);
      const left = Math.min(
        deadline - rooms.clock.elapsed(),
        (rights?.expiresAt ?? Infinity) - rooms.clock.now(),
      );
      if (changed !== null || last || left <= 0) {
        if (visit.outcome === "wake" && changed === null) visit.outcome = "timeout";
        return respond(request, reading, changed, rooms, visit, deadline);
      }
      rooms.watch.park(reading);
      // Not kept in memory for as long as this waits.
      reading = undefined;
      if (visit.waitsSince === undefined) beginWait(visit, rooms, parking);
      visit.outcome = await waiter.next(left);
      last = visit.outcome !== "wake";
      signal?.throwIfAborted();
    }
  } catch (error) {
    visit.outcome = signal?.aborted ? "gone" : "failed";
    throw error;
  } finally {
    signal?.removeEventListener("abort", leave);
    waiter.release();
    if (visit.waitsSince !== undefined) {
      endWait(visit, visit.waitsSince, rooms);
      parking?.unpark();
    }
  }
}

function beginWait(visit: Visit, { clock, metrics }: SyncRooms, parking: Parking | undefined): void {
  parking?.park();
  visit.waitsSince = clock.elapsed();
  metrics.waitsBegun.value++;
}

function endWait(visit: Visit, since: number, { clock, metrics }: SyncRooms): void {
  visit.waited = clock.elapsed() - since;
  metrics.waitsEnded.add(visit.outcome);
  metrics.waitDurations.observe(visit.waited);
}

/** Reads what a client may see; and where it knows more than we do, asks the peers first and reads again. */
function readCaughtUp(
  request: ParsedSync,
  rooms: SyncRooms,
  rights: Rights | undefined,
): StorageReading | Promise<StorageReading> {
  // Most servers have neither rights nor peers: their answer is the reader's own.
  if (rooms.mesh === undefined && rights === undefined) return rooms.reader.read(request.known.keys);
  return readWithPeers(request, rooms, rights);
}

async function readWithPeers(
  { known: { keys, versions }, epoch }: ParsedSync,
  { reader, mesh, clock }: SyncRooms,
  rights: Rights | undefined,
): Promise<StorageReading> {
  const read = async () => mask(await reader.read(keys), rights, clock.now());
  const reading = await read();
  if (mesh === undefined || epoch !== undefined && epoch !== reading.epoch) return reading;
  const findClaims = ({ nodes }: StorageReading): Claim[] =>
    keys.flatMap((key, i) => versions[i]! > versionOf(nodes, key) ? { key, version: versions[i]! } : []);
  const claims = findClaims(reading);
  if (claims.length === 0 || !mesh.claims.areWorthAsking(claims)) return reading;
  await mesh.catchUp();
  const caughtUp = await read();
  if (caughtUp.epoch === reading.epoch) mesh.claims.noteFruitless(findClaims(caughtUp));
  return caughtUp;
}

function compareReading(request: ParsedSync, reading: StorageReading): string[] | null {
  const sameEpoch = request.epoch === undefined || request.epoch === reading.epoch;
  return compare(request.known, reading.nodes, sameEpoch);
}

function respond(
  request: ParsedSync,
  reading: StorageReading,
  keys: readonly string[] | null,
  rooms: SyncRooms,
  visit: Visit,
  deadline: number = Infinity,
): SyncResponse {
  if (visit.waitsSince === undefined) visit.outcome = "answered";
  const changed: Record<string, RealityNodeMeta> = Object.create(null);
  if (keys !== null) {
    rooms.metrics.changedKeys.value += visit.changed = keys.length;
    for (const key of keys) changed[key] = metaOf(reading.nodes, key);
  }
  const legacy = request.clientId !== undefined && request.mode !== undefined && request.hint !== undefined;
  const states = rooms.mesh?.states;
  const mesh: MeshInfo = {
    peers: legacy ? peerHealths(states) : peerIds(states),
    serverVersion: reading.maxVersion,
  };
  const answer: SyncResponse = { changed, mesh, epoch: reading.epoch, serverTime: rooms.clock.now() };
  if (keys === null && (request.wait ?? 0) > 0 && isEarly(visit, rooms.clock, deadline)) {
    answer.pause = drawPause(rooms.clock);
  }
  return answer;
}

/** Whether a request that wanted to wait is answered sooner than that: there was no place, or the server stops. */
function isEarly({ waitsSince, outcome }: Visit, clock: Clock, deadline: number): boolean {
  return outcome === "closed" || waitsSince === undefined && clock.elapsed() < deadline;
}

const HEALTHS: Readonly<Record<PeerState, PeerHealth>> = {
  alive: "healthy",
  suspect: "degraded",
  gone: "unhealthy",
};

/** The ids of the peers that are not gone. */
export function peerIds(states?: ReadonlyMap<string, PeerState>): string[] {
  if (states === undefined) return [];
  return [...states].filter(([, state]) => state !== "gone").map(([id]) => id);
}

function peerHealths(states: ReadonlyMap<string, PeerState> = new Map()): Record<string, PeerHealth> {
  return Object.fromEntries([...states].map(([id, state]) => [id, HEALTHS[state]]));
}
