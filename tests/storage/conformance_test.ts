/**
 * The kit itself: a plain storage of a user's passes it, and each fault it is there for fails it.
 *
 * @module
 */
import assert from "node:assert/strict";
import type { RealityNodeMeta } from "../../src/types.ts";
import { type StorageTestOptions, testStorage } from "../../storage/conformance/mod.ts";
import { MemoryStorage } from "../../storage/memory.ts";
import { test } from "../harness.ts";
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

test("testStorage() fails a storage that has more, or less, than it is said to have", async () => {
  const [more = ""] = await failures({ create: () => new MemoryStorage() });
  assert.match(more, /has the methods and features it is said to have/);
  const [less = ""] = await failures({ create: () => new NaiveStorage(), supports: { close: true } });
  assert.match(less, /has the methods and features it is said to have/);
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
