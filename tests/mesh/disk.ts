/**
 * Storages of a simulated cluster: data that outlives its processes, and the access of each process to it.
 *
 * @module
 */
import type {
  MeshStorage,
  NodeChange,
  NodeMerge,
  OutboxRow,
  ReplicaState,
  ReplicatedNode,
  StorageChanges,
  StorageDelta,
  StorageFeatures,
  StorageIdentity,
  StorageOutbox,
  StorageReading,
  VersionVector,
} from "../../src/store/contract.ts";
import type { RealityNodeMeta } from "../../src/types.ts";
import { MemoryStorage } from "../../storage/memory/memory_storage.ts";
import type { SeededRandom } from "../random.ts";
import type { MachineClock } from "../sim_clock.ts";
import type { Life, Record } from "./record.ts";

/** How a storage behaves. */
export interface DiskOptions {
  /** How long tombstones are kept, in milliseconds. */
  readonly tombstoneTimeout: number;
  /** Whether it is declared exclusive, and only one process uses it. */
  readonly exclusive: boolean;
  /** How many of its calls take time, from 0 to 1. */
  readonly slowness: number;
  /** The longest delay of such a call, before and after it is made, in milliseconds. */
  readonly slowest: number;
  /** Whether it has an outbox. Left out: it has none. */
  readonly outbox?: boolean;
}

/**
 * Receives each new node of a key: its version, 0 for none, the process that wrote it, and whether without its
 * server.
 */
export type StandListener = (key: string, version: number, by: DiskPath, isAside: boolean) => void;

/** The data of one storage, in its current incarnation. */
export class Disk {
  readonly name: string;
  readonly options: DiskOptions;
  readonly record: Record;
  readonly onStand: StandListener;
  readonly #now: () => number;
  #turn: Promise<unknown> = Promise.resolve();
  #lives = 0;
  #life: Life | undefined;
  #data: MemoryStorage;
  /** The rows of the outbox. */
  rows: OutboxRow[] = [];
  #lastRow = 0;

  constructor(
    name: string,
    options: DiskOptions,
    world: { readonly record: Record; readonly now: () => number; readonly onStand: StandListener },
  ) {
    this.name = name;
    this.options = options;
    this.record = world.record;
    this.onStand = world.onStand;
    this.#now = world.now;
    this.#data = this.#create();
  }

  /** Where the data is. */
  get data(): MemoryStorage {
    return this.#data;
  }

  /** The current incarnation. */
  async life(): Promise<Life> {
    const { replicaId } = await this.#data.getIdentity();
    return this.#life ??= this.record.begin(`${this.name}.${this.#lives}`, replicaId);
  }

