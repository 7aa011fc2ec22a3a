/**
 * SQLStorage when statements fail, or are never answered.
 *
 * @module
 */
import assert from "node:assert/strict";
import { type SQLRow, SQLStorage, type SQLValue } from "../../../storage/sql/sql_storage.ts";
import { test } from "../../harness.ts";
import { withStorage } from "./sql_kit.ts";

test("SQLStorage keeps the query's error as the cause, and names the operation", async () => {
  const failure = new Error("no route to host");
  const storage = new SQLStorage({ query: () => Promise.reject(failure), dialect: "sqlite" });
  await assert.rejects(storage.getNode("a"), {
    name: "StorageError",
    operation: "getNode",
    cause: failure,
    message: "Storage failed at getNode: no route to host",
  });
  const throwing = new SQLStorage({
    query: () => {
      throw failure;
    },
    dialect: "sqlite",
  });
  await assert.rejects(throwing.deleteNode("a"), { operation: "deleteNode", cause: failure });
});

test("SQLStorage rejects with a message if the query does not return an array", async () => {
  const query = () => Promise.resolve({ rows: [] }) as unknown as Promise<SQLRow[]>;
  const storage = new SQLStorage({ query, dialect: "sqlite" });
  await assert.rejects(storage.getNode("a"), /option "query" must give an array of rows, and gave an object/);
});

test("a set-up statement that is never answered does not block other calls", async () => {
  await withStorage({}, async (_storage, pool) => {
    let lost = 0;
    const lose = () => {
      lost++;
      return new Promise<SQLRow[]>(() => {});
    };
    let isLosing = true;
    const query = (sql: string, params: readonly SQLValue[]) => isLosing ? lose() : pool.query(sql, params);
    const storage = new SQLStorage({ query, dialect: "sqlite" });
    // Neither call ever settles, and neither waits for the other.
    void storage.getMaxVersion();
    void storage.getMaxVersion();
    assert.equal(lost, 2);
    isLosing = false;
    assert.equal(await storage.getMaxVersion(), 0);

    await pool.query("DROP TABLE reality_nodes", []);
    await assert.rejects(storage.getNode("a"), { code: "ERR_REALITY_STORAGE" });
    isLosing = true;
    void storage.getNode("a");
    isLosing = false;
    assert.equal(lost, 3);
    assert.equal(await storage.getNode("a"), null);
  });
});

test("SQLStorage checks its table again only after an error that says the table is missing", async () => {
  const asked = async (error: unknown) => {
    let count = 0;
    await withStorage({}, async (_storage, pool) => {
      let failure: unknown;
      const query = async (sql: string, params: readonly SQLValue[]) => {
        if (failure) throw failure;
        count++;
        return await pool.query(sql, params);
      };
      const storage = new SQLStorage({ query, dialect: "sqlite" });
      await storage.getMaxVersion();
      failure = error;
      await assert.rejects(storage.getMaxVersion());
      [failure, count] = [undefined, 0];
      await storage.getMaxVersion();
    });
    return count;
  };
  for (const message of ["ECONNRESET", "database is locked", "disk I/O error"]) {
    assert.equal(await asked(new Error(message)), 1, message);
  }
  const missing = new Error("no such table: reality_nodes");
  assert.ok(await asked(missing) > 1);
  assert.ok(await asked(new Error("D1_ERROR", { cause: missing })) > 1);
});

test("SQLStorage works again once the database does", async () => {
  await withStorage({}, async (_storage, pool) => {
    let isBroken = true;
    const query = async (sql: string, params: readonly SQLValue[]) => {
      if (isBroken) throw new Error("gone");
      return await pool.query(sql, params);
    };
    const storage = new SQLStorage({ query, dialect: "sqlite" });
    assert.equal(await storage.isHealthy(), false);
    await assert.rejects(storage.getMaxVersion(), /gone/);
    isBroken = false;
    assert.equal(await storage.isHealthy(), true);
    assert.equal(await storage.getMaxVersion(), 0);
  });
});
