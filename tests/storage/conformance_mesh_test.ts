/**
 * The kit fails storages that break what a mesh needs.
 *
 * @module
 */
import assert from "node:assert/strict";
import {
  dotOf,
  type NodeMerge,
  type ReplicaState,
  type ReplicatedNode,
  type StorageDelta,
  type StorageReading,
  type VersionVector,
} from "../../src/store/contract.ts";
import type { RealityNodeMeta } from "../../src/types.ts";
import { MemoryStorage } from "../../storage/memory/memory_storage.ts";
import { test } from "../harness.ts";
import { failures } from "./conformance_failures.ts";

const MEMORY_SUPPORTS = {
  applyChanges: true,
  conditions: true,
  readNodes: true,
  getIdentity: true,
  newEpoch: true,
  mesh: true,
  ordered: true,
  tombstones: true,
};

/** Returns its nodes altered by `alter`, or leaves them out. */
class Altering extends MemoryStorage {
  protected alter(node: ReplicatedNode): ReplicatedNode | undefined {
    return node;
  }
  override async readReplicated(keys: readonly string[]): Promise<Map<string, ReplicatedNode>> {
    const nodes = [...(await super.readReplicated(keys)).values()].flatMap((node) => this.alter(node) ?? []);
    return new Map(nodes.map((node) => [node.key, node]));
  }
  override async readDelta(base: VersionVector, limit: number, after?: string): Promise<StorageDelta> {
    const delta = await super.readDelta(base, limit, after);
    return { ...delta, nodes: delta.nodes.flatMap((node) => this.alter(node) ?? []) };
  }
}

