/**
 * Checks every change and hands it to the storage. All changes pass here: those of the application, of write routes,
 * of peers and of Redis.
 *
 * @module
 */
import type { PendingChange, PendingRows, WriteBatcher } from "./write_batcher.ts";
import type { Clock } from "../clock.ts";
import { type MaybePromise, then } from "../maybe_promise.ts";
import { HASH_DATA, hashFault, keyFault, kindOf } from "./node.ts";
import type { Limits } from "../server_limits.ts";
import {
  type NodeMerge,
  type OutboxRow,
  randomName,
  type ReplicatedNode,
  type VersionVector,
} from "./contract.ts";
import { OUTBOX_FORMAT } from "./outbox_contract.ts";
import type { Groups } from "./groups.ts";
import { RealityError, StorageError } from "../errors.ts";
import type { NodeUpdate, RealityNodeMeta } from "../types.ts";

/** Decides what becomes of a node of another storage, given the node that is stored here. */
export type MergeFunction = (theirs: ReplicatedNode, mine: ReplicatedNode | undefined) => NodeMerge | null;

/** A merge function, and the tombstones that it takes into account. */
export interface PreparedMerge {
  readonly merge: MergeFunction;
  /** The collected tombstones that were known when the merge was decided. Left out if every node is stored here. */
  readonly collected?: VersionVector;
}

/**
 * Creates a merge function. Called after the local nodes were read, so that every tombstone collected by then is
 * known.
 *
 * @param isMissing Whether some of the nodes to merge are not stored here.
 */
export type PrepareMerge = (isMissing: boolean) => PreparedMerge | Promise<PreparedMerge>;

/** The result of merging nodes of another storage. */
export interface MergedNodes {
  /** Keys of the nodes that were written unchanged. */
  readonly written: readonly string[];
  /** Changes that this storage made instead. No other storage has them yet. */
  readonly ownChanges: readonly RealityNodeMeta[];
}

/** A row of the outbox with something wrong in it. */
export interface FaultyRow {
  readonly row: OutboxRow;
  /** What is wrong with it. */
  readonly fault: string;
}

/** What became of rows of the outbox. */
export interface AppliedRows {
  /** Whether changes were written. Otherwise the rows were no longer there, or none has a valid key. */
  readonly isWritten: boolean;
  /** Rows whose keys are not valid. They are still there. */
  readonly refused: readonly FaultyRow[];
  /** Rows whose hashes or formats are not valid: their changes got random hashes. */
  readonly rehashed: readonly FaultyRow[];
}

/** A merge is decided at most this often when the stored node changes in between. */
const MAX_MERGE_ATTEMPTS = 50;

/** What changes are checked against. */
export interface ChangesOptions {
  /** The longest key and hash. */
  readonly limits: Limits;
  /**
   * Whether other storages may have changes that have not arrived here. The stored hash does not tell then which data
   * clients have, so every change is written.
   */
  readonly isMeshed: boolean;
  /** Finds the groups of keys; left out for none. */
  readonly groups?: Groups | undefined;
  /** Reports an error of `groups` for a key of another server or of the outbox. */
  readonly report: (error: RealityError) => void;
}

/** Checks changes and hands them to the storage. */
export class Changes {
  readonly #writer: WriteBatcher;
  readonly #clock: Clock;
  readonly #limits: Limits;
  readonly #isMeshed: boolean;
  readonly #groups: Groups | undefined;
  readonly #report: (error: RealityError) => void;

  /**
   * @param writer Commits changes and wakes waiters.
   * @param clock Dates changes.
   * @param options What changes are checked against.
   */
  constructor(writer: WriteBatcher, clock: Clock, { limits, isMeshed, groups, report }: ChangesOptions) {
    this.#writer = writer;
    this.#clock = clock;
    this.#limits = limits;
    this.#isMeshed = isMeshed;
    this.#groups = groups;
    this.#report = report;
  }

