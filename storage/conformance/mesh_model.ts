/**
 * The kit: the deltas of a storage are enough to reconstruct it, after any sequence of operations.
 *
 * @module
 */
import fc from "fast-check";
import {
  coversVector,
  dotOf,
  includesDot,
  isMeshStorage,
  joinVectors,
  type MeshStorage,
  type NodeMerge,
  type ReplicatedNode,
  type VersionVector,
} from "../../src/store/contract.ts";
import { assert, assertEquals } from "./assert.ts";
import { changeOf, defined, deletionOf, type Kit, metaOf } from "./kit.ts";

const KEYS = ["a", "A", "b", "😀"];
const ORIGINS = ["ox", "oy"];

/** One operation, as it is drawn. */
type Operation =
  | { readonly kind: "reserve" | "apply" | "delete" | "elapse"; readonly key: string }
  /** Publishes under a number that was reserved, or that lies so far from the highest that was given. */
  | { readonly kind: "publish"; readonly key: string; readonly lift: number; readonly deleted: boolean }
  | {
    readonly kind: "take";
    readonly key: string;
    readonly replicaId: string;
    readonly lift: number;
    readonly late: number;
    readonly deleted: boolean;
  }
  | { readonly kind: "join"; readonly key: string; readonly lift: number; readonly deleted: boolean };

/** One operation, and in pages of which size the follower asks after it; 0 for not now. */
type Step = readonly [operation: Operation, limit: number];

/** Registers this test. */
export function testMeshModel({ options, supports }: Kit): void {
  if (!supports.mesh) return;
  const { name, test, create, destroy, elapse, runs = 50, seed } = options;
  test(`${name}: a storage that merges its deltas becomes equal to it, after any run of operations`, async () => {
    const property = fc.asyncProperty(drawRun(elapse !== undefined), async (run) => {
      const storage = await create();
      try {
        assert(isMeshStorage(storage), "Expected a storage that can stand beside others");
        const follower = new Follower(storage, async () => await elapse?.(storage));
        for (const [operation, limit] of run) {
          await follower.do(operation);
          if (limit > 0) await follower.follow(limit);
        }
        await follower.follow(100);
      } finally {
        await destroy?.(storage);
      }
    });
    // Prints seed and path on failure, with the shortest run that still fails.
    await fc.assert(property, seed === undefined ? { numRuns: runs } : { numRuns: runs, seed });
  });
}

function drawRun(elapses: boolean): fc.Arbitrary<Step[]> {
  const key = fc.constantFrom(...KEYS);
  const lift = fc.integer({ min: -8, max: 4 });
  const deleted = fc.boolean();
  const simple = ["reserve", "apply", "delete", ...(elapses ? ["elapse"] : [])] as const;
  const operation = fc.oneof(
    fc.record({ kind: fc.constantFrom(...simple), key }) as fc.Arbitrary<Operation>,
    fc.record({ kind: fc.constant("publish"), key, lift, deleted }),
    fc.record({
      kind: fc.constant("take"),
      key,
      replicaId: fc.constantFrom(...ORIGINS),
      lift,
      late: fc.nat(4),
      deleted,
    }),
    fc.record({ kind: fc.constant("join"), key, lift, deleted }),
  );
  return fc.array(fc.tuple(operation, fc.constantFrom(0, 0, 1, 2, 100)), { maxLength: 30 });
}

/** Works on a storage, and follows it from afar by what it tells as deltas. */
class Follower {
  readonly #storage: MeshStorage;
  readonly #elapse: () => Promise<void>;
  readonly #told = new Map<string, ReplicatedNode>();
  readonly #adopted = new Map<string, number>();
  #known: VersionVector = new Map();
  /** The highest number that was given, published or taken. */
  #given = 0;

  constructor(storage: MeshStorage, elapse: () => Promise<void>) {
    this.#storage = storage;
    this.#elapse = elapse;
  }

