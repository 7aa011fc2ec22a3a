/**
 * What a storage hands to the kit, and what the kit's files share.
 *
 * @module
 */
import type { NodeChange, RealityStorage, StorageReading } from "../../src/store/contract.ts";
import type { RealityNodeMeta } from "../../src/types.ts";
import { assert, assertEquals } from "./assert.ts";

/** What a storage hands to {@linkcode testStorage}. */
export interface StorageTestOptions {
  /** The name of the storage. The name of every test begins with it. */
  name: string;
  /** Creates a new storage that shares no data with any other. Called for each test. */
  create: () => RealityStorage | Promise<RealityStorage>;
  /** Called once for each storage that `create` or `share` returned, also for those that a test has closed. */
  destroy?: (storage: RealityStorage) => void | Promise<void>;
  /** The test function of your runner: `Deno.test`, or `test` of `node:test` or `bun:test`. */
  test: (name: string, fn: () => Promise<void>) => unknown;
  /** What the storage has beyond the eight methods, and what it cannot do. */
  supports?: StorageSupport;
  /** Returns a second storage on the same data, as another process would have. Left out: not tested. */
  share?: (storage: RealityStorage) => RealityStorage | Promise<RealityStorage>;
  /** Makes the database of the storage unreachable. Left out: not tested. */
  disconnect?: (storage: RealityStorage) => void | Promise<void>;
  /**
   * Runs a statement on the database of the storage, as the application does. Needed for a storage with an outbox.
   */
  query?: (storage: RealityStorage, text: string, params: (string | number | null)[]) => unknown;
  /** Lets the time pass for which the storage keeps tombstones. Left out: not tested. */
  elapse?: (storage: RealityStorage) => void | Promise<void>;
  /**
   * The number of random histories in the model test. Higher finds rarer faults; lower suits a storage across a network.
   *
   * @default {50}
   */
  runs?: number;
  /**
   * The seed of these histories, to repeat a failure.
   *
   * @default a new one each time; it is printed when a test fails
   */
  seed?: number;
}

/**
 * What a storage has beyond the eight methods, and what it cannot do. The kit tests all of it. It fails if the storage has
 * more or less than this says, so nothing remains untested by accident.
 */
export interface StorageSupport {
  /** It has `applyChanges`. @default {false} */
  applyChanges?: boolean;
  /** It has `readNodes`. @default {false} */
  readNodes?: boolean;
  /** It has `readChanges`. @default {false} */
  readChanges?: boolean;
  /** It has `getIdentity`. @default {false} */
  getIdentity?: boolean;
  /** It has `newEpoch`. @default {false} */
  newEpoch?: boolean;
  /** Its readings say by which steps the counter came to where it is. @default {false} */
  recent?: boolean;
  /** It has `subscribe`. @default {false} */
  subscribe?: boolean;
  /**
   * It has an `outbox`. `"once"`: servers that apply the same rows at the same time make each change once. `"repeated"`: they
   * may make it more than once.
   *
   * @default {false}
   */
  outbox?: false | "once" | "repeated";
  /** It has `close`. @default {false} */
  close?: boolean;
  /** It can stand beside others: it has all that `MeshStorage` adds. @default {false} */
  mesh?: boolean;
  /** Its `features` say `ordered`. @default {false} */
  ordered?: boolean;
  /** Its `features` say `tombstones`. @default {false} */
  tombstones?: boolean;
  /** Its `features` say `conditions`. @default {false} */
  conditions?: boolean;
  /**
   * Keys may begin or end with a space, and are then not the same as without. With `false` the kit checks that
   * writing such a key is refused.
   *
   * @default {true}
   */
  edgeSpaces?: boolean;
  /**
   * Keys may begin with U+FEFF, which some drivers remove as a byte order mark. With `false` no such
   * key is tried.
   *
   * @default {true}
   */
  byteOrderMark?: boolean;
  /**
   * The longest key, in bytes of UTF-8. Below 512 the kit checks that a longer one is refused.
   *
   * @default {512}
   */
  maxKeyBytes?: number;
}

