/**
 * The kit: a random run of operations has the same result as on a map. Made with fast-check, which
 * the user of the kit installs.
 *
 * @module
 */
import fc from "fast-check";
import { isNewer } from "../../src/store/node.ts";
import type { NodeChange, RealityStorage } from "../../src/store/contract.ts";
import type { RealityNodeMeta } from "../../src/types.ts";
import { assert, assertEquals } from "./assert.ts";
import { apply } from "./batch.ts";
import { assertHistory, type Kit, type StorageSupport } from "./kit.ts";

const KEYS = ["a", "A", "b", "😀"];

/** One operation, as it is drawn. */
type Operation =
  | { readonly kind: "reserve"; readonly key: string }
  | { readonly kind: "set"; readonly key: string; readonly lift: number; readonly meta: Drawn }
  | { readonly kind: "delete"; readonly key: string }
  | { readonly kind: "apply"; readonly changes: readonly (Drawn & { readonly key: string })[] }
  | { readonly kind: "list"; readonly back: number; readonly limit: number };

interface Drawn {
  readonly hash: string;
  readonly updatedAt: number;
  readonly deleted: boolean;
}

/** Registers this test. */
export function testModel({ options, supports }: Kit): void {
  const { name, test, create, destroy, runs = 50, seed } = options;
  test(`${name}: a random run of operations has the same result as on a map`, async () => {
    const property = fc.asyncProperty(drawRun(supports), async (run) => {
      const storage = await create();
      try {
        const model = new Model(storage, supports);
        for (const operation of run) await model.do(operation);
      } finally {
        await destroy?.(storage);
      }
    });
    // Prints seed and path on failure, with the shortest run that still fails.
    await fc.assert(property, seed === undefined ? { numRuns: runs } : { numRuns: runs, seed });
  });
}

function drawRun(supports: Required<StorageSupport>): fc.Arbitrary<Operation[]> {
  const key = fc.constantFrom(...KEYS);
  const fields = {
    hash: fc.constantFrom("", "X", "x", "\uffee", "😀"),
    updatedAt: fc.constantFrom(1, 2),
    deleted: supports.tombstones ? fc.boolean() : fc.constant(false),
  };
  const operations: fc.Arbitrary<Operation>[] = [
    fc.record({ kind: fc.constant("reserve"), key }),
    fc.record({
      kind: fc.constant("set"),
      key,
      lift: fc.integer({ min: -6, max: 3 }),
      meta: fc.record(fields),
    }),
    fc.record({ kind: fc.constant("delete"), key }),
    fc.record({ kind: fc.constant("list"), back: fc.nat(8), limit: fc.integer({ min: 1, max: 4 }) }),
  ];
  if (supports.applyChanges) {
    const change = fc.record({ ...fields, key, deleted: fc.boolean() });
    const changes = fc.uniqueArray(change, { selector: (drawn) => drawn.key, maxLength: KEYS.length });
    operations.push(fc.record({ kind: fc.constant("apply"), changes }));
  }
  return fc.array(fc.oneof(...operations), { maxLength: 40 });
}

/** The plain map, and what is known of the counter. */
class Model {
  readonly #storage: RealityStorage;
  readonly #supports: Required<StorageSupport>;
  readonly #nodes = new Map<string, RealityNodeMeta>();
  /** The highest number that was given or published. */
  #given = 0;
  /** The highest number that a reader could see. */
  #visible = 0;

  constructor(storage: RealityStorage, supports: Required<StorageSupport>) {
    this.#storage = storage;
    this.#supports = supports;
  }

  async do(operation: Operation): Promise<void> {
    if (operation.kind === "reserve") this.#give(await this.#storage.incrementVersion(operation.key));
    if (operation.kind === "set") await this.#set(operation.key, operation.lift, operation.meta);
    if (operation.kind === "delete") await this.#delete(operation.key);
    if (operation.kind === "apply") await this.#apply(operation.changes.map(toChange));
    if (operation.kind === "list") await this.#list(operation.back, operation.limit);
    await this.#compare();
  }

