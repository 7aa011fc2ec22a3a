/**
 * The kit itself: it passes a storage that keeps the contract, and fails storages that do not.
 *
 * @module
 */
import assert from "node:assert/strict";
import type { RealityNodeMeta } from "../../src/types.ts";
import { testStorage } from "../../storage/conformance/mod.ts";
import { MemoryStorage } from "../../storage/memory/memory_storage.ts";
import { test } from "../harness.ts";
import { failures } from "./conformance_failures.ts";
import { testAllBut, testOnly } from "./kit_titles.ts";
import { NaiveStorage } from "./naive_storage.ts";

testStorage({ name: "a storage with the eight methods", create: () => new NaiveStorage(), test });

const FAULTS: [string, () => NaiveStorage][] = [
  [
    "takes the next version from the stored nodes",
    () =>
      new class extends NaiveStorage {
        override async incrementVersion(): Promise<number> {
          return ((await this.listChangedSince(0)).at(-1)?.version ?? 0) + 1;
        }
      }(),
  ],
  [
    "counts the versions of each key separately",
    () =>
      new class extends NaiveStorage {
        override async incrementVersion(key: string): Promise<number> {
          return ((await this.getNode(key))?.version ?? 0) + 1;
        }
      }(),
  ],
  [
    "replaces a newer node by an older one",
    () =>
      new class extends NaiveStorage {
        override async setNode(key: string, meta: RealityNodeMeta): Promise<void> {
          await this.deleteNode(key);
          await super.setNode(key, meta);
        }
      }(),
  ],
  [
    "shows a reserved version to readers",
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
    "does not raise the counter to published versions",
    () =>
      new class extends NaiveStorage {
        #counter = 0;
        override incrementVersion(): Promise<number> {
          return Promise.resolve(++this.#counter);
        }
      }(),
  ],
  [
    "treats keys that differ in case as equal",
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
    "lists nodes in the wrong order",
    () =>
      new class extends NaiveStorage {
        override async listChangedSince(version: number): Promise<RealityNodeMeta[]> {
          return (await super.listChangedSince(version)).reverse();
        }
      }(),
  ],
  [
    "ends a page between nodes of one version",
    () =>
      new class extends NaiveStorage {
        override async listChangedSince(version: number, limit?: number): Promise<RealityNodeMeta[]> {
          return (await super.listChangedSince(version)).slice(0, limit);
        }
      }(),
  ],
  [
    "decreases its highest version when that node is deleted",
    () =>
      new class extends NaiveStorage {
        override async getMaxVersion(): Promise<number> {
          return (await this.listChangedSince(0)).at(-1)?.version ?? 0;
        }
      }(),
  ],
  [
    "reserves one number for two calls at once",
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

test("testStorage() fails a storage with more or fewer methods than supports lists", async () => {
  const [more = ""] = await failures({ create: () => new MemoryStorage() });
  assert.match(more, /has the methods and features that supports lists/);
  const [less = ""] = await failures({ create: () => new NaiveStorage(), supports: { close: true } });
  assert.match(less, /has the methods and features that supports lists/);
});

test("testStorage() destroys every storage, also after a failure", async () => {
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
