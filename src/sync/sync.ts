/**
 * Answers a sync request, at once or when there is a change.
 *
 * @module
 */

import { type AskRights, mask, type Rights } from "../access.ts";
import type { ConcurrencyLimit } from "../limits/concurrency.ts";
import type { Clock } from "../clock.ts";
import { compare, metaOf, versionOf } from "./compare.ts";
import type { NodeReader } from "../store/cached_reader.ts";
import type { AbortSignalLike } from "../abort_signal.ts";
import { type MaybePromise, then } from "../maybe_promise.ts";
import type { Metrics } from "../telemetry/metrics.ts";
import type { ParsedSync } from "../parse.ts";
import { drawRetryDelay } from "../limits/retry_delay.ts";
import type { StorageReading } from "../store/contract.ts";
import type { Groups } from "../store/groups.ts";
import type { MeshInfo, PeerHealth, PeerState, RealityNodeMeta, SyncResponse } from "../types.ts";
import { RequestRecord } from "../telemetry/request_record.ts";
import type { CreateAsk, GroupDetails } from "./group_details.ts";
import type { Waiters, WaiterSource } from "./waiters.ts";
import type { ChangePoller } from "./change_poller.ts";

/** What a sync request needs of the mesh. */
export interface SyncMesh {
  /** Id → state of the peers that have ever answered. */
  readonly states: ReadonlyMap<string, PeerState>;
  /** Records that a client sent a request. */
  contactStalePeers(): void;
  /** Resolves when this server may answer. */
  bootstrap(): Promise<void>;
  /** Decides which versions that clients claim to hold are worth a request to the peers. */
  readonly claims: {
    areWorthChecking(claims: readonly Claim[]): boolean;
    recordUnconfirmed(claims: readonly Claim[]): void;
  };
  /** Requests the latest changes from the peers. Resolves at a deadline at the latest; never rejects. */
  catchUp(): Promise<void>;
}

/** A version that a client holds and this server does not know. */
type Claim = Pick<RealityNodeMeta, "key" | "version">;

/** What a sync request needs. */
export interface SyncDeps {
  readonly reader: NodeReader;
  readonly waiters: Pick<Waiters, "add">;
  readonly poller: Pick<ChangePoller, "register">;
  readonly clock: Clock;
  readonly maxWait: number;
  readonly mesh?: SyncMesh | undefined;
  /** Says which keys no group has; undefined without the option. */
  readonly groups?: Pick<Groups, "findRefused"> | undefined;
  /** Finds which members of groups changed; undefined without the option. */
  readonly findDetail?: GroupDetails["find"] | undefined;
  readonly metrics: Pick<Metrics, "changedKeys" | "waitsBegun" | "waitsEnded" | "waitDurations">;
}

/** The client of a sync request. */
export interface SyncClient {
  /** Provides the signal that aborts when the client disconnects. Used only by requests that wait. */
  readonly source?: { getSignal(): AbortSignalLike | undefined };
  /** Locates the client. Called only for requests that want to wait. Left out for a trusted caller. */
  readonly locate?: (() => WaiterSource) | undefined;
  /** What the client may read; left out: everything. */
  readonly askRights?: AskRights | undefined;
  /** Asks what the client may read of the members of its groups; left out: everything. */
  readonly createAsk?: CreateAsk | undefined;
  /** Records what happens to the request. */
  readonly record?: RequestRecord;
  /** Is told when the request starts and ends waiting. Left out for a request that holds no slot. */
  readonly waitingSlot?: WaitingSlot | undefined;
}

/** Gives up its slot of the concurrency limit while it waits. Waiting requests are not counted. */
export type WaitingSlot = Pick<ConcurrencyLimit, "startWait" | "endWait">;

/**
 * Answers a sync request (PROTOCOL 3 and 5).
 *
 * @param request A parsed request.
 * @param deps What the request needs.
 * @param client The client.
 * @returns The response, without a promise if nothing has to be waited for: a promise would cost more than the rest
 *   (`bench/sync_bench.ts`).
 * @throws {StorageError} When the storage fails.
 * @throws The signal's reason, once it has aborted.
 */
export function answerSync(
  request: ParsedSync,
  deps: SyncDeps,
  client: SyncClient = {},
): MaybePromise<SyncResponse> {
  const record = client.record ?? new RequestRecord(deps.clock.elapsed());
  const wait = Math.min(request.wait ?? 0, deps.maxWait);
  if (request.detail && deps.findDetail !== undefined) {
    return answerInTime(request, deps, client, record, wait).then(async (answer) => {
      const detail = await deps.findDetail!(request, answer, client.createAsk);
      return detail === undefined ? answer : { ...answer, detail };
    });
  }
  if (wait > 0 || deps.mesh !== undefined || client.askRights !== undefined) {
    return answerInTime(request, deps, client, record, wait);
  }
  const answer = (reading: StorageReading) =>
    respond(request, reading, compareReading(request, reading), deps, record);
  return then(deps.reader.read(request.known.keys), answer);
}

