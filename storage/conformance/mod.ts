/**
 * The storage contract as a list of tests, for every storage of this package and for those that others write.
 *
 * Runs wherever JavaScript does: it uses the runner's `test`, and imports nothing but fast-check (an optional
 * peer dependency of the npm package: `npm install --save-dev fast-check`).
 *
 * @module
 */
import { testBasic } from "./basic.ts";
import { testBatch } from "./batch.ts";
import { testConditions } from "./conditions.ts";
import { testFaults } from "./faults.ts";
import { createKit, type StorageTestOptions } from "./kit.ts";
import { testEpochs } from "./epochs.ts";
import { testListing } from "./listing.ts";
import { testMesh } from "./mesh.ts";
import { testMeshModel } from "./mesh_model.ts";
import { testModel } from "./model.ts";
import { testOutbox } from "./outbox.ts";
import { testRaces } from "./races.ts";
import { testSubscribe } from "./subscribe.ts";
import { testVersions } from "./versions.ts";

export type { StorageSupport, StorageTestOptions } from "./kit.ts";

/**
 * Registers the tests that tell whether a storage keeps the contract of `RealityStorage`. A storage is done
 * when they pass.
 *
 * Each test gets a storage of its own from `create` and hands it to `destroy`. A storage with just the eight
 * required methods needs nothing more; what it has beyond them, or cannot do, stands in `supports`.
 *
 * @param options The storage, the runner's `test`, and what the storage can do.
 *
 * @example
 * ```ts
 * import { testStorage } from "@rootlodge/reality-server/conformance";
 * import { MemoryStorage } from "@rootlodge/reality-server/memory";
 *
 * const tests: (() => Promise<void>)[] = [];
 * testStorage({
 *   name: "MemoryStorage",
 *   create: () => new MemoryStorage(),
 *   test: (_name, fn) => tests.push(fn), // or your runner's own: test
 *   supports: {
 *     applyChanges: true,
 *     readNodes: true,
 *     getIdentity: true,
 *     newEpoch: true,
 *     mesh: true,
 *     ordered: true,
 *     tombstones: true,
 *     conditions: true,
 *   },
 * });
 * await tests[0]?.();
 * ```
 */
export function testStorage(options: StorageTestOptions): void {
  const kit = createKit(options);
  testBasic(kit);
  testVersions(kit);
  testBatch(kit);
  testConditions(kit);
  testListing(kit);
  testRaces(kit);
  testSubscribe(kit);
  testOutbox(kit);
  testEpochs(kit);
  testModel(kit);
  testMesh(kit);
  testMeshModel(kit);
  testFaults(kit);
}
