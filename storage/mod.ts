/**
 * What the author of a storage needs: the contract of storages, and the types that its methods use.
 *
 * The test kit is `@rootlodge/reality-server/conformance`. A storage is done when its tests pass.
 *
 * ```ts
 * import type { RealityStorage, StorageFeatures } from "@rootlodge/reality-server/storage";
 *
 * const features: StorageFeatures = { ordered: true };
 * const storage: Pick<RealityStorage, "features"> = { features };
 * console.assert(storage.features?.ordered === true);
 * ```
 *
 * @module
 */
export type {
  AppliedMeta,
  ChangeListener,
  CounterKind,
  Dot,
  MeshStorage,
  NodeChange,
  NodeHash,
  NodeLookup,
  NodeMerge,
  OutboxChange,
  OutboxRow,
  OutboxStatement,
  OutboxSummary,
  RealityStorage,
  ReplicaState,
  ReplicatedNode,
  StorageChanges,
  StorageDelta,
  StorageFeatures,
  StorageIdentity,
  StorageMoment,
  StorageOutbox,
  StorageReading,
  VersionVector,
} from "../src/store/contract.ts";
export type { RealityNodeMeta } from "../src/types.ts";
