/**
 * The kit itself: a plain storage of a user's passes it, and each fault it is there for fails it.
 *
 * @module
 */
import assert from "node:assert/strict";
import type {
  NodeMerge,
  ReplicaState,
  ReplicatedNode,
  StorageDelta,
  StorageReading,
  VersionVector,
} from "../../src/store/contract.ts";
import { dotOf } from "../../src/store/contract.ts";
import type { RealityNodeMeta } from "../../src/types.ts";
import { type StorageTestOptions, testStorage } from "../../storage/conformance/mod.ts";
import { MemoryStorage } from "../../storage/memory/memory_storage.ts";
import { test } from "../harness.ts";
import { testAllBut, testOnly } from "./kit_titles.ts";
import { NaiveStorage } from "./naive_storage.ts";

testStorage({ name: "a storage with the eight methods", create: () => new NaiveStorage(), test });

/** Runs the whole kit and gives the names of the tests that failed. */
async function failures(options: Omit<StorageTestOptions, "name" | "test">): Promise<string[]> {
  const tests: [string, () => Promise<void>][] = [];
  testStorage({ ...options, name: "kit", runs: 100, seed: 1, test: (name, fn) => tests.push([name, fn]) });
  const failed: string[] = [];
  for (const [name, fn] of tests) {
    await fn().catch(() => failed.push(name));
  }
  return failed;
}