const MESH_FAULTS: [string, () => MemoryStorage][] = [
  [
    "includes a reserved number in its version vector",
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
    "returns the version of a late node as its dot",
    () =>
      new class extends Altering {
        override alter(node: ReplicatedNode): ReplicatedNode {
          return { ...node, dotVersion: node.version };
        }
      }(),
  ],
  [
    "leaves tombstones out of its deltas",
    () =>
      new class extends Altering {
        override alter(node: ReplicatedNode): ReplicatedNode | undefined {
          return node.deleted ? undefined : node;
        }
      }(),
  ],
  [
    "loses the hash of a tombstone",
    () =>
      new class extends Altering {
        override alter(node: ReplicatedNode): ReplicatedNode {
          return node.deleted ? { ...node, hash: "" } : node;
        }
      }(),
  ],
  [
    "returns merged nodes as its own",
    () =>
      new class extends Altering {
        override alter(node: ReplicatedNode): ReplicatedNode {
          return { ...node, replicaId: "mine" };
        }
      }(),
  ],
  [
    "reads its nodes before its version vector",
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
    "returns pages in the order of versions",
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
    "merges a node without comparing the stored one",
    () =>
      new class extends MemoryStorage {
        override async mergeNodes(
          merges: readonly NodeMerge[],
          collected?: VersionVector,
        ): Promise<(RealityNodeMeta | null)[]> {
          const nodes = await this.readReplicated(merges.map(({ node }) => node.key));
          return await super.mergeNodes(
            merges.map((merge) => {
              const there = nodes.get(merge.node.key);
              return { ...merge, replaces: there ? dotOf(there) : null };
            }),
            collected,
          );
        }
      }(),
  ],
  [
    "adds a merged node although tombstones were collected since",
    () =>
      new class extends MemoryStorage {
        override async mergeNodes(merges: readonly NodeMerge[]): Promise<(RealityNodeMeta | null)[]> {
          return await super.mergeNodes(merges);
        }
      }(),
  ],
  [
    "replaces a tombstone that the caller did not know of",
    () =>
      new class extends MemoryStorage {
        override async mergeNodes(
          merges: readonly NodeMerge[],
          collected?: VersionVector,
        ): Promise<(RealityNodeMeta | null)[]> {
          const nodes = await this.getNodes(merges.map(({ node }) => node.key));
          const replicated = await this.readReplicated(merges.map(({ node }) => node.key));
          return await super.mergeNodes(
            merges.map((merge) => {
              // Ignores a stored tombstone.
              const tombstone = replicated.get(merge.node.key);
              const isHidden = tombstone !== undefined && !nodes.has(merge.node.key) &&
                merge.replaces === null;
              return isHidden ? { ...merge, replaces: dotOf(tombstone) } : merge;
            }),
            collected,
          );
        }
      }(),
  ],
  [
    "numbers its own changes in a merge without the requested minimum",
    () =>
      new class extends MemoryStorage {
        override async mergeNodes(
          merges: readonly NodeMerge[],
          collected?: VersionVector,
        ): Promise<(RealityNodeMeta | null)[]> {
          return await super.mergeNodes(merges.map(({ node, replaces }) => ({ node, replaces })), collected);
        }
      }(),
  ],
  [
    "replaces its version vector instead of joining it",
    () =>
      new class extends MemoryStorage {
        #adopted: VersionVector | undefined;
        override async adoptVector(
          vector: VersionVector,
          epoch: string,
          ...rest: [collected?: VersionVector, replicaId?: string]
        ): Promise<boolean> {
          this.#adopted = vector;
          return await super.adoptVector(vector, epoch, ...rest);
        }
        override async readReplicaState(): Promise<ReplicaState> {
          const { vector, ...state } = await super.readReplicaState();
          const own = [state.replicaId, vector.get(state.replicaId) ?? 0] as const;
          return { ...state, vector: this.#adopted ? new Map([...this.#adopted, own]) : vector };
        }
      }(),
  ],
  [
    "adopts the newer of two epochs",
    () =>
      new class extends MemoryStorage {
        override async adoptVector(
          vector: VersionVector,
          epoch: string,
          ...rest: [collected?: VersionVector, replicaId?: string]
        ): Promise<boolean> {
          const own = (await this.getIdentity()).epoch;
          return await super.adoptVector(vector, epoch > own ? "0" : own, ...rest);
        }
      }(),
  ],
  [
    "does not raise its counter to an adopted version vector",
    () =>
      new class extends MemoryStorage {
        override async adoptVector(
          vector: VersionVector,
          epoch: string,
          ...rest: [collected?: VersionVector, replicaId?: string]
        ): Promise<boolean> {
          return await super.adoptVector(
            new Map([...vector].map(([replicaId]) => [replicaId, 1])),
            epoch,
            ...rest,
          );
        }
      }(),
  ],
  [
    "does not record the tombstones that the source of a full copy collected",
    () =>
      new class extends MemoryStorage {
        override async adoptVector(
          vector: VersionVector,
          epoch: string,
          _collected?: VersionVector,
          replicaId?: string,
        ): Promise<boolean> {
          return await super.adoptVector(vector, epoch, undefined, replicaId);
        }
      }(),
  ],
  [
    "adopts a version vector after its data were replaced",
    () =>
      new class extends MemoryStorage {
        override async adoptVector(
          vector: VersionVector,
          epoch: string,
          collected?: VersionVector,
        ): Promise<boolean> {
          return await super.adoptVector(vector, epoch, collected);
        }
      }(),
  ],
  [
    "does not count late nodes",
    () =>
      new class extends MemoryStorage {
        override async readNodes(keys: readonly string[]): Promise<StorageReading> {
          return { ...await super.readNodes(keys), late: 0 };
        }
      }(),
  ],
  [
    "counts late nodes before it shows them",
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
    "still counts 1, 2, 3 in a mesh",
    () =>
      new class extends MemoryStorage {
        override countByClock(): void {}
      }({ counter: "sequential" }),
  ],
  [
    "keeps its residue if another storage has the same",
    () =>
      new class extends MemoryStorage {
        override avoidResidues(): Promise<void> {
          return Promise.resolve();
        }
      }(),
  ],
  [
    "returns other versions of its own changes than it wrote",
    () =>
      new class extends MemoryStorage {
        override async mergeNodes(merges: readonly NodeMerge[]): Promise<(RealityNodeMeta | null)[]> {
          const metas = await super.mergeNodes(merges);
          return metas.map((meta, i) =>
            meta && !("replicaId" in merges[i]!.node) ? { ...meta, version: meta.version + 1 } : meta
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
  test(`testStorage() fails a mesh storage that ${fault}`, async () => {
    const failed = await failures({ create, supports: MEMORY_SUPPORTS });
    assert.notDeepEqual(failed, []);
  });
}

test("testStorage() passes the storage from which the faulty ones are derived", async () => {
  assert.deepEqual(await failures({ create: () => new MemoryStorage(), supports: MEMORY_SUPPORTS }), []);
});