/** What each file of the kit gets. */
export interface Kit {
  readonly options: StorageTestOptions;
  readonly supports: Required<StorageSupport>;
  /** Registers a test, which gets a fresh storage. */
  check(name: string, fn: (storage: RealityStorage) => Promise<void>): void;
  /** Registers a test, which gets two storages on the same data; nothing where `share` was left out. */
  checkShared(name: string, fn: (one: RealityStorage, other: RealityStorage) => Promise<void>): void;
}

/** Makes what each file of the kit gets. */
export function createKit(options: StorageTestOptions): Kit {
  const { name, create, destroy, share, test } = options;
  const register = (title: string, count: 1 | 2, fn: (storages: RealityStorage[]) => Promise<void>) => {
    test(`${name}: ${title}`, async () => {
      const storages: RealityStorage[] = [];
      try {
        const first = await create();
        storages.push(first);
        if (count === 2 && share) storages.push(await share(first));
        await fn(storages);
      } finally {
        for (const storage of storages.reverse()) await destroy?.(storage);
      }
    });
  };
  return {
    options,
    supports: {
      applyChanges: false,
      readNodes: false,
      readChanges: false,
      getIdentity: false,
      newEpoch: false,
      recent: false,
      subscribe: false,
      outbox: false,
      close: false,
      mesh: false,
      ordered: false,
      tombstones: false,
      conditions: false,
      edgeSpaces: true,
      byteOrderMark: true,
      maxKeyBytes: 512,
      ...options.supports,
    },
    check: (title, fn) => register(title, 1, async ([storage]) => await fn(defined(storage))),
    checkShared: (title, fn) => {
      if (share) register(title, 2, async ([one, other]) => await fn(defined(one), defined(other)));
    },
  };
}

/** The nodes of these keys that a reading finds. */
export function nodesOf({ nodes }: StorageReading, keys: readonly string[]): Map<string, RealityNodeMeta> {
  const found = new Map<string, RealityNodeMeta>();
  for (const key of keys) {
    const node = nodes.get(key);
    if (node !== undefined) found.set(key, node);
    const version = nodes.versionOf?.(key);
    if (version !== undefined) assertEquals(version, node?.version ?? 0, `versionOf("${key}")`);
  }
  return found;
}

/** The value, which must be there. */
export function defined<T>(value: T | undefined | null): T {
  assert(value !== undefined && value !== null, "Expected a value, got nothing");
  return value;
}

/** A meta with a hash that tells which version it belongs to. */
export function metaOf(key: string, version: number): RealityNodeMeta {
  return { key, version, hash: `hash-${version}`, updatedAt: 1_700_000_000_000 + (version % 1000) };
}

/** A change for `applyChanges`. */
export function changeOf(key: string, hash: string = "h"): NodeChange {
  return { key, hash, updatedAt: 1_700_000_000_000 };
}

/** A deletion for `applyChanges`. */
export function deletionOf(key: string): NodeChange {
  return { key, hash: "", updatedAt: 1_700_000_000_000, deleted: true };
}

/** Writes a node as the server does on a storage with the eight methods only: reserve, then publish. */
export async function write(storage: RealityStorage, key: string): Promise<RealityNodeMeta> {
  const meta = metaOf(key, await storage.incrementVersion(key));
  await storage.setNode(key, meta);
  return meta;
}

/** Waits until a condition holds, for five seconds at most: tombstones may be collected after the write returns. */
export async function awaitSweep(isDone: () => Promise<boolean>): Promise<void> {
  for (let i = 0; i < 500 && !await isDone(); i++) await new Promise((resolve) => setTimeout(resolve, 10));
}

/** The keys of metas, in their order. */
export function keysOf(metas: readonly RealityNodeMeta[]): string[] {
  return metas.map(({ key }) => key);
}

/** Fails unless the metas are in order of version and no key comes twice. */
export function assertHistory(metas: readonly RealityNodeMeta[], message: string): void {
  metas.forEach((meta, i) => {
    const before = metas[i - 1];
    assert(before === undefined || before.version <= meta.version, `${message}: versions are out of order`);
  });
  assert(new Set(keysOf(metas)).size === metas.length, `${message}: a key comes twice`);
}

/** Waits for all, also when one fails, so that nothing goes on behind a test that has ended. */
export async function allSettle<T>(running: readonly Promise<T>[]): Promise<T[]> {
  await Promise.allSettled(running);
  return await Promise.all(running);
}
