/**
 * SQLStorage on MySQL, through mysql2.
 *
 * @module
 */
import assert from "node:assert/strict";
import { createConnection, createPool, type PoolOptions } from "mysql2/promise";
import { testStorage } from "../../../../storage/conformance/mod.ts";
import { type SQLQuery, type SQLRow, SQLStorage } from "../../../../storage/sql/sql_storage.ts";
import { mysqlDialect } from "../../../../storage/sql/mysql/dialect.ts";
import { test } from "../../../harness.ts";
import { testDatabase } from "../../database_kit.ts";
import { testExistingTable } from "../../existing_tables.ts";
import { SQL_SUPPORTS } from "../sqlite/sqlite_kit.ts";
import { type Driver, newTableName, rowsOf, Tables } from "../../table_kit.ts";
import { executeDriver, MYSQL_URL, queryDriver } from "./drivers.ts";

for (const { name, connect } of [executeDriver, queryDriver]) {
  const tables = new Tables(async (tableName, now) => {
    const { query, transaction, end } = await connect();
    const options = { query, ...(transaction && { transaction }), dialect: "mysql", outbox: true } as const;
    return [new SQLStorage({ ...options, tableName, now }), end, query];
  });
  const { create, share, destroy, elapse, disconnect, query } = tables;
  const outbox = connect === executeDriver.connect ? "once" : "repeated";
  testStorage({
    name: `SQLStorage on MySQL through ${name}`,
    ...{ create, share, destroy, elapse, disconnect, query },
    test,
    supports: { ...SQL_SUPPORTS, outbox },
    runs: 10,
  });
}

const withOptions = (name: string, config: PoolOptions, setting?: string): Driver => ({
  name,
  connect: () => {
    const pool = createPool({ uri: MYSQL_URL, connectionLimit: 4, ...config });
    if (setting) pool.pool.on("connection", (connection) => void connection.query(`SET SESSION ${setting}`));
    return Promise.resolve({
      query: (sql, params) => pool.query(sql, params).then(([result]) => result),
      end: () => pool.end(),
    });
  },
});

testDatabase({
  name: "MySQL",
  dialect: "mysql",
  driver: queryDriver,
  statements: mysqlDialect,
  quote: (name) => `\`${name}\``,
  async begin() {
    const connection = await createConnection(MYSQL_URL);
    await connection.beginTransaction();
    return {
      run: async ({ sql, params }) => void await connection.query(sql, params),
      query: (sql, params) => connection.query(sql, params).then(([result]) => result as object[]),
      end: async (how) => {
        await connection.query(how);
        await connection.end();
      },
    };
  },
  async cut(pool) {
    // All of them are busy for a moment, so that each tells its own name.
    const ids = [1, 2, 3].map(() => rowsOf(pool, "SELECT CONNECTION_ID() AS id, SLEEP(0.1)"));
    for (const [row] of await Promise.all(ids)) await ask(`KILL ${row?.id}`);
  },
  async explain(pool, { sql, params }) {
    const rows = await pool.query(`ANALYZE ${sql}`, params) as readonly SQLRow[];
    return rows.map(({ key, r_rows: rows }) => ({ index: String(key), rows: Number(rows) }));
  },
  undone: { code: "ER_LOCK_DEADLOCK", errno: 1213 },
  async isWaiting(tableName) {
    // InnoDB refreshes this table only if it was not read for 100 ms.
    await ask("SELECT SLEEP(0.11)");
    return await ask(
      "SELECT 1 FROM information_schema.innodb_trx WHERE trx_state = 'LOCK WAIT' AND trx_query LIKE ?",
      `%${tableName}%`,
    );
  },
  async stranger() {
    const name = newTableName();
    const database = new URL(MYSQL_URL).pathname.slice(1);
    await ask(`CREATE USER ${name}`);
    // To be let in at all takes some right.
    await ask(`GRANT CREATE VIEW ON ${database}.* TO ${name}`);
    const address = new URL(MYSQL_URL);
    address.username = name;
    return {
      ...withOptions("a stranger", { uri: address.href }),
      admit: async (tableName) => {
        await ask(`GRANT SELECT, INSERT, UPDATE, DELETE ON ${database}.${tableName} TO ${name}`);
      },
      remove: async () => void await ask(`DROP USER ${name}`),
    };
  },
  others: [
    withOptions("mysql2 with big numbers as text", { supportBigNumbers: true, bigNumberStrings: true }),
    withOptions("mysql2 at READ COMMITTED", {}, "TRANSACTION ISOLATION LEVEL READ COMMITTED"),
    withOptions("mysql2 at SERIALIZABLE", {}, "TRANSACTION ISOLATION LEVEL SERIALIZABLE"),
    // MariaDB then refuses to lock a row that changed since the transaction began. By default since 11.6.
    withOptions(
      "mysql2 with innodb_snapshot_isolation at SERIALIZABLE",
      {},
      "sql_mode = @@sql_mode/*M!100618 , innodb_snapshot_isolation = ON, tx_isolation = 'SERIALIZABLE' */",
    ),
    withOptions("mysql2 with sql_mode ANSI", {}, "sql_mode = 'ANSI,PIPES_AS_CONCAT'"),
  ],
});

