/**
 * The true record of a simulated cluster: which changes were made, which of them each node includes, and where they
 * still exist. It is recorded outside the code under test, at the interface of its storages.
 *
 * @module
 */
import { includesDot, type ReplicatedNode, type VersionVector } from "../../src/store/contract.ts";
import { GROUP, isMember } from "./keys.ts";

/**
 * The kinds of faults. `promise`: a client is not told. `unity`, `epoch`: servers do not converge. `traffic`: they
 * exchange messages without new nodes. `nap`: a waiting client is not answered. `hang`, `timer`: a call or timer never ends. `lost`:
 * an acknowledged change was not made. `number`: a storage used a dot twice, or the number of a storage
 * that it had met. `forged`: a change that no client wrote
 * was stored or sent. `leak`: a peer without proof was sent nodes, or called, or a client got what it may not read. `error`: something
 * failed that should not. `crash`: the process that ran the history ended, or had to be ended.
 */
export type FaultKind =
  | "promise"
  | "unity"
  | "epoch"
  | "traffic"
  | "nap"
  | "hang"
  | "timer"
  | "lost"
  | "number"
  | "forged"
  | "leak"
  | "error"
  | "crash";

/** A fault. */
export interface Fault {
  readonly kind: FaultKind;
  /** A sentence that describes it. */
  readonly text: string;
}

/** A set of changes: one bit for each. */
export type Changes = bigint;

/** One incarnation of a storage. It ends when its data is lost. */
export interface Life {
  readonly name: string;
  replicaId: string;
  wiped: boolean;
  /** Key → the changes that were stored here, or are included in a stored one. */
  readonly reached: Map<string, Changes>;
  /** Key → those of them that are certainly here. */
  readonly held: Map<string, Changes>;
  /** Key → the changes in messages to servers of this storage. */
  readonly offered: Map<string, Changes>;
  /** Key → the changes that the senders of full copies had. */
  readonly silences: Map<string, Changes>;
  /** The changes of members of the group that nodes stored here certainly include. */
  members: Changes;
  /** When the latest node of the group that was stored here was written. */
  groupOrder: number;
}

/** One written node. It stays the same when it is merged into another storage. */
export interface Writing {
  readonly key: string;
  readonly version: number;
  readonly dotVersion: number;
  readonly hash: string;
  readonly deleted: boolean;
  readonly life: Life;
  /** Its own change, and all that its storage knew when it was written. */
  readonly past: Changes;
  /** Those of them that it certainly includes: a node that was only offered during a join may have been refused. */
  readonly held: Changes;
  /** When it was written. */
  readonly order: number;
}

/** One change that an application made. */
export interface Change {
  readonly bit: Changes;
  readonly writing: Writing;
  /** The incarnations of storages that have had it. */
  readonly holders: Set<Life>;
}

/** Keeps the record. */
export class Record {
  readonly #writings = new Map<string, Writing>();
  readonly #byVersion = new Map<string, Writing[]>();
  readonly #byKey = new Map<string, Change[]>();
  readonly #changes: Change[] = [];
  readonly #faults: Fault[] = [];
  readonly #lives: Life[] = [];
  #order = 0;

  /** The faults so far. */
  get faults(): readonly Fault[] {
    return this.#faults;
  }

  /** A number that grows with each write. */
  get order(): number {
    return this.#order;
  }

  /** How many changes were made. */
  get changes(): number {
    return this.#changes.length;
  }

