/**
 * Finds which members of a group changed since a version of it, where that can be proven.
 *
 * @module
 */
import type { AskRights } from "../access.ts";
import type { Clock } from "../clock.ts";
import type { ParsedSync } from "../parse.ts";
import { isMeshStorage, type RealityStorage, type StorageReading } from "../store/contract.ts";
import { type Groups, isGroup } from "../store/groups.ts";
import { type HistoryMoment, type HistoryRun, isSameHistory, laterOf } from "../store/history.ts";
import { type StorageCallOptions, withTimeout } from "../store/timeout.ts";
import type { GroupDetail, RealityNodeMeta, SyncResponse } from "../types.ts";
import { metaOf, versionOf } from "./compare.ts";

/** If more nodes of the storage changed since the lowest version that is asked about, the answer is "all". */
export const MAX_DETAILED = 500;

/** The versions of this many groups are remembered, and so many of each. */
const MAX_GROUPS_SEEN = 1_000;
const MAX_VERSIONS_SEEN = 16;

/** What details need. */
export interface GroupDetailsDeps {
  readonly storage: RealityStorage;
  readonly groups: Groups;
  readonly clock: Clock;
  readonly calls: StorageCallOptions;
}

/** Creates a function that asks what a client may read of other keys; undefined if it may read all of them. */
export type CreateAsk = (keys: readonly string[]) => AskRights | undefined;

/** A group, and the version of it that a client has. */
type Since = readonly [group: string, version: number];

/** Finds which members of groups changed. */
export class GroupDetails {
  readonly #deps: GroupDetailsDeps;
  readonly #seen = new SeenVersions();

  /** @param deps The storage, and the groups of keys. */
  constructor(deps: GroupDetailsDeps) {
    this.#deps = deps;
  }

  /**
   * The members that changed, for each changed group of an answer.
   *
   * @param request The request that was answered.
   * @param answer The answer to it.
   * @param createAsk Asks which members the client may read; left out for one that may read everything.
   * @returns Undefined without a changed group. Never rejects: in doubt a group has "all".
   */
  async find(
    request: ParsedSync,
    answer: SyncResponse,
    createAsk: CreateAsk | undefined,
  ): Promise<Record<string, GroupDetail> | undefined> {
    const groups = Object.keys(answer.changed).filter(isGroup);
    if (groups.length === 0) return undefined;
    const detail: Record<string, GroupDetail> = Object.create(null);
    for (const group of groups) detail[group] = "all";
    try {
      const members = await this.#findMembers(groups, findAsked(request, answer), answer);
      const mayRead = await this.#askRights([...members.values()].flat(), createAsk);
      for (const [group, nodes] of members) detail[group] = toDetail(nodes.filter(mayRead));
    } catch {
      // A failure of the storage was reported. "all" is right in any case.
    }
    return detail;
  }