test("SQLStorage on MySQL refuses what would be cut, also where the server is not strict", async () => {
  const pool = createPool({ uri: MYSQL_URL, connectionLimit: 1 });
  await pool.query("SET SESSION sql_mode = ''");
  const query: SQLQuery = (sql, params) => pool.query(sql, params).then(([result]) => result);
  const storage = new SQLStorage({
    query,
    dialect: "mysql",
    tableName: newTableName(),
    counter: "sequential",
  });
  const key = "é".repeat(256);
  await storage.applyChanges([{ key, hash: "é".repeat(128), updatedAt: 1 }]);
  const long = [{ key: `${key}x`, hash: "" }, { key: "a", hash: "x".repeat(257) }];
  for (const change of long) {
    const refused = { name: "RangeError", message: /longer than (512|256) bytes/ };
    await assert.rejects(storage.applyChanges([{ ...change, updatedAt: 1 }]), refused);
    await assert.rejects(storage.setNode(change.key, { ...change, version: 9, updatedAt: 1 }), refused);
  }
  assert.deepEqual((await storage.listChangedSince(0)).map((meta) => meta.key), [key]);
  assert.equal(await storage.getNode(`${key}x`), null);
  await pool.end();
});

test("SQLStorage on MySQL refuses connections that do not commit, unless it is part of a transaction", async () => {
  const tableName = newTableName();
  const pool = createPool({ uri: MYSQL_URL, connectionLimit: 1 });
  const query: SQLQuery = (sql, params) => pool.query(sql, params).then(([result]) => result);
  const open = (inTransaction: boolean) =>
    new SQLStorage({ query, dialect: "mysql", tableName, inTransaction });
  const refused = {
    name: "StorageError",
    message: /does not commit its statements: expected autocommit = 1/,
  };
  await pool.query("SET SESSION autocommit = 0");
  // The table is missing at first.
  for (let i = 0; i < 2; i++) {
    await assert.rejects(open(false).applyChanges([{ key: "a", hash: "x", updatedAt: 1 }]), refused);
    await assert.rejects(open(false).readNodes(["a"]), refused);
  }
  await open(true).applyChanges([{ key: "a", hash: "x", updatedAt: 1 }]);
  await pool.query("COMMIT");
  await pool.query("SET SESSION autocommit = 1");
  assert.equal((await open(false).getNode("a"))?.hash, "x");
  await pool.end();
});