  /**
   * Updates nodes. Writes nothing if one of the updates is invalid.
   *
   * @throws {TypeError} When a key or hash is not a string, `ifChanged` is not a boolean, or `groups` fails for a key.
   * @throws {RangeError} When a key or hash is too long or has characters that are not allowed.
   * @throws {StorageError} When the storage fails or takes too long; rejects with it.
   */
  update(updates: readonly NodeUpdate[]): MaybePromise<RealityNodeMeta[]> {
    this.checkUpdates(updates);
    const updatedAt = this.#clock.now();
    const [first] = updates;
    if (first !== undefined && updates.length === 1) {
      return then(this.#writer.write(this.#toChange(first, updatedAt)), (meta) => [meta]);
    }
    return Promise.all(this.#writer.writeMany(updates.map((update) => this.#toChange(update, updatedAt))));
  }

  #toChange({ key, hash, ifChanged }: NodeUpdate, updatedAt: number): PendingChange {
    const change = ifChanged && !this.#isMeshed
      ? { key, hash, updatedAt, ifChanged }
      : { key, hash, updatedAt };
    return this.#groups === undefined ? change : this.#withGroups(this.#groups, change);
  }

  #withGroups(groups: Groups, change: PendingChange): PendingChange {
    const keys = groups.of(change.key);
    return keys.length === 0 ? change : { ...change, groups: keys };
  }