  async do(operation: Operation): Promise<void> {
    const { kind, key } = operation;
    if (kind === "reserve") this.#give(await this.#storage.incrementVersion(key));
    if (kind === "apply") {
      this.#give((await this.#storage.applyChanges?.([changeOf(key)]))?.[0]?.version ?? 0);
    }
    if (kind === "delete") await this.#storage.deleteNode(key);
    if (kind === "elapse") await this.#elapse();
    if (kind === "publish") {
      const meta = metaOf(key, Math.max(1, this.#given + operation.lift));
      await this.#storage.setNode(key, operation.deleted ? { ...meta, deleted: true } : meta);
    }
    if (kind === "take") await this.#take(operation);
    if (kind === "join") {
      const node = operation.deleted ? deletionOf(key) : changeOf(key);
      const above = Math.max(0, this.#given + operation.lift);
      await this.#write({ node, above });
    }
    // Late dots are given without being returned.
    this.#give(
      Math.max(
        ...(await this.#storage.readReplicaState()).vector.values(),
        await this.#storage.getMaxVersion(),
      ),
    );
  }

  /** Reads all pages, and then must know every node, save for what was swept. */
  async follow(limit: number): Promise<void> {
    let vector = await this.#readPages(limit);
    if (vector === undefined) {
      // Tombstones that were in no delta were collected: only a full copy shows which nodes do not exist any more.
      this.#known = new Map();
      this.#told.clear();
      vector = defined(await this.#readPages(limit));
    }
    this.#known = joinVectors(this.#known, vector);
    // A tombstone that is collected meanwhile is reported as collected afterwards.
    const nodes = await this.#storage.readReplicated(KEYS);
    const { collected } = await this.#storage.readReplicaState();
    for (const key of KEYS) {
      const told = this.#told.get(key);
      if (!nodes.has(key) && told?.deleted && includesDot(collected, dotOf(told))) this.#told.delete(key);
    }
    assertEquals(this.#told, nodes, "what the deltas told");
    const live = [...nodes.values()].filter((node) => !node.deleted).map(({ key }) => key);
    assertEquals(
      [...(await this.#storage.getNodes(KEYS)).keys()].sort(),
      live.sort(),
      "the keys that are there",
    );
    const unseen = [...nodes.values()].filter((node) => !includesDot(vector, dotOf(node)));
    assertEquals(unseen, [], "nodes at rest that are outside of what is told as seen");
  }

  /** What was told as seen with all pages; nothing where what it knows does not reach as far as was swept. */
  async #readPages(limit: number): Promise<VersionVector | undefined> {
    const base = this.#known;
    let vector: VersionVector | undefined;
    let after: string | null | undefined;
    do {
      const page = await this.#storage.readDelta(base, limit, after ?? undefined);
      vector ??= page.vector;
      if (base.size > 0 && !coversVector(base, page.collected)) return undefined;
      for (const node of page.nodes) {
        assert(!includesDot(base, dotOf(node)), `The node of ${node.key} lies inside of what was seen`);
        this.#told.set(node.key, node);
      }
      after = page.next;
    } while (after !== null);
    return vector;
  }

  async #take({ key, replicaId, lift, late, deleted }: Extract<Operation, { kind: "take" }>): Promise<void> {
    const stamp = Math.max(this.#given + lift, this.#adopted.get(replicaId) ?? 0, 0) + 1;
    const version = Math.max(1, stamp - late);
    const node: ReplicatedNode = { ...metaOf(key, version), replicaId: replicaId, dotVersion: stamp };
    if (deleted) node.deleted = true;
    await this.#write({ node });
    this.#adopted.set(replicaId, stamp);
    const { epoch } = await this.#storage.getIdentity();
    await this.#storage.adoptVector(new Map([[replicaId, stamp]]), epoch);
  }

  async #write({ node, above = 0 }: Omit<NodeMerge, "replaces">): Promise<void> {
    const { key } = node;
    const before = await this.#stampAt(key);
    const wrong = { version: (before?.version ?? 0) + 1, replicaId: before?.replicaId ?? "ox" };
    const missed = await this.#storage.mergeNodes([{ node, above, replaces: wrong }]);
    assertEquals(missed, [null], "in the place of another node");
    const { maxVersion } = await this.#storage.readReplicaState();
    let [written] = await this.#storage.mergeNodes([{ node, above, replaces: await this.#stampAt(key) }]);
    // An expired tombstone may have been collected at that moment.
    if (written === null) {
      [written] = await this.#storage.mergeNodes([{ node, above, replaces: await this.#stampAt(key) }]);
    }
    const { version } = defined(written);
    if ("replicaId" in node) assertEquals(version, node.version, "the version of a node that was taken");
    else {assert(
        version > maxVersion && version > above,
        `Expected a version above ${maxVersion} and ${above}`,
      );}
    const found = defined((await this.#storage.readReplicated([key])).get(key));
    assertEquals([found.version, found.hash], [version, node.hash], "what was written");
  }

  async #stampAt(key: string): Promise<NodeMerge["replaces"]> {
    const node = (await this.#storage.readReplicated([key])).get(key);
    return node ? dotOf(node) : null;
  }

  #give(version: number): void {
    this.#given = Math.max(this.#given, version);
  }
}