async function answerInTime(
  request: ParsedSync,
  deps: SyncDeps,
  { source, locate, askRights, waitingSlot }: SyncClient,
  record: RequestRecord,
  wait: number,
): Promise<SyncResponse> {
  const { keys } = request.known;
  if (deps.mesh !== undefined) {
    deps.mesh.contactStalePeers();
    await deps.mesh.bootstrap();
  }
  // A request without keys would only wait for its deadline.
  const waiter = wait > 0 && keys.length > 0 ? deps.waiters.add(keys, locate?.()) : null;
  if (waiter === null) {
    const rights = await askRights?.();
    const reading = await readCaughtUp(request, deps, rights);
    return respond(request, reading, compareReading(request, reading), deps, record, { rights });
  }
  const signal = source?.getSignal();
  const leave = () => waiter.release();
  signal?.addEventListener("abort", leave);
  try {
    signal?.throwIfAborted();
    // Waits that started together end at different times, so that their clients do not return at the same moment.
    const deadline = deps.clock.elapsed() + wait - Math.floor(wait / 16 * deps.clock.random());
    // The waiter is woken by changes from before this read on: a change that the read misses wakes it (PROTOCOL 5.1).
    for (let isLast = false;;) {
      // Read anew each time: rights may have ended during the wait (PROTOCOL 5.7).
      const rights = await askRights?.();
      let reading: StorageReading | undefined = await readCaughtUp(request, deps, rights);
      signal?.throwIfAborted();
      const changed = compareReading(request, reading);
      const left = Math.min(
        deadline - deps.clock.elapsed(),
        (rights?.expiresAt ?? Infinity) - deps.clock.now(),
      );
      if (changed !== null || isLast || left <= 0) {
        if (record.outcome === "wake" && changed === null) record.outcome = "timeout";
        return respond(request, reading, changed, deps, record, { rights, deadline });
      }
      deps.poller.register(reading);
      // Do not keep the reading in memory during the wait.
      reading = undefined;
      if (record.waitStartedAt === undefined) beginWait(record, deps, waitingSlot);
      record.outcome = await waiter.next(left);
      isLast = record.outcome !== "wake";
      signal?.throwIfAborted();
    }
  } catch (error) {
    record.outcome = signal?.aborted ? "gone" : "failed";
    throw error;
  } finally {
    signal?.removeEventListener("abort", leave);
    waiter.release();
    if (record.waitStartedAt !== undefined) {
      endWait(record, record.waitStartedAt, deps);
      waitingSlot?.endWait();
    }
  }
}

function beginWait(
  record: RequestRecord,
  { clock, metrics }: SyncDeps,
  waitingSlot: WaitingSlot | undefined,
): void {
  waitingSlot?.startWait();
  record.waitStartedAt = clock.elapsed();
  metrics.waitsBegun.value++;
}

function endWait(record: RequestRecord, since: number, { clock, metrics }: SyncDeps): void {
  record.waited = clock.elapsed() - since;
  metrics.waitsEnded.add(record.outcome);
  metrics.waitDurations.observe(record.waited);
}

/**
 * Reads what a client may see. If the client knows newer versions than this storage, asks the peers and reads again.
 */
function readCaughtUp(
  request: ParsedSync,
  deps: SyncDeps,
  rights: Rights | undefined,
): MaybePromise<StorageReading> {
  // Most servers have neither rights nor peers. Their answer is the reading itself.
  if (deps.mesh === undefined && rights === undefined) return deps.reader.read(request.known.keys);
  return readWithPeers(request, deps, rights);
}

async function readWithPeers(
  { known: { keys, versions }, epoch }: ParsedSync,
  { reader, mesh, clock }: SyncDeps,
  rights: Rights | undefined,
): Promise<StorageReading> {
  const read = async () => mask(await reader.read(keys), rights, clock.now());
  const reading = await read();
  if (mesh === undefined || epoch !== undefined && epoch !== reading.epoch) return reading;
  const findClaims = ({ nodes }: StorageReading): Claim[] =>
    keys.flatMap((key, i) => versions[i]! > versionOf(nodes, key) ? { key, version: versions[i]! } : []);
  const claims = findClaims(reading);
  if (claims.length === 0 || !mesh.claims.areWorthChecking(claims)) return reading;
  await mesh.catchUp();
  const caughtUp = await read();
  if (caughtUp.epoch === reading.epoch) mesh.claims.recordUnconfirmed(findClaims(caughtUp));
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
  deps: SyncDeps,
  record: RequestRecord,
  { rights, deadline = Infinity }: { rights?: Rights | undefined; deadline?: number } = {},
): SyncResponse {
  if (record.waitStartedAt === undefined) record.outcome = "answered";
  const changed: Record<string, RealityNodeMeta> = Object.create(null);
  if (keys !== null) {
    deps.metrics.changedKeys.value += record.changed = keys.length;
    for (const key of keys) changed[key] = metaOf(reading.nodes, key);
  }
  const legacy = request.clientId !== undefined && request.mode !== undefined && request.hint !== undefined;
  const states = deps.mesh?.states;
  const mesh: MeshInfo = {
    peers: legacy ? peerHealths(states) : peerIds(states),
    serverVersion: reading.maxVersion,
  };
  const answer: SyncResponse = { changed, mesh, epoch: reading.epoch, serverTime: deps.clock.now() };
  if (keys === null && (request.wait ?? 0) > 0 && isEarly(record, deps.clock, deadline)) {
    answer.pause = drawRetryDelay(deps.clock);
  }
  const { nodes } = reading;
  const refused = deps.groups?.findRefused(request.known.keys, nodes, rights, answer.serverTime);
  if (refused !== undefined) answer.refused = refused;
  return answer;
}

/** Whether a request that wanted to wait is answered early, because no slot was free or the server is closing. */
function isEarly({ waitStartedAt, outcome }: RequestRecord, clock: Clock, deadline: number): boolean {
  return outcome === "closed" || waitStartedAt === undefined && clock.elapsed() < deadline;
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