const FAULTS: [string, () => NaiveStorage][] = [
  [
    "gives versions from the rows that live",
    () =>
      new class extends NaiveStorage {
        override async incrementVersion(): Promise<number> {
          return ((await this.listChangedSince(0)).at(-1)?.version ?? 0) + 1;
        }
      }(),
  ],
  [
    "counts each key by itself",
    () =>
      new class extends NaiveStorage {
        override async incrementVersion(key: string): Promise<number> {
          return ((await this.getNode(key))?.version ?? 0) + 1;
        }
      }(),
  ],
  [
    "lets the last writer win",
    () =>
      new class extends NaiveStorage {
        override async setNode(key: string, meta: RealityNodeMeta): Promise<void> {
          await this.deleteNode(key);
          await super.setNode(key, meta);
        }
      }(),
  ],
  [
    "shows what incrementVersion() reserved",
    () =>
      new class extends NaiveStorage {
        #last = 0;
        override async incrementVersion(key: string): Promise<number> {
          return this.#last = await super.incrementVersion(key);
        }
        override async getMaxVersion(): Promise<number> {
          return Math.max(this.#last, await super.getMaxVersion());
        }
      }(),
  ],
  [
    "does not lift the counter",
    () =>
      new class extends NaiveStorage {
        #counter = 0;
        override incrementVersion(): Promise<number> {
          return Promise.resolve(++this.#counter);
        }
      }(),
  ],
  [
    "takes keys for equal that differ in case",
    () =>
      new class extends NaiveStorage {
        override async getNode(key: string): Promise<RealityNodeMeta | null> {
          return await super.getNode(key) ?? await super.getNode(key.toLowerCase());
        }
      }(),
  ],
  [
    "trims keys",
    () =>
      new class extends NaiveStorage {
        override async setNode(key: string, meta: RealityNodeMeta): Promise<void> {
          await super.setNode(key.trimEnd(), meta);
        }
      }(),
  ],
  [
    "lists out of order",
    () =>
      new class extends NaiveStorage {
        override async listChangedSince(version: number): Promise<RealityNodeMeta[]> {
          return (await super.listChangedSince(version)).reverse();
        }
      }(),
  ],
  [
    "cuts pages within a version",
    () =>
      new class extends NaiveStorage {
        override async listChangedSince(version: number, limit?: number): Promise<RealityNodeMeta[]> {
          return (await super.listChangedSince(version)).slice(0, limit);
        }
      }(),
  ],
  [
    "forgets its highest version when that node goes",
    () =>
      new class extends NaiveStorage {
        override async getMaxVersion(): Promise<number> {
          return (await this.listChangedSince(0)).at(-1)?.version ?? 0;
        }
      }(),
  ],
  [
    "reserves a number twice when called at once",
    () =>
      new class extends NaiveStorage {
        #counter = 0;
        override async setNode(key: string, meta: RealityNodeMeta): Promise<void> {
          this.#counter = Math.max(this.#counter, meta.version);
          await super.setNode(key, meta);
        }
        override async incrementVersion(): Promise<number> {
          const next = this.#counter + 1;
          await Promise.resolve();
          return this.#counter = Math.max(next, this.#counter);
        }
      }(),
  ],
  [
    "writes version and hash one after the other",
    () =>
      new class extends NaiveStorage {
        override async setNode(key: string, meta: RealityNodeMeta): Promise<void> {
          const before = await this.getNode(key);
          if (before && before.version < meta.version) {
            await super.setNode(key, { ...meta, hash: before.hash });
            await new Promise((resolve) => setTimeout(resolve, 1));
            await this.deleteNode(key);
          }
          await super.setNode(key, meta);
        }
      }(),
  ],
];

for (const [fault, create] of FAULTS) {
  test(`testStorage() fails a storage that ${fault}`, async () => {
    assert.notDeepEqual(await failures({ create }), []);
  });
}

const MEMORY_SUPPORTS = {
  applyChanges: true,
  readNodes: true,
  getIdentity: true,
  newEpoch: true,
  mesh: true,
  ordered: true,
  tombstones: true,
};

/** One that tells its nodes otherwise than they are. */
class Liar extends MemoryStorage {
  protected tell(node: ReplicatedNode): ReplicatedNode | undefined {
    return node;
  }
  override async readReplicated(keys: readonly string[]): Promise<Map<string, ReplicatedNode>> {
    const nodes = [...(await super.readReplicated(keys)).values()].flatMap((node) => this.tell(node) ?? []);
    return new Map(nodes.map((node) => [node.key, node]));
  }
  override async readDelta(base: VersionVector, limit: number, after?: string): Promise<StorageDelta> {
    const delta = await super.readDelta(base, limit, after);
    return { ...delta, nodes: delta.nodes.flatMap((node) => this.tell(node) ?? []) };
  }
}

const MESH_FAULTS: [string, () => MemoryStorage][] = [
  [
    "counts a reserved number as seen",
    () =>
      new class extends MemoryStorage {
        #last = 0;
        override async incrementVersion(key: string): Promise<number> {
          return this.#last = await super.incrementVersion(key);
        }
        override async readReplicaState(): Promise<ReplicaState> {
          const state = await super.readReplicaState();
          return { ...state, vector: new Map([...state.vector, [state.replicaId, this.#last]]) };
        }
      }(),
  ],
  [
    "tells a node that was published late by its version",
    () =>
      new class extends Liar {
        override tell(node: ReplicatedNode): ReplicatedNode {
          return { ...node, dotVersion: node.version };
        }
      }(),
  ],
  [
    "leaves tombstones out of its deltas",
    () =>
      new class extends Liar {
        override tell(node: ReplicatedNode): ReplicatedNode | undefined {
          return node.deleted ? undefined : node;
        }
      }(),
  ],
  [
    "forgets the hash of a tombstone",
    () =>
      new class extends Liar {
        override tell(node: ReplicatedNode): ReplicatedNode {
          return node.deleted ? { ...node, hash: "" } : node;
        }
      }(),
  ],
  [
    "tells what others wrote as its own",
    () =>
      new class extends Liar {
        override tell(node: ReplicatedNode): ReplicatedNode {
          return { ...node, replicaId: "mine" };
        }
      }(),
  ],
  [
    "reads its nodes before what it has seen",
    () =>
      new class extends MemoryStorage {
        override async readDelta(base: VersionVector, limit: number, after?: string): Promise<StorageDelta> {
          const delta = await super.readDelta(base, limit, after);
          await new Promise((resolve) => setTimeout(resolve, 0));
          return { ...delta, ...await this.readReplicaState() };
        }
      }(),
  ],
  [
    "pages in the order of versions",
    () =>
      new class extends MemoryStorage {
        override async readDelta(base: VersionVector, limit: number, after = "0"): Promise<StorageDelta> {
          const { nodes, ...state } = await super.readDelta(base, Infinity);
          const left = nodes.filter(({ version }) => version > Number(after))
            .sort((a, b) => b.version - a.version);
          const page = left.slice(-limit);
          const next = left.length > limit ? `${page[0]?.version}` : null;
          return { ...state, nodes: page, next };
        }
      }(),
  ],
  [
    "takes a node whatever stands there",
    () =>
      new class extends MemoryStorage {
        override async mergeNodes(
          takes: readonly NodeMerge[],
          swept?: VersionVector,
        ): Promise<(RealityNodeMeta | null)[]> {
          const nodes = await this.readReplicated(takes.map(({ node }) => node.key));
          return await super.mergeNodes(
            takes.map((take) => {
              const there = nodes.get(take.node.key);
              return { ...take, replaces: there ? dotOf(there) : null };
            }),
            swept,
          );
        }
      }(),
  ],
  [
    "adds a node whatever was swept since it was judged",
    () =>
      new class extends MemoryStorage {
        override async mergeNodes(takes: readonly NodeMerge[]): Promise<(RealityNodeMeta | null)[]> {
          return await super.mergeNodes(takes);
        }
      }(),
  ],
  [
    "takes over what it does not know",
    () =>
      new class extends MemoryStorage {
        override async mergeNodes(
          takes: readonly NodeMerge[],
          swept?: VersionVector,
        ): Promise<(RealityNodeMeta | null)[]> {
          const nodes = await this.getNodes(takes.map(({ node }) => node.key));
          const stamps = await this.readReplicated(takes.map(({ node }) => node.key));
          return await super.mergeNodes(
            takes.map((take) => {
              // A tombstone counts for nothing.
              const grave = stamps.get(take.node.key);
              const isGrave = grave !== undefined && !nodes.has(take.node.key) && take.replaces === null;
              return isGrave ? { ...take, replaces: dotOf(grave) } : take;
            }),
            swept,
          );
        }
      }(),
  ],
  [
    "numbers its own changes as if they were not joined",
    () =>
      new class extends MemoryStorage {
        override async mergeNodes(
          takes: readonly NodeMerge[],
          swept?: VersionVector,
        ): Promise<(RealityNodeMeta | null)[]> {
          return await super.mergeNodes(takes.map(({ node, replaces }) => ({ node, replaces })), swept);
        }
      }(),
  ],
  [
    "puts what it has seen in the place of what it had",
    () =>
      new class extends MemoryStorage {
        #seen: VersionVector | undefined;
        override async adoptVector(
          seen: VersionVector,
          epoch: string,
          swept?: VersionVector,
        ): Promise<boolean> {
          this.#seen = seen;
          return await super.adoptVector(seen, epoch, swept);
        }
        override async readReplicaState(): Promise<ReplicaState> {
          const { vector, ...state } = await super.readReplicaState();
          const own = [state.replicaId, vector.get(state.replicaId) ?? 0] as const;
          return { ...state, vector: this.#seen ? new Map([...this.#seen, own]) : vector };
        }
      }(),
  ],
  [
    "takes the newer of two epochs",
    () =>
      new class extends MemoryStorage {
        override async adoptVector(
          seen: VersionVector,
          epoch: string,
          swept?: VersionVector,
        ): Promise<boolean> {
          const own = (await this.getIdentity()).epoch;
          return await super.adoptVector(seen, epoch > own ? "0" : own, swept);
        }
      }(),
  ],
  [
    "does not lift its counter to what was seen",
    () =>
      new class extends MemoryStorage {
        override async adoptVector(
          seen: VersionVector,
          epoch: string,
          swept?: VersionVector,
        ): Promise<boolean> {
          return await super.adoptVector(new Map([...seen].map(([origin]) => [origin, 1])), epoch, swept);
        }
      }(),
  ],
  [
    "forgets what was swept where a full copy came from",
    () =>
      new class extends MemoryStorage {
        override async adoptVector(seen: VersionVector, epoch: string): Promise<boolean> {
          return await super.adoptVector(seen, epoch);
        }
      }(),
  ],
  [
    "does not count what comes late",
    () =>
      new class extends MemoryStorage {
        override async readNodes(keys: readonly string[]): Promise<StorageReading> {
          return { ...await super.readNodes(keys), late: 0 };
        }
      }(),
  ],
  [
    "counts what comes late before it shows it",
    () =>
      new class extends MemoryStorage {
        override async readNodes(keys: readonly string[]): Promise<StorageReading> {
          const [reading, nodes] = await Promise.all([super.readNodes(keys), super.getNodes(keys)]);
          await new Promise((resolve) => setTimeout(resolve, 0));
          return { ...reading, nodes, late: (await super.readNodes([])).late };
        }
      }(),
  ],
  [
    "goes on counting 1, 2, 3",
    () =>
      new class extends MemoryStorage {
        override countByClock(): void {}
      }({ counter: "sequential" }),
  ],
  [
    "keeps its residue, whoever has the same",
    () =>
      new class extends MemoryStorage {
        override avoidResidues(): Promise<void> {
          return Promise.resolve();
        }
      }(),
  ],
  [
    "numbers joined nodes one above the other",
    () =>
      new class extends MemoryStorage {
        override async mergeNodes(takes: readonly NodeMerge[]): Promise<(RealityNodeMeta | null)[]> {
          const metas = await super.mergeNodes(takes);
          return metas.map((meta, i) =>
            meta && !("replicaId" in takes[i]!.node) ? { ...meta, version: meta.version + 1 } : meta
          );
        }
      }(),
  ],
  [
    "has only some of the methods",
    () => Object.defineProperty(new MemoryStorage(), "adoptVector", { value: undefined }),
  ],
];

for (const [fault, create] of MESH_FAULTS) {
  test(`testStorage() fails a storage beside others that ${fault}`, async () => {
    const failed = await failures({ create, supports: MEMORY_SUPPORTS });
    assert.notDeepEqual(failed, []);
  });
}

test("testStorage() finds nothing wrong with the storage that these are made of", async () => {
  assert.deepEqual(await failures({ create: () => new MemoryStorage(), supports: MEMORY_SUPPORTS }), []);
});

test("testStorage() fails a storage that has more, or less, than it is said to have", async () => {
  const [more = ""] = await failures({ create: () => new MemoryStorage() });
  assert.match(more, /has the methods and features that supports lists/);
  const [less = ""] = await failures({ create: () => new NaiveStorage(), supports: { close: true } });
  assert.match(less, /has the methods and features that supports lists/);
});

test("testStorage() hands every storage back, also after a failure", async () => {
  let open = 0;
  const failed = await failures({
    create: () => {
      open++;
      const storage = new NaiveStorage();
      storage.getNode = () => Promise.reject(new Error("broken"));
      return storage;
    },
    destroy: () => void open--,
  });
  assert.ok(failed.length > 5);
  assert.equal(open, 0);
});

test("a title that the kit does not have is an error, the other titles choose tests", () => {
  const title = "deleteNode() of a missing key does not fail";
  const chosen: string[] = [];
  const options = {
    name: "kit",
    create: () => new NaiveStorage(),
    test: (name: string) => chosen.push(name),
  };
  testOnly([title], options);
  assert.deepEqual(chosen, [`kit: ${title}`]);
  chosen.length = 0;
  testAllBut([title], options);
  assert.ok(chosen.length > 10 && !chosen.includes(`kit: ${title}`));
  for (const choose of [testOnly, testAllBut]) {
    assert.throws(() => choose([title, "renamed"], options), /has none titled "renamed"/);
  }
});