test("SQLStorage on MySQL refuses a driver whose quotes the server does not understand, before it sends a key", async () => {
  const tableName = newTableName();
  const pool = createPool({ uri: MYSQL_URL, connectionLimit: 1 });
  await pool.query("SET SESSION sql_mode = 'NO_BACKSLASH_ESCAPES'");
  const key = "' OR SLEEP(9) -- \\";
  const open = (how: "query" | "execute") => {
    const sent: string[] = [];
    const query: SQLQuery = (sql, params) => {
      sent.push(...params.map(String));
      const asked = how === "query" ? pool.query(sql, params) : pool.execute(sql, params);
      return asked.then(([result]) => result);
    };
    return { storage: new SQLStorage({ query, dialect: "mysql", tableName }), sent };
  };
  // The table is missing at first.
  for (let i = 0; i < 2; i++) {
    const wrong = open("query");
    await assert.rejects(wrong.storage.readNodes([key]), {
      name: "StorageError",
      message: /writes a backslash otherwise than the server reads it: .*NO_BACKSLASH_ESCAPES/,
    });
    assert.ok(!wrong.sent.some((param) => param.includes("SLEEP")));
    const right = open("execute");
    await right.storage.applyChanges([{ key, hash: "x", updatedAt: 1 }]);
    assert.equal((await right.storage.getNode(key))?.hash, "x");
  }
  await pool.end();
});

test("SQLStorage on MySQL says what is wrong with a query that keeps insertId to itself", async () => {
  const pool = createPool({ uri: MYSQL_URL, connectionLimit: 1 });
  const query: SQLQuery = async (sql, params) => {
    const [result] = await pool.query(sql, params);
    return Array.isArray(result) ? result as object[] : [];
  };
  const storage = new SQLStorage({
    query,
    dialect: "mysql",
    tableName: newTableName(),
    counter: "sequential",
  });
  const message =
    /option "query" must give what the driver gives for a write, with insertId, and gave an array/;
  await assert.rejects(storage.applyChanges([{ key: "a", hash: "", updatedAt: 1 }]), { message });
  await pool.end();
});

test("SQLStorage on MySQL sends a statement again that gave way to another, and not for ever", async () => {
  const pool = createPool({ uri: MYSQL_URL, connectionLimit: 1 });
  let failures = 3;
  let sent = 0;
  const query: SQLQuery = (sql, params) => {
    sent++;
    if (sql.startsWith("INSERT") && failures-- > 0) {
      throw Object.assign(new Error("Deadlock found"), { code: "ER_LOCK_DEADLOCK", errno: 1213 });
    }
    return pool.query(sql, params).then(([result]) => result);
  };
  const storage = new SQLStorage({
    query,
    dialect: "mysql",
    tableName: newTableName(),
    counter: "sequential",
  });
  await storage.getMaxVersion();
  failures = 3;
  assert.equal((await storage.applyChanges([{ key: "a", hash: "", updatedAt: 1 }]))[0]?.version, 1);
  [failures, sent] = [Infinity, 0];
  await assert.rejects(storage.applyChanges([{ key: "a", hash: "", updatedAt: 1 }]), /Deadlock found/);
  assert.ok(sent > 3 && sent < 30);
  await pool.end();
});

/** Runs a statement on a connection of its own, and says whether it gave a row. */
async function ask(sql: string, ...params: string[]): Promise<boolean> {
  const connection = await createConnection(MYSQL_URL);
  try {
    const [result] = await connection.query(sql, params);
    return Array.isArray(result) && result.length > 0;
  } finally {
    await connection.end();
  }
}

test("SQLStorage on MySQL assigns no number again that a crash took back after it was read", async () => {
  const { query, end } = await queryDriver.connect();
  try {
    const tableName = newTableName();
    const now = Date.now();
    const storage = new SQLStorage({ query, dialect: "mysql", tableName, now: () => now });
    const [seen] = await storage.applyChanges([{ key: "a", hash: "seen", updatedAt: 1 }]);
    // What a crash does to a commit that was shown and was not yet on the disk.
    await query(`DELETE FROM ${tableName} WHERE node_key = ?`, ["a"]);
    await query(`UPDATE ${tableName} SET counter = 0, max_version = 0 WHERE node_key = ?`, [""]);
    const later = new SQLStorage({ query, dialect: "mysql", tableName, now: () => now + 1000 });
    const [given] = await later.applyChanges([{ key: "a", hash: "other", updatedAt: 1 }]);
    assert.ok(given!.version > seen!.version, `${given?.version} after ${seen?.version}`);
  } finally {
    await end();
  }
});

test("SQLStorage on MySQL goes on with a table of version 2.0.0", async () => {
  const { query, end } = await executeDriver.connect();
  try {
    await testExistingTable("mysql", query);
  } finally {
    await end();
  }
});
