/**
 * The kit: writers and readers at once, from one process and from two.
 *
 * @module
 */
import type { RealityStorage } from "../../src/store/contract.ts";
import type { RealityNodeMeta } from "../../src/types.ts";
import { assert, assertEquals } from "./assert.ts";
import { apply } from "./batch.ts";
import {
  allSettle,
  assertHistory,
  changeOf,
  defined,
  deletionOf,
  type Kit,
  metaOf,
  nodesOf,
  write,
} from "./kit.ts";

const WRITERS = 8;
const ROUNDS = 6;

/** Registers these tests: each with one storage, and with two on the same data. */
export function testRaces({ check, checkShared, supports }: Kit): void {
  const both = (title: string, fn: (pick: (i: number) => RealityStorage) => Promise<void>) => {
    check(title, async (storage) => await fn(() => storage));
    checkShared(`${title}, in two processes`, async (...pair) => await fn((i) => defined(pair[i % 2])));
  };

  both("incrementVersion() called at once gives different numbers, all above those before", async (pick) => {
    let last = 0;
    for (let round = 0; round < 3; round++) {
      const calls = [...Array(40).keys()].map((i) => pick(i).incrementVersion(`key:${i % 3}`));
      const versions = await allSettle(calls);
      assertEquals(new Set(versions).size, versions.length, "how many are different");
      assert(Math.min(...versions) > last, `Expected versions above ${last}`);
      last = Math.max(...versions);
    }
  });

  both("setNode() called at once for one key ends at the highest version", async (pick) => {
    const versions = [...Array(40).keys()].map((i) => (i * 17) % 40 + 1);
    await allSettle(versions.map((version, i) => pick(i).setNode("a", metaOf("a", version))));
    for (const i of [0, 1]) {
      assertEquals(await pick(i).getNode("a"), metaOf("a", 40), "getNode()");
      assertEquals(await pick(i).getMaxVersion(), 40, "getMaxVersion()");
    }
  });

  both("a reader never sees one version with another's hash, nor a node going back", async (pick) => {
    const keys = ["a", "b", "c"];
    let writing = true;
    const writers = [...Array(WRITERS).keys()].map(async (writer) => {
      for (let i = 0; i < ROUNDS; i++) await write(pick(writer), defined(keys[(writer + i) % keys.length]));
    });
    const readers = [0, 1].map(async (reader) => {
      const last = new Map<string, number>();
      const look = (meta: RealityNodeMeta) => {
        assertEquals(meta, metaOf(meta.key, meta.version), "a node");
        assert(meta.version >= (last.get(meta.key) ?? 0), `Node ${meta.key} went back`);
        last.set(meta.key, meta.version);
      };
      while (writing) {
        for (const meta of (await pick(reader).getNodes(keys)).values()) look(meta);
        for (const meta of await pick(reader).listChangedSince(0)) look(meta);
        const node = await pick(reader).getNode("a");
        if (node) look(node);
        await aTurn();
      }
    });
    await allSettle<unknown>([allSettle(writers).finally(() => writing = false), ...readers]);
  });

  both("getMaxVersion() never decreases, and the changes up to it are visible", async (pick) => {
    let writing = true;
    const writers = [...Array(WRITERS).keys()].map(async (writer) => {
      for (let i = 0; i < ROUNDS; i++) {
        await write(pick(writer), `key:${writer}`);
        if (i % 3 === 2) await pick(writer).deleteNode(`key:${writer}`);
      }
    });
    const reader = (async () => {
      for (let last = 0; writing; await aTurn()) {
        const version = await pick(1).getMaxVersion();
        assert(version >= last, `getMaxVersion() went from ${last} to ${version}`);
        last = version;
      }
    })();
    await allSettle<unknown>([allSettle(writers).finally(() => writing = false), reader]);
    const last = (await pick(0).listChangedSince(0)).at(-1);
    assert(await pick(1).getMaxVersion() >= (last?.version ?? 0), "getMaxVersion() lags behind the history");
  });

  if (!supports.applyChanges) return;

  both("applyChanges() called at once never shares a version", async (pick) => {
    const given = new Set<number>();
    const calls = [...Array(WRITERS).keys()].map(async (writer) => {
      for (let i = 0; i < ROUNDS; i++) {
        const own = changeOf(`key:${writer}`, `${i}`);
        const metas = await apply(pick(writer), own, i % 2 ? deletionOf("shared") : changeOf("shared"));
        assertHistory(metas, "the metas");
        for (const { version } of metas) {
          assert(!given.has(version), `Version ${version} was given twice`);
          given.add(version);
        }
        given.add(await pick(writer).incrementVersion("x"));
      }
    });
    await allSettle(calls);
    assertEquals(given.size, WRITERS * ROUNDS * 3, "how many versions");
  });

  if (!supports.ordered) return;

  both("a reader of the history misses no change while many write", async (pick) => {
    const written = new Map<string, RealityNodeMeta>();
    let writing = true;
    const writers = [...Array(WRITERS).keys()].map(async (writer) => {
      for (let i = 0; i < ROUNDS; i++) {
        const keys = [`own:${writer}:${i}`, `shared:${i}`];
        for (const meta of await apply(pick(writer), ...keys.map((key) => changeOf(key, `${writer}`)))) {
          if (meta.version > (written.get(meta.key)?.version ?? 0)) written.set(meta.key, meta);
        }
      }
    });
    const vector = new Map<string, RealityNodeMeta>();
    let last = 0;
    const follow = async () => {
      const page = await pick(1).listChangedSince(last, 3);
      assertHistory(page, "a page");
      for (const meta of page) vector.set(meta.key, meta);
      last = page.at(-1)?.version ?? last;
      return page.length;
    };
    const reader = (async () => {
      for (; writing; await aTurn()) await follow();
      while (await follow() > 0);
    })();
    await allSettle<unknown>([allSettle(writers).finally(() => writing = false), reader]);
    assertEquals(vector, written, "what the follower saw");
  });

  if (!supports.readNodes) return;

  both("readNodes() reads one moment: it returns no node above its maxVersion", async (pick) => {
    const keys = ["a", "b", "c"];
    let writing = true;
    const writers = [0, 1, 2].map(async (writer) => {
      for (let i = 0; i < ROUNDS * 4; i++) {
        await apply(
          pick(writer),
          ...keys.map((key) => changeOf(key, `${i}`)),
        );
      }
    });
    const reader = (async () => {
      for (; writing; await aTurn()) {
        const reading = defined(await pick(1).readNodes?.(keys));
        const nodes = nodesOf(reading, keys);
        const versions = [...nodes.values()].map(({ version }) => version);
        const { maxVersion } = reading;
        const isLive = pick(1).features?.live === true;
        assert(
          isLive || versions.every((version) => version <= maxVersion),
          "A node is newer than maxVersion",
        );
        // The three always change together, so a reading that is of one moment never has just some of them.
        assert(versions.length === 0 || versions.length === 3, "A change was seen in part");
        const hashes = new Set([...nodes.values()].map(({ hash }) => hash));
        assert(hashes.size <= 1, "A change was seen in part");
      }
    })();
    await allSettle<unknown>([allSettle(writers).finally(() => writing = false), reader]);
  });

  both("readNodes() shows every late node that it counts", async (pick) => {
    const keys = [0, 1, 2].flatMap((writer) => [...Array(ROUNDS).keys()].map((i) => `late:${writer}:${i}`));
    const before = defined(await pick(0).readNodes?.([])).late;
    let writing = true;
    const writers = [0, 1, 2].map(async (writer) => {
      for (const key of keys.filter((key) => key.startsWith(`late:${writer}:`))) {
        const reserved = await pick(writer).incrementVersion(key);
        await apply(pick(writer), changeOf(`next:${writer}`));
        await pick(writer).setNode(key, metaOf(key, reserved));
      }
    });
    const look = async () => {
      const reading = defined(await pick(1).readNodes?.(keys));
      const { late } = reading;
      const nodes = nodesOf(reading, keys);
      assert(late - before <= nodes.size, `${late - before} nodes came late, and ${nodes.size} are there`);
      return late - before;
    };
    const reader = (async () => {
      for (; writing; await aTurn()) await look();
    })();
    await allSettle<unknown>([allSettle(writers).finally(() => writing = false), reader]);
    assertEquals(await look(), keys.length, "how many came late");
  });
}

/** Lets everything else have its turn: a storage in memory would otherwise never let others run. */
async function aTurn(): Promise<void> {
  await new Promise((resolve) => setTimeout(resolve, 0));
}