  /** The members that changed, of the groups for which they are certainly all. */
  async #findMembers(
    groups: readonly string[],
    asked: readonly Since[],
    answer: SyncResponse,
  ): Promise<Map<string, RealityNodeMeta[]>> {
    const { storage, calls } = this.#deps;
    const { features, readNodes } = storage;
    const found = new Map<string, RealityNodeMeta[]>();
    if (!features?.ordered || !features.tombstones || readNodes === undefined) return found;
    const lowest = Math.min(...asked.map(([, version]) => version));
    const changes = asked.length === 0 ? [] : await withTimeout(
      "listChangedSince",
      () => storage.listChangedSince(lowest, MAX_DETAILED + 1),
      calls,
    );
    const hasMerged = await this.#hasMerged();
    // Read last: what was missing in the history when it was read is known by then.
    const reading = await withTimeout("getNodes", () => readNodes.call(storage, groups), calls);
    this.#seen.advance(reading);
    const proven = asked.filter(([group, version]) =>
      this.#seen.has(group, version) && reading.collectedVersion <= version
    );
    for (const group of groups) this.#seen.add(group, versionOf(reading.nodes, group));
    // A node that was published below the counter may have come after the client's version, and has a lower one.
    const isWhole = changes.length <= MAX_DETAILED && reading.late === 0 && !hasMerged;
    if (isWhole) { for (const since of proven) this.#addMembers(found, since, changes, answer); }
    return found;
  }

  #addMembers(
    found: Map<string, RealityNodeMeta[]>,
    [group, version]: Since,
    changes: readonly RealityNodeMeta[],
    { changed }: SyncResponse,
  ): void {
    const { groups } = this.#deps;
    const since = changes.filter((node) => node.version > version);
    // The history was read from a copy that is older than the answer.
    if (!since.some((node) => node.key === group && node.version >= changed[group]!.version)) return;
    // A change of the group by itself may concern all of its members.
    const marker = groups.markerOf(group);
    if (marker === undefined || since.some(({ key }) => key === marker)) return;
    const members = since.filter(({ key }) => !isGroup(key) && groups.of(key).includes(group));
    // Without one, another server has put other keys into the group.
    if (members.length > 0) found.set(group, members);
  }

  /** Whether the storage has merged another one. The client's version may be that of a change of the other storage. */
  async #hasMerged(): Promise<boolean> {
    const { storage, calls } = this.#deps;
    if (!isMeshStorage(storage)) return false;
    const read = () => storage.readReplicaState();
    const { vector, replicaId } = await withTimeout("readReplicaState", read, calls);
    return [...vector.keys()].some((other) => other !== replicaId);
  }

  /** Returns whether the client may read a node. */
  async #askRights(
    nodes: readonly RealityNodeMeta[],
    createAsk: CreateAsk | undefined,
  ): Promise<(node: RealityNodeMeta) => boolean> {
    const keys = [...new Set(nodes.map(({ key }) => key))];
    const rights = keys.length === 0 ? undefined : await createAsk?.(keys)?.();
    if (rights === undefined) return () => true;
    if (rights.expiresAt <= this.#deps.clock.now()) throw new Error("The identity of the client has expired");
    return ({ key }) => rights.keys === null || rights.keys.has(key);
  }
}

/**
 * The versions of groups that this server has read as the current ones, as long as the history of the storage goes on from
 * there. So each of them belongs to this history, and what came after it was written while this server ran.
 */
class SeenVersions {
  readonly #versions = new Map<string, number[]>();
  /** The state of the storage at the latest reading. */
  #latest: HistoryRun & HistoryMoment | undefined;

  /** Forgets everything if the history does not go on from the latest reading: a backup may have been restored. */
  advance(reading: StorageReading): void {
    const { epoch, replicaId, late, maxVersion, recent } = reading;
    const moment = { epoch, replicaId, late, maxVersion, recent };
    const later = this.#latest && isSameHistory(this.#latest, moment) ? laterOf(this.#latest, moment) : null;
    if (later === null) this.#versions.clear();
    if (later !== this.#latest) this.#latest = moment;
  }

  has(group: string, version: number): boolean {
    return this.#versions.get(group)?.includes(version) ?? false;
  }

  add(group: string, version: number): void {
    const versions = this.#versions.get(group) ?? [];
    if (versions.includes(version)) return;
    this.#versions.delete(group);
    this.#versions.set(group, [...versions, version].slice(-MAX_VERSIONS_SEEN));
    if (this.#versions.size <= MAX_GROUPS_SEEN) return;
    for (const oldest of this.#versions.keys()) {
      this.#versions.delete(oldest);
      break;
    }
  }
}

/** The changed groups of which the client has a version of this epoch. */
function findAsked({ known, epoch }: ParsedSync, { changed, epoch: current }: SyncResponse): Since[] {
  if (epoch === undefined || epoch === "" || epoch !== current) return [];
  return known.keys.flatMap((key, i): Since[] => {
    const version = known.versions[i]!;
    return isGroup(key) && version > 0 && (changed[key]?.version ?? 0) > version ? [[key, version]] : [];
  });
}

function toDetail(nodes: readonly RealityNodeMeta[]): Record<string, RealityNodeMeta> {
  const metas: Record<string, RealityNodeMeta> = Object.create(null);
  const lookup = new Map(nodes.flatMap((node) => node.deleted ? [] : [[node.key, node] as const]));
  for (const { key } of nodes) metas[key] = metaOf(lookup, key);
  return metas;
}