  /** Ends the incarnation. The next one is empty. */
  wipe(): void {
    if (this.#life) this.#life.wiped = true;
    this.#life = undefined;
    this.#lives++;
    this.rows = [];
    this.#data = this.#create();
  }

  /** Commits a row of the outbox, as a transaction of another program does. */
  commitRow(key: string, hash: string): void {
    this.rows.push({ id: ++this.#lastRow, key, hash, format: 1 });
  }

  /** The highest id of a pending row. */
  get pending(): { readonly outbox?: number } {
    const last = this.rows.at(-1);
    return last ? { outbox: last.id } : {};
  }

  /** Runs one step after the other. Each is atomic. */
  run<T>(step: (data: MemoryStorage) => Promise<T>): Promise<T> {
    const data = this.#data;
    const done = this.#turn.then(() => step(data));
    this.#turn = done.catch(() => {});
    return done;
  }

  #create(): MemoryStorage {
    const { tombstoneTimeout } = this.options;
    return new MemoryStorage({ tombstoneTimeout, now: this.#now });
  }
}

/** The access of one process to a storage: slow at times, and cut off when the process ends. */
export class DiskPath implements MeshStorage {
  readonly features: StorageFeatures;
  readonly disk: Disk;
  readonly #clock: MachineClock;
  readonly #random: SeededRandom;
  #ended = false;
  #isHurried = false;
  /** Only for a storage with several processes. */
  readonly readChanges?: (version: number, limit: number) => Promise<StorageChanges>;
  readonly outbox?: StorageOutbox;

  constructor(disk: Disk, clock: MachineClock, random: SeededRandom) {
    this.disk = disk;
    this.#clock = clock;
    this.#random = random;
    const { exclusive } = disk.options;
    this.features = { ordered: true, tombstones: true, ...(exclusive ? { exclusive } : {}) };
    if (!exclusive) this.readChanges = (version, limit) => this.#readChanges(version, limit);
    // Only its process can change an exclusive storage.
    if (disk.options.outbox && !exclusive) this.outbox = this.#createOutbox();
  }

  /** Answers at once from now on. */
  hurry(): void {
    this.#isHurried = true;
  }

  /** Ends the process: its later calls do nothing, and its pending calls are not answered. */
  end(): void {
    this.#ended = true;
  }

  getNode(key: string): Promise<RealityNodeMeta | null> {
    return this.#call((data) => data.getNode(key));
  }

  getNodes(keys: string[]): Promise<Map<string, RealityNodeMeta>> {
    return this.#call((data) => data.getNodes(keys));
  }

  readNodes(keys: readonly string[]): Promise<StorageReading> {
    // All of one moment: the reading contains no change that is made before it is answered.
    return this.#call(async (data) => {
      const [reading, nodes] = await Promise.all([data.readNodes(keys), data.getNodes(keys)]);
      return { ...reading, nodes, ...this.disk.pending };
    });
  }

  getMaxVersion(): Promise<number> {
    return this.#call((data) => data.getMaxVersion());
  }

  getIdentity(): Promise<StorageIdentity> {
    return this.#call((data) => data.getIdentity());
  }

  isHealthy(): Promise<boolean> {
    return this.#call((data) => data.isHealthy());
  }

  listChangedSince(version: number, limit?: number): Promise<RealityNodeMeta[]> {
    return this.#call((data) => data.listChangedSince(version, limit));
  }

  incrementVersion(key: string): Promise<number> {
    return this.#call((data) => data.incrementVersion(key));
  }

  setNode(key: string, meta: RealityNodeMeta): Promise<void> {
    return this.#call(async (data) => {
      const { record } = this.disk;
      const life = await this.disk.life();
      const { vector } = await data.readReplicaState();
      await data.setNode(key, meta);
      const node = (await data.readReplicated([key])).get(key);
      if (node?.version !== meta.version || node.hash !== meta.hash) return;
      record.write(life, node, true, vector);
      this.#stand([node], true);
    });
  }