  /**
   * Gives nodes random hashes that were never used before, so that clients which compare hashes fetch the data again.
   */
  async invalidate(keys: readonly string[]): Promise<RealityNodeMeta[]> {
    return await this.update(keys.map((key) => ({ key, hash: this.#drawHash() })));
  }

  /** Deletes a node. */
  async delete(key: string): Promise<RealityNodeMeta[]> {
    this.checkKey(key);
    const change: PendingChange = { key, hash: "", updatedAt: this.#clock.now(), deleted: true };
    const groups = this.#groups;
    return [await this.#writer.write(groups === undefined ? change : this.#withGroups(groups, change))];
  }

  /**
   * Makes the changes that rows of the outbox ask for, and removes these rows. Several rows of one key become the last of
   * them. A row that has a valid key is always a change, since clients may follow it.
   *
   * @returns Whether something was written, and the rows that are not valid.
   * @throws {StorageError} When the storage fails or takes too long; rejects with it.
   */
  async applyRows(rows: readonly OutboxRow[]): Promise<AppliedRows> {
    const updatedAt = this.#clock.now();
    const refused: FaultyRow[] = [];
    const rehashed: FaultyRow[] = [];
    const changes = new Map<string, PendingRows>();
    for (const row of rows) {
      const refusal = keyFault(row.key, this.#limits.maxKeyBytes);
      if (refusal !== undefined) {
        refused.push({ row, fault: refusal });
        continue;
      }
      const fault = this.#findHashFault(row);
      if (fault !== undefined) rehashed.push({ row, fault });
      const key = row.key as string;
      const hash = fault === undefined && row.hash as string | null || this.#drawHash();
      const ids = [...changes.get(key)?.rows ?? [], row.id];
      const change = { key, hash, updatedAt, rows: ids };
      // The change takes the place of its last row.
      changes.delete(key);
      changes.set(
        key,
        this.#groups === undefined ? change : { ...change, groups: this.#findGroups(this.#groups, key) },
      );
    }
    const isWritten = changes.size > 0 && await this.#writer.applyRows([...changes.values()]);
    return { isWritten, refused, rehashed };
  }

  /**
   * Checks what a transaction of the application writes to the outbox.
   *
   * @throws {TypeError} When a key or hash is not a string.
   * @throws {RangeError} When a key or hash is too long or has characters that are not allowed.
   */
  checkUpdates(updates: readonly NodeUpdate[]): void {
    for (const { key, hash, ifChanged } of updates) {
      this.checkKey(key);
      const fault = hashFault(hash, this.#limits.maxHashBytes);
      if (fault !== undefined) throw invalidArgument("hash", hash, fault);
      if (ifChanged !== undefined && typeof ifChanged !== "boolean") {
        throw new TypeError(`Option "ifChanged" is wrong: expected true or false, got ${kindOf(ifChanged)}`);
      }
    }
  }

  #findHashFault({ hash, format }: OutboxRow): string | undefined {
    if (format !== OUTBOX_FORMAT) return `expected format ${OUTBOX_FORMAT}, got ${format}`;
    return hash === null || hash === undefined ? undefined : hashFault(hash, this.#limits.maxHashBytes);
  }

  /** A hash that was never used before. */
  #drawHash(): string {
    return `invalidated-${randomName(16)}`.slice(-this.#limits.maxHashBytes);
  }

  /**
   * Merges nodes of another storage. The caller wakes the waiters of all these keys afterwards, even if this fails: a
   * node that changes nothing in this storage may still be unknown to a waiting client.
   *
   * @throws {StorageError} When the storage fails or takes too long; some nodes may have been written.
   */
  async merge(nodes: readonly ReplicatedNode[], prepare: PrepareMerge): Promise<MergedNodes> {
    const written: string[] = [];
    const ownChanges: RealityNodeMeta[] = [];
    let left = nodes;
    for (let i = 0; left.length > 0; i++) {
      if (i === MAX_MERGE_ATTEMPTS) {
        throw new StorageError("mergeNodes", "the nodes change too often to merge them");
      }
      const mine = await this.#writer.readReplicated(left.map(({ key }) => key));
      const { merge, collected } = await prepare(mine.size < left.length);
      const merges = left.flatMap((node) => merge(node, mine.get(node.key)) ?? []);
      if (this.#groups !== undefined) await this.#changeGroups(this.#groups, merges, nodes);
      const metas = await this.#writer.merge(merges, collected);
      merges.forEach(({ node }, i) => {
        const meta = metas[i];
        if (meta) "replicaId" in node ? written.push(meta.key) : ownChanges.push(meta);
      });
      const missed = new Set(merges.filter((_, i) => metas[i] === null).map(({ node }) => node.key));
      left = left.filter(({ key }) => missed.has(key));
    }
    return { written, ownChanges };
  }

  /**
   * Changes the groups of merged nodes, if they do not change by themselves: another server may have no option `groups`,
   * or another function. Done before the nodes are written: otherwise a server that stops between the two would keep
   * the nodes without ever changing their groups.
   *
   * A group needs no change of this server's own if a change of it by the same storage as the node, after the node, is
   * stored here or comes with it.
   *
   * @param merges The merges to be written.
   * @param nodes All nodes that came together.
   */
  async #changeGroups(
    groups: Groups,
    merges: readonly NodeMerge[],
    nodes: readonly ReplicatedNode[],
  ): Promise<void> {
    const incoming = new Map(nodes.map((node) => [node.key, node]));
    const missing = new Map<string, (ReplicatedNode | undefined)[]>();
    for (const { node: { key } } of merges) {
      const node = incoming.get(key);
      for (const group of this.#findGroups(groups, key)) {
        if (isAfter(incoming.get(group), node)) continue;
        missing.set(group, [...missing.get(group) ?? [], node]);
      }
    }
    if (missing.size === 0) return;
    const stored = await this.#writer.readReplicated([...missing.keys()]);
    const changed = [...missing].filter(([key, members]) =>
      members.some((node) => !isAfter(stored.get(key), node))
    );
    const updatedAt = this.#clock.now();
    const changes = changed.map(([key]) => ({ key, hash: `group-${randomName(16)}`, updatedAt }));
    await Promise.all(this.#writer.writeMany(changes));
  }

  /**
   * The groups of a key that another server or a transaction of the application changed. That change was made already, so
   * an error can only be reported.
   */
  #findGroups(groups: Groups, key: string): readonly string[] {
    try {
      return groups.of(key);
    } catch (error) {
      this.#report(new RealityError("ERR_REALITY_HOOK", (error as Error).message, { cause: error }));
      return [];
    }
  }

  /**
   * Checks a key of the application.
   *
   * @throws {TypeError} When it is not a string.
   * @throws {RangeError} When it is empty, too long, or has characters that are not allowed.
   */
  checkKey(key: unknown): void {
    const fault = keyFault(key, this.#limits.maxKeyBytes);
    if (fault !== undefined) throw invalidArgument("key", key, fault);
  }
}

/** Whether a node was changed by the same storage as another one, after that. */
function isAfter(node: ReplicatedNode | undefined, other: ReplicatedNode | undefined): boolean {
  return node !== undefined && other !== undefined && node.replicaId === other.replicaId &&
    node.dotVersion > other.dotVersion;
}

function invalidArgument(what: "hash" | "key", value: unknown, fault: string): Error {
  const message = `Cannot take this ${what}: ${fault}`;
  if (typeof value === "string") return new RangeError(message);
  const hint = value instanceof Promise ? "" : what === "hash" ? hashHint(value) : KEY_HINT;
  return new TypeError(message + hint);
}

/** What to call in place of a call whose key is not a string. */
const KEY_HINT = "; several nodes: updateMany([{ key, hash }]), invalidateMany([key])";

/** What to write in place of a value that is not a hash. */
function hashHint(value: unknown): string {
  if (value === undefined) return "; without a hash, call invalidate(key)";
  return typeof value === "object" ? HASH_DATA : "; write String(hash)";
}
