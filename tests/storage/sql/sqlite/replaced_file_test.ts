/**
 * An SQLite file that is replaced by a backup under a storage that has it open.
 *
 * @module
 */
import assert from "node:assert/strict";
import { renameSync, rmSync } from "node:fs";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { RealityServer } from "../../../../src/server.ts";
import { isConfirmed } from "../../../../src/store/history.ts";
import {
  openSQLite,
  type SQLiteOptions,
  type SQLiteStorage,
} from "../../../../storage/sql/sqlite/sqlite_storage.ts";
import { test } from "../../../harness.ts";
import { inFolder } from "./sqlite_kit.ts";

const change = (key: string, hash: string) => ({ key, hash, updatedAt: 1 });

/** Copies the file as it is now; gives what puts the copy in its place. */
function backUp(path: string): () => void {
  const database = new DatabaseSync(path);
  database.exec(`VACUUM INTO '${path}.copy'`);
  database.close();
  return () => {
    for (const end of ["-wal", "-shm"]) rmSync(path + end, { force: true });
    renameSync(`${path}.copy`, path);
  };
}

async function withFile(
  run: (path: string, open: () => SQLiteStorage) => Promise<void>,
  options: SQLiteOptions = {},
): Promise<void> {
  await inFolder(async (folder) => {
    const path = join(folder, "reality.db");
    const storages: SQLiteStorage[] = [];
    try {
      await run(path, () => {
        const storage = openSQLite(path, { counter: "clock", ...options });
        storages.push(storage);
        return storage;
      });
    } finally {
      for (const storage of storages) await storage.close();
    }
  });
}

test("openSQLite writes to the file that was put in the place of the one it had open", async () => {
  await withFile(async (path, open) => {
    const storage = open();
    await storage.applyChanges([change("a", "old")]);
    const restore = backUp(path);
    const [lost] = await storage.applyChanges([change("b", "lost")]);
    restore();
    const [written] = await storage.applyChanges([change("a", "new")]);
    assert.ok(written!.version > lost!.version, "a number was given again");
    for (const each of [open(), storage]) {
      assert.deepEqual(await each.getNode("a"), written);
      assert.equal(await each.getNode("b"), null);
    }
  });
});

test("openSQLite gives no number of a file that was replaced to the one in its place, in the same moment", async () => {
  const now = () => 1_800_000_000_000;
  await withFile(async (path, open) => {
    const [one, other] = [open(), open()];
    await other.applyChanges([change("a", "old")]);
    await one.applyChanges([change("a", "old")]);
    const { maxVersion: kept } = await one.readNodes([]);
    const restore = backUp(path);
    const lost = await one.applyChanges([change("b", "lost"), change("c", "lost"), change("d", "lost")]);
    restore();
    const numbers = new Set(lost.map(({ version }) => version));
    for (const storage of [other, one, open()]) {
      for (const key of ["b", "e"]) {
        const [written] = await storage.applyChanges([change(key, "new")]);
        assert.ok(!numbers.has(written!.version), `${written!.version}`);
        const moment = await storage.readNodes([]);
        for (const number of numbers) assert.equal(isConfirmed(moment, number), false);
        assert.equal(isConfirmed(moment, kept), true);
      }
    }
  }, { now });
});

test("openSQLite reads the file that was put in the place of the one it had open, within moments", async () => {
  await withFile(async (path, open) => {
    const storage = open();
    await storage.applyChanges([change("a", "old")]);
    const restore = backUp(path);
    await storage.applyChanges([change("a", "lost")]);
    restore();
    while ((await storage.getNode("a"))?.hash !== "old") {
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
  });
});

test("a server tells waiting clients when the file was replaced, also after others have written to it", async () => {
  await withFile(async (path, open) => {
    const server = new RealityServer({ storage: open() });
    await server.updateMany([{ key: "a", hash: "old" }, { key: "b", hash: "old" }]);
    const restore = backUp(path);
    await server.updateNode("a", "lost");
    const { changed: { a }, epoch } = await server.handleSync({ known: { a: 0 } });
    const waiting = server.handleSync({ known: { a: a!.version }, epoch, wait: 20_000 });
    restore();
    await open().applyChanges([change("b", "new")]);
    assert.equal((await waiting).changed.a?.hash, "old");
    await server.close();
  });
});

test("openSQLite acknowledges nothing while its file is away, and goes on once it is back", async () => {
  await withFile(async (path, open) => {
    const storage = open();
    await storage.applyChanges([change("a", "old")]);
    const restore = backUp(path);
    rmSync(path);
    const write = async () => await storage.applyChanges([change("a", "nowhere")]);
    await assert.rejects(write, /the file is not there any more/);
    restore();
    const [written] = await storage.applyChanges([change("a", "new")]);
    assert.deepEqual(await open().getNode("a"), written);
  });
});