  async deleteNode(key: string): Promise<void> {
    await this.applyChanges([{ key, hash: "", updatedAt: this.#clock.now(), deleted: true }]);
  }

  applyChanges(changes: readonly NodeChange[]): Promise<RealityNodeMeta[]> {
    return this.#call((data) => this.#apply(data, changes));
  }

  async #apply(data: MemoryStorage, changes: readonly NodeChange[]): Promise<RealityNodeMeta[]> {
    const { record } = this.disk;
    const life = await this.disk.life();
    const { vector } = await data.readReplicaState();
    const metas = await data.applyChanges(changes);
    const nodes = metas.map((meta) => ({ ...meta, dotVersion: meta.version, replicaId: life.replicaId }));
    for (const node of nodes) record.write(life, node, true, vector);
    this.#stand(nodes);
    return metas;
  }

  #createOutbox(): StorageOutbox {
    const { disk } = this;
    return {
      readRows: (upTo, limit, keys) =>
        this.#call(() =>
          Promise.resolve(
            disk.rows.filter(({ id, key }) => id <= upTo && (!keys || keys.includes(String(key)))).slice(
              0,
              limit,
            ),
          )
        ),
      applyRows: (changes) =>
        this.#call(async (data) => {
          const ids = new Set(disk.rows.map(({ id }) => id));
          const there = changes.filter(({ rows }) => rows.some((id) => ids.has(id)));
          if (there.length === 0) return 0;
          const metas = await this.#apply(data, there.map(({ rows: _, ...change }) => change));
          const removed = new Set(changes.flatMap(({ rows }) => rows));
          disk.rows = disk.rows.filter(({ id }) => !removed.has(id));
          return Math.max(...metas.map(({ version }) => version));
        }),
      setAside: () => Promise.reject(new Error("no row is invalid here")),
      summarize: () => Promise.reject(new Error("no test counts rows here")),
      insertion: () => ({ text: "", params: [] }),
    };
  }

  readReplicaState(): Promise<ReplicaState> {
    return this.#call(async (data) => ({ ...await data.readReplicaState(), ...this.disk.pending }));
  }

  readDelta(base: VersionVector, limit: number, after?: string): Promise<StorageDelta> {
    return this.#call((data) => data.readDelta(base, limit, after));
  }

  readReplicated(keys: readonly string[]): Promise<Map<string, ReplicatedNode>> {
    return this.#call((data) => data.readReplicated(keys));
  }

  mergeNodes(takes: readonly NodeMerge[], collected?: VersionVector): Promise<(RealityNodeMeta | null)[]> {
    return this.#call(async (data) => {
      const { record } = this.disk;
      const life = await this.disk.life();
      const { vector } = await data.readReplicaState();
      const metas = await data.mergeNodes(takes, collected);
      const written: ReplicatedNode[] = [];
      metas.forEach((meta, i) => {
        const node = takes[i]?.node;
        if (meta === null || node === undefined) return;
        const stamped = "replicaId" in node
          ? node
          : { ...meta, dotVersion: meta.version, replicaId: life.replicaId };
        if ("replicaId" in node) record.take(life, node);
        else record.write(life, stamped, false, vector);
        written.push(stamped);
      });
      this.#stand(written);
      return metas;
    });
  }

  adoptVector(...adopted: Parameters<MeshStorage["adoptVector"]>): Promise<boolean> {
    const [vector, , collected] = adopted;
    return this.#call(async (data) => {
      const isNew = await data.adoptVector(...adopted);
      if (collected === undefined) return isNew;
      const { record } = this.disk;
      const life = await this.disk.life();
      const there = await data.getNodes(record.keys);
      for (const key of record.keys) if (!there.has(key)) record.forget(life, key, vector);
      return isNew;
    });
  }

  avoidResidues(vector: VersionVector): Promise<void> {
    return this.#call((data) => data.avoidResidues(vector));
  }

  forgetReplicas(...forgotten: Parameters<MeshStorage["forgetReplicas"]>): Promise<void> {
    return this.#call((data) => data.forgetReplicas(...forgotten));
  }

  countByClock(): void {
    this.disk.data.countByClock();
  }

  #readChanges(version: number, limit: number): Promise<StorageChanges> {
    return this.#call(async (data) => {
      const moment = await data.readNodes([]);
      const nodes = (await data.listChangedSince(version)).slice(0, limit);
      return { ...moment, nodes, ...this.disk.pending };
    });
  }

  #stand(nodes: readonly ReplicatedNode[], isAside: boolean = false): void {
    for (const { key, version, deleted } of nodes) {
      this.disk.onStand(key, deleted ? 0 : version, this, isAside);
    }
  }

  async #call<T>(step: (data: MemoryStorage) => Promise<T>): Promise<T> {
    await this.#delay();
    const answer = this.#ended ? undefined : await this.disk.run((data) => step(data));
    await this.#delay();
    if (this.#ended) return await new Promise<T>(() => {});
    return answer as T;
  }

  async #delay(): Promise<void> {
    const { slowness, slowest } = this.disk.options;
    if (slowness === 0 || this.#isHurried || !this.#random.happens(slowness)) return;
    await new Promise<void>((resolve) => this.#clock.after(this.#random.between(1, slowest), resolve));
  }
}