  /** Records a fault. */
  blame(kind: FaultKind, text: string): void {
    if (this.#faults.length < 20) this.#faults.push({ kind, text });
  }

  /** Begins an incarnation of a storage. */
  begin(name: string, replicaId: string): Life {
    const maps = { reached: new Map(), held: new Map(), offered: new Map(), silences: new Map() };
    const life: Life = { name, replicaId, wiped: false, ...maps, members: 0n, groupOrder: 0 };
    this.#lives.push(life);
    return life;
  }

  /** The incarnation of a storage that has or had this replica id. */
  lifeOf(replicaId: string): Life | undefined {
    return this.#lives.find((life) => life.replicaId === replicaId);
  }

  /**
   * Records a change of a storage itself.
   *
   * @param isChange Whether an application made it, not the mesh.
   * @param seen The version vector of the storage before: it must not assign a number of a storage that it knows.
   */
  write(life: Life, node: ReplicatedNode, isChange: boolean, vector: VersionVector): void {
    const { key, version, hash, dotVersion } = node;
    let past = life.reached.get(key) ?? 0n;
    const bit = 1n << BigInt(this.#changes.length);
    const held = (life.held.get(key) ?? 0n) | (isChange ? bit : 0n);
    if (isChange) past |= bit;
    else past |= life.offered.get(key) ?? 0n;
    const writing: Writing = {
      key,
      version,
      dotVersion,
      hash,
      deleted: node.deleted === true,
      life,
      past,
      held,
      order: ++this.#order,
    };
    const name = nameOf(node);
    if (this.#writings.has(name)) this.blame("number", `${life.name} wrote dotVersion ${name} twice`);
    this.#writings.set(name, writing);
    const twin = this.ofVersion(key, version).find((other) =>
      other.life !== life && (vector.get(other.life.replicaId) ?? 0) > 0
    );
    if (twin) {
      this.blame("number", `${life.name} gave ${key} ${version}, as ${twin.life.name} did, whom it had met`);
    }
    append(this.#byVersion, `${key} ${version}`, writing);
    if (isChange) {
      const change = { bit, writing, holders: new Set<Life>() };
      this.#changes.push(change);
      append(this.#byKey, key, change);
    }
    this.#reach(life, key, past, held);
    this.#countGroup(life, writing);
  }

  /** Records that a storage has merged a node of another one. */
  take(life: Life, node: ReplicatedNode): void {
    const writing = this.#writings.get(nameOf(node));
    if (writing === undefined || writing.version !== node.version || writing.hash !== node.hash) {
      return this.blame("forged", `${life.name} stored what no client wrote: ${JSON.stringify(node)}`);
    }
    this.#reach(life, node.key, writing.past, writing.held);
    this.#countGroup(life, writing);
  }

  #countGroup(life: Life, { key, held, order }: Writing): void {
    if (key === GROUP) life.groupOrder = Math.max(life.groupOrder, order);
    if (isMember(key)) life.members |= held;
  }

  /**
   * The changes of members that arrived in a storage after which its group was never changed: a client that fetched the
   * data of the group before such a change was made is not told of it.
   */
  findUntoldGroups(): string[] {
    return this.#lives.filter(({ wiped }) => !wiped).flatMap(({ name, members, groupOrder }) => {
      const untold = this.#changes.filter(({ bit, writing }) =>
        (members & bit) !== 0n && writing.order > groupOrder
      );
      return untold.map(({ bit }) => `${name} never changed the group after ${this.describe(bit)}`);
    });
  }

  /**
   * Records that a storage has merged a full copy without this key, which means that the key is deleted: so everything
   * that the copy includes for this key has arrived here.
   */
  forget(life: Life, key: string, vector: VersionVector): void {
    let past = 0n;
    for (const { bit, writing } of this.#byKey.get(key) ?? []) {
      const { life: { replicaId }, dotVersion } = writing;
      // The sender may have forgotten the replica. Then the vector does not tell whether it had the change.
      const isForgotten = !vector.has(replicaId) && ((life.silences.get(key) ?? 0n) & bit) !== 0n;
      if (isForgotten || includesDot(vector, { version: dotVersion, replicaId })) past |= bit;
    }
    this.#reach(life, key, past, past);
  }

  /** The keys that were ever changed. */
  get keys(): string[] {
    return [...this.#byKey.keys()];
  }

  /** Records that a server of this storage received a message with a node. */
  offer(life: Life, node: ReplicatedNode): void {
    const writing = this.#writings.get(nameOf(node));
    if (writing === undefined) return;
    life.offered.set(node.key, (life.offered.get(node.key) ?? 0n) | writing.past);
  }

  /** Records that a server of this storage received a full copy without a key. */
  offerSilence(life: Life, key: string, from: Life): void {
    const reached = from.reached.get(key) ?? 0n;
    life.offered.set(key, (life.offered.get(key) ?? 0n) | reached);
    life.silences.set(key, (life.silences.get(key) ?? 0n) | reached);
  }

  /** The writes with this version. More than one means that a number was assigned twice. */
  ofVersion(key: string, version: number): readonly Writing[] {
    return this.#byVersion.get(`${key} ${version}`) ?? [];
  }

  /** The changes of a key that still exist in some storage. */
  standing(key: string): Changes {
    let standing = 0n;
    for (const { bit, holders } of this.#byKey.get(key) ?? []) {
      if ([...holders].some((life) => !life.wiped)) standing |= bit;
    }
    return standing;
  }

  /** Describes the changes of a set. */
  describe(changes: Changes): string {
    return this.#changes.filter(({ bit }) => (changes & bit) !== 0n)
      .map(({ writing: { key, version, hash, deleted, life } }) =>
        `${key} ${deleted ? "deleted" : hash} (${version} of ${life.name})`
      ).join(", ");
  }

  /** Whether a change of this key was written in this incarnation after that moment. */
  wroteAfter(life: Life, key: string, order: number): boolean {
    return (this.#byKey.get(key) ?? []).some(({ writing }) => writing.life === life && writing.order > order);
  }

  #reach(life: Life, key: string, past: Changes, held: Changes): void {
    life.reached.set(key, (life.reached.get(key) ?? 0n) | past);
    const before = life.held.get(key) ?? 0n;
    if ((before | held) === before) return;
    life.held.set(key, before | held);
    for (const change of this.#byKey.get(key) ?? []) {
      if ((held & change.bit) !== 0n) change.holders.add(life);
    }
  }
}

/** Describes a version vector. */
export function describeSeen(vector: VersionVector): string {
  return [...vector].sort(([a], [b]) => a < b ? -1 : 1).map(([replicaId, dotVersion]) =>
    `${replicaId}: ${dotVersion}`
  ).join(
    ", ",
  );
}

function nameOf({ key, dotVersion, replicaId }: ReplicatedNode): string {
  return `${key} ${dotVersion}@${replicaId}`;
}

function append<T>(map: Map<string, T[]>, name: string, item: T): void {
  const list = map.get(name);
  if (list) list.push(item);
  else map.set(name, [item]);
}