  async #set(key: string, lift: number, { hash, updatedAt, deleted }: Drawn): Promise<void> {
    const meta: RealityNodeMeta = { key, version: Math.max(1, this.#given + lift), hash, updatedAt };
    if (deleted) meta.deleted = true;
    await this.#storage.setNode(key, { ...meta });
    const before = this.#nodes.get(key);
    this.#given = Math.max(this.#given, meta.version);
    if (before?.version === meta.version && !this.#supports.getIdentity) {
      // Which of the two is kept is the storage's affair, as long as it is one of them.
      const kept = await this.#storage.getNode(key);
      const found = [before, meta].find((one) => JSON.stringify(one) === JSON.stringify({ ...one, ...kept }));
      assert(found, `Of two nodes with version ${meta.version} neither was kept`);
      this.#nodes.set(key, found);
    } else if (before === undefined || isNewer(meta, before)) {
      this.#nodes.set(key, meta);
      this.#visible = Math.max(this.#visible, meta.version);
    }
  }

  async #delete(key: string): Promise<void> {
    await this.#storage.deleteNode(key);
    if (this.#supports.tombstones) {
      const news = await this.#storage.listChangedSince(this.#visible);
      const [tombstone] = news;
      assert(news.length === 1 && tombstone, `Expected one tombstone, got ${news.length}`);
      assertEquals([tombstone.key, tombstone.deleted], [key, true], "the tombstone");
      this.#give(tombstone.version);
      this.#visible = tombstone.version;
      this.#nodes.set(key, tombstone);
    } else {
      this.#nodes.delete(key);
      const visible = await this.#storage.getMaxVersion();
      assert(visible >= this.#visible, `getMaxVersion() went from ${this.#visible} to ${visible}`);
      this.#visible = visible;
      this.#given = Math.max(this.#given, visible);
    }
  }

  async #apply(changes: readonly NodeChange[]): Promise<void> {
    const metas = await apply(this.#storage, ...changes);
    assertEquals(metas.map(({ version: _, ...rest }) => rest), changes, "what applyChanges() wrote");
    for (const meta of metas) {
      this.#give(meta.version);
      this.#visible = meta.version;
      if (meta.deleted && !this.#supports.tombstones) this.#nodes.delete(meta.key);
      else this.#nodes.set(meta.key, meta);
    }
  }

  async #list(back: number, limit: number): Promise<void> {
    const after = Math.max(0, this.#visible - back);
    const page = await this.#storage.listChangedSince(after, limit);
    const expected = this.#history().filter(({ version }) => version > after);
    const last = page.at(-1)?.version ?? 0;
    assert(page.length >= Math.min(limit, expected.length), `Expected ${limit} nodes, got ${page.length}`);
    assertEquals([...page].sort(byVersion), expected.filter(({ version }) => version <= last), "a page");
  }

  async #compare(): Promise<void> {
    const live = new Map([...this.#nodes].filter(([, meta]) => !meta.deleted));
    assertEquals(await this.#storage.getNodes(KEYS), live, "getNodes()");
    const history = await this.#storage.listChangedSince(0);
    assertHistory(history, "listChangedSince()");
    assertEquals([...history].sort(byVersion), this.#history(), "listChangedSince()");
    assertEquals(await this.#storage.getMaxVersion(), this.#visible, "getMaxVersion()");
  }

  #give(version: number): void {
    assert(version > this.#given, `Expected a version above ${this.#given}, got ${version}`);
    this.#given = version;
  }

  #history(): RealityNodeMeta[] {
    return [...this.#nodes.values()].sort(byVersion);
  }
}

function toChange({ key, hash, updatedAt, deleted }: Drawn & { readonly key: string }): NodeChange {
  return deleted ? { key, hash, updatedAt, deleted } : { key, hash, updatedAt };
}

/** In order of version; nodes that share one have no order between them but that of their keys. */
function byVersion(a: RealityNodeMeta, b: RealityNodeMeta): number {
  return a.version - b.version || (a.key < b.key ? -1 : 1);
}
