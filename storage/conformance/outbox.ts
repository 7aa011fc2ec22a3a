/**
 * The kit: rows of the outbox are seen by every reading, become changes, and are removed with them.
 *
 * @module
 */
import type { OutboxChange, OutboxRow, RealityStorage, StorageOutbox } from "../../src/store/contract.ts";
import { assert, assertEquals } from "./assert.ts";
import { allSettle, changeOf, defined, type Kit } from "./kit.ts";

/** Registers these tests. */
export function testOutbox({ check, checkShared, options, supports }: Kit): void {
  if (supports.outbox === false) return;
  /** Writes rows as the application does. */
  const insert = async (storage: RealityStorage, ...changes: { key: string; hash: string }[]) => {
    // The first use creates the tables.
    await storage.getMaxVersion();
    const { text, params } = outboxOf(storage).insertion(changes);
    await defined(options.query)(storage, text, params);
  };
  /** One row for each key. */
  const insertKeys = (storage: RealityStorage, ...keys: string[]) =>
    insert(storage, ...keys.map((key) => ({ key, hash: `hash-${key}` })));

  check("each reading has the highest id of a pending row of the outbox", async (storage) => {
    assertEquals(await pendingOf(storage), [], "before the first row");
    await insertKeys(storage, "a", "b");
    const rows = await readAll(storage);
    const highest = Math.max(...rows.map(({ id }) => id));
    assertEquals(new Set(await pendingOf(storage)), new Set([highest]), "with two rows");
    await outboxOf(storage).applyRows(toChanges(rows));
    assertEquals(await pendingOf(storage), [], "after they were applied");
  });

  check("the outbox gives its rows in order, up to an id and a limit", async (storage) => {
    await insert(storage, { key: "b", hash: "1" }, { key: "a", hash: "2" }, { key: "b", hash: "" });
    const outbox = outboxOf(storage);
    const rows = await readAll(storage);
    assertEquals(rows.map(({ key }) => key), ["b", "a", "b"], "keys");
    assertEquals(rows.map(({ hash }) => hash ?? ""), ["1", "2", ""], "hashes");
    assertEquals(rows.map(({ format }) => format), [1, 1, 1], "formats");
    const [first, second, third] = rows.map(({ id }) => id) as [number, number, number];
    assert(0 < first && first < second && second < third, "ids are not in order");
    assertEquals((await outbox.readRows(second, 10)).map(({ id }) => id), [first, second], "up to an id");
    assertEquals((await outbox.readRows(third, 1)).map(({ id }) => id), [first], "with a limit");
    assertEquals(
      (await outbox.readRows(third, 10, ["b", "c"])).map(({ id }) => id),
      [first, third],
      "of keys",
    );
    assertEquals(
      (await outbox.readRows(third, 1, ["b"])).map(({ id }) => id),
      [first],
      "of a key, with a limit",
    );
    assertEquals(
      (await outbox.readRows(second, 10, ["b"])).map(({ id }) => id),
      [first],
      "of a key, up to an id",
    );
  });

  check("the outbox keeps keys and hashes as they were written", async (storage) => {
    const changes = ["a b", `"'\\$%;--{}`, "é", "\u{1F600}", "NULL", "x".repeat(512)].map((key) => ({
      key,
      hash: key.slice(0, 50),
    }));
    await insert(storage, ...changes);
    assertEquals((await readAll(storage)).map(({ key, hash }) => ({ key, hash })), changes, "rows");
    for (const { key } of changes) {
      assertEquals(
        (await outboxOf(storage).readRows(1e9, 10, [key])).map((row) => row.key),
        [key],
        "of a key",
      );
    }
  });

  check("applyRows() makes changes as applyChanges() does, and removes their rows", async (storage) => {
    await storage.applyChanges!([changeOf("a", "old")]);
    await insertKeys(storage, "a", "b");
    const before = await storage.getMaxVersion();
    const version = await outboxOf(storage).applyRows(toChanges(await readAll(storage)));
    const nodes = await storage.getNodes(["a", "b"]);
    assertEquals([...nodes.values()].map(({ hash }) => hash).sort(), ["hash-a", "hash-b"], "hashes");
    assertEquals(
      Math.max(...[...nodes.values()].map((node) => node.version)),
      version,
      "the version that was returned",
    );
    assertEquals(await storage.getMaxVersion(), version, "the counter");
    const history = await storage.listChangedSince(before);
    assertEquals(history.map(({ key }) => key), ["a", "b"], "the history");
    assertEquals(await readAll(storage), [], "the rows that are left");
  });

  check("applyRows() makes no change whose rows are gone", async (storage) => {
    await insertKeys(storage, "a", "b");
    const outbox = outboxOf(storage);
    const [a, b] = toChanges(await readAll(storage)) as [OutboxChange, OutboxChange];
    const first = await outbox.applyRows([a]);
    assert(first > 0, "nothing was written");
    assertEquals(await outbox.applyRows([a]), 0, "of a row that is gone");
    assertEquals(await storage.getMaxVersion(), first, "the counter");
    const second = await outbox.applyRows([{ ...a, hash: "again" }, b]);
    assert(second > first, "the row that is left was not applied");
    assertEquals((await storage.getNode("a"))?.hash, "hash-a", "the node whose row was gone");
    assertEquals((await storage.getNode("b"))?.hash, "hash-b", "the node whose row was there");
    assertEquals(await outbox.applyRows([]), 0, "of no rows");
  });

  check(
    "applyRows() leaves a row that has the id of another one, and makes no change for it",
    async (storage) => {
      await insertKeys(storage, "a", "b", "c", "d", "e\u{FFFD}");
      const outbox = outboxOf(storage);
      const [a, b, c, d, e] = (await readAll(storage)).map(({ id }) => id) as [
        number,
        number,
        number,
        number,
        number,
      ];
      // As if a backup had been restored since they were read, and the ids been given again to rows of other keys.
      await outbox.applyRows([{ ...changeOf("x", "1"), rows: [a] }, { ...changeOf("b", "1"), rows: [b, c] }]);
      assertEquals((await readAll(storage)).map(({ id }) => id), [a, c, d, e], "rows that are left");
      assertEquals([...(await storage.getNodes(["a", "b", "c", "x"])).keys()], ["b"], "nodes");
      assertEquals(await outbox.applyRows([{ ...changeOf("x", "2"), rows: [c] }]), 0, "of one row");
      // A change of a group lists the rows of its members as well, after the changes of the members.
      const groups = [
        { ...changeOf("c", "3"), rows: [c] },
        { ...changeOf("y", "3"), rows: [a] },
        { ...changeOf("g*", "3"), rows: [c] },
        { ...changeOf("h*", "3"), rows: [a] },
      ];
      assert(await outbox.applyRows(groups) > 0, "nothing was written");
      assertEquals(
        (await readAll(storage)).map(({ id }) => id),
        [a, d, e],
        "rows that are left, with groups",
      );
      assertEquals(
        [...(await storage.getNodes(["c", "y", "g*", "h*"])).keys()].sort(),
        ["c", "g*"],
        "groups",
      );
      // What could not be decoded is no reason to keep a row for ever.
      assert(
        await outbox.applyRows([{ ...changeOf("f\u{FFFD}", "1"), rows: [e] }]) > 0,
        "nothing was written",
      );
      assertEquals((await readAll(storage)).map(({ id }) => id), [a, d], "rows that are left at last");
    },
  );

  check("applyRows() makes one change of many rows if one of them is left", async (storage) => {
    await insert(storage, ...["1", "2", "3"].map((hash) => ({ key: "a", hash })));
    const outbox = outboxOf(storage);
    const rows = (await readAll(storage)).map(({ id }) => id);
    await outbox.applyRows([{ ...changeOf("a", "1"), rows: rows.slice(0, 1) }]);
    assert(await outbox.applyRows([{ ...changeOf("a", "3"), rows }]) > 0, "nothing was written");
    assertEquals((await storage.getNode("a"))?.hash, "3", "the hash");
    assertEquals(await readAll(storage), [], "the rows that are left");
  });

  check("applyRows() leaves rows that came meanwhile, and no row gets the id of another", async (storage) => {
    const outbox = outboxOf(storage);
    const ids: number[] = [];
    for (let round = 0; round < 3; round++) {
      await insertKeys(storage, "a");
      const rows = await readAll(storage);
      ids.push(...rows.map(({ id }) => id));
      await insertKeys(storage, "a");
      await outbox.applyRows(toChanges(rows));
      const left = await readAll(storage);
      assertEquals(left.length, 1, "rows that are left");
      ids.push(...left.map(({ id }) => id));
      // The table is empty now.
      await outbox.applyRows(toChanges(left));
    }
    assertEquals(new Set(ids).size, ids.length, "ids");
    assertEquals(ids, ids.toSorted((a, b) => a - b), "the order of ids");
  });

  check("setAside() takes rows out of the readings and keeps them", async (storage) => {
    await insertKeys(storage, "a", "b", "c");
    const outbox = outboxOf(storage);
    const [a, b, c] = await readAll(storage) as [OutboxRow, OutboxRow, OutboxRow];
    await outbox.setAside([a, c]);
    assertEquals(new Set(await pendingOf(storage)), new Set([b.id]), "the readings");
    assertEquals((await readAll(storage)).map(({ key }) => key), ["b"], "the rows that are pending");
    assertEquals(await outbox.readRows(c.id, 10, ["a", "c"]), [], "of their keys");
    // A server that read them before does not apply them either.
    await outbox.applyRows(toChanges([a, b, c]));
    assertEquals([...(await storage.getNodes(["a", "b", "c"])).keys()], ["b"], "nodes");
    const { oldestAge, ...counts } = await outbox.summarize(10);
    assertEquals(counts, { pending: 0, setAside: 2 }, "counts");
    assertEquals(oldestAge, 0, "the age of none");
  });

  check("rows of similar keys are not taken for one another when ids are given again", async (storage) => {
    const outbox = outboxOf(storage);
    const names = ["a", "a ", "A", " ", "  ", "é", "e\u{301}", "e", "😀", "😁"];
    await insertKeys(storage, ...names);
    const rows = await readAll(storage);
    assertEquals(rows.map(({ key }) => key), names, "keys");
    const others = rows.map(({ id }, i) => ({ ...rows[i]!, id, key: names[(i + 1) % names.length]! }));
    assertEquals(await outbox.applyRows(toChanges(others)), 0, "changes of other keys");
    await outbox.setAside([...others, ...rows.map((row) => ({ ...row, key: "" }))]);
    assertEquals(await readAll(storage), rows, "rows that are left");
    await outbox.setAside(rows);
    assertEquals((await outbox.summarize(100)).setAside, names.length, "rows that were set aside");
  });

  check("summarize() counts rows up to a limit", async (storage) => {
    await insertKeys(storage, "a", "b", "c");
    await new Promise((resolve) => setTimeout(resolve, 20));
    const { oldestAge, ...counts } = await outboxOf(storage).summarize(2);
    assertEquals(counts, { pending: 2, setAside: 0 }, "counts");
    assert(oldestAge >= 10 && oldestAge < 60_000, `an age of ${oldestAge} ms`);
  });

  check("the outbox takes as many rows at once as there may be changes", async (storage) => {
    const most = Math.min(storage.features?.maxChanges ?? 1000, 1000);
    await insertKeys(storage, ...Array.from({ length: most }, (_, i) => `key:${i}`));
    const rows = await readAll(storage);
    assertEquals(rows.length, most, "rows");
    await outboxOf(storage).applyRows(toChanges(rows));
    assertEquals((await storage.listChangedSince(0)).length, most, "nodes");
    assertEquals(await readAll(storage), [], "rows that are left");
  });

  check("the outbox takes 5,000 rows at once if they make few changes", async (storage) => {
    const outbox = outboxOf(storage);
    for (let i = 0; i < 5; i++) {
      await insert(
        storage,
        ...Array.from({ length: 1000 }, (_, n) => ({ key: `key:${n % 2}`, hash: `${i}` })),
      );
    }
    const rows = await outbox.readRows(Number.MAX_SAFE_INTEGER, 5000, ["key:0", "key:1"]);
    assertEquals(rows.length, 5000, "rows");
    const idsOf = (key: string) => rows.filter((row) => row.key === key).map(({ id }) => id);
    const changes = ["key:0", "key:1"].map((key) => ({ ...changeOf(key, "4"), rows: idsOf(key) }));
    assert(await outbox.applyRows(changes) > 0, "nothing was written");
    assertEquals((await storage.listChangedSince(0)).map(({ hash }) => hash), ["4", "4"], "hashes");
    assertEquals(await readAll(storage), [], "rows that are left");
  });

  checkShared("two servers that apply the same rows at once lose none", async (one, other) => {
    const rounds = 10;
    let changes = 0;
    for (let round = 0; round < rounds; round++) {
      await insertKeys(one, "a", `b:${round}`);
      const rows = await readAll(one);
      const before = await one.getMaxVersion();
      const versions = await allSettle(
        [one, other, one, other].map((storage) => outboxOf(storage).applyRows(toChanges(rows))),
      );
      changes += versions.filter((version) => version > 0).length;
      assertEquals(
        (await one.listChangedSince(before)).map(({ key }) => key),
        ["a", `b:${round}`],
        "the history",
      );
      assertEquals(await readAll(other), [], "rows that are left");
    }
    assert(changes >= rounds, "a change was lost");
    if (supports.outbox === "once") assertEquals(changes, rounds, "changes");
  });
}

/** The storage's outbox. */
function outboxOf(storage: RealityStorage): StorageOutbox {
  return defined(storage.outbox);
}

/** All pending rows. */
async function readAll(storage: RealityStorage): Promise<OutboxRow[]> {
  return await outboxOf(storage).readRows(Number.MAX_SAFE_INTEGER, 10_000);
}

/** One change for each row. */
function toChanges(rows: readonly OutboxRow[]): OutboxChange[] {
  return rows.map(({ id, key, hash }) => ({ ...changeOf(String(key), String(hash)), rows: [id] }));
}

/** The highest pending id as each kind of reading has it. */
async function pendingOf(storage: RealityStorage): Promise<number[]> {
  const moments: { readonly outbox?: number }[] = [await defined(storage.readNodes).call(storage, ["a"])];
  if (storage.readChanges) moments.push(await storage.readChanges(0, 10));
  if ("readReplicaState" in storage) {
    const { readReplicaState } = storage as { readReplicaState(): Promise<{ readonly outbox?: number }> };
    moments.push(await readReplicaState.call(storage));
  }
  const pending = moments.flatMap(({ outbox }) => outbox ?? []);
  assert(pending.length === 0 || pending.length === moments.length, "only some readings have a pending row");
  return pending;
}
