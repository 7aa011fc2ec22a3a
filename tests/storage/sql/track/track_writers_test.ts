import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import process from "node:process";
import { createPool } from "mysql2/promise";
import pg from "pg";
import postgres from "postgres";
import { runTrack } from "../../../../cli/track/command.ts";
import { type OutboxQuery, RealityServer, type RealityStorage } from "../../../../mod.ts";
import { openPostgres } from "../../../../storage/sql/postgres/postgres_storage.ts";
import { SQLStorage } from "../../../../storage/sql/sql_storage.ts";
import { openSQLite } from "../../../../storage/sql/sqlite/sqlite_storage.ts";
import { withFolder } from "../../../cli/command.ts";
import { test } from "../../../harness.ts";
import { soon } from "../../../http/client.ts";
import { findProgram } from "../../../run/databases.ts";
import { Child } from "../../../runtimes/child.ts";
import { addressOf, newTableName } from "../../table_kit.ts";

/** A database, and its own command line. */
interface Writer {
  /** The program. */
  readonly program: string;
  /** The address that the command gets. */
  readonly address: string;
  /** The arguments with which the program runs a file of SQL. */
  args(file: string): readonly string[];
  /** The storage of a server, with an outbox. */
  open(tableName: string): RealityStorage;
}

/**
 * Starts a server, creates and tracks a table with the database's own command line, and changes a row with it. The server
 * must tell a client that waits.
 */
async function testWriter(folder: string, { program, address, args, open }: Writer): Promise<void> {
  const run = async (sql: string) => {
    const file = join(folder, "script.sql");
    writeFileSync(file, sql);
    const child = new Child(args(file), { PGCLIENTENCODING: "UTF8" }, folder, program);
    try {
      assert.equal(await child.ended(), 0, child.output);
    } finally {
      await child.kill();
    }
  };
  const table = newTableName();
  const storage = open(`${table}_nodes`);
  const server = new RealityServer({ storage, onError: (error) => assert.fail(error) });
  try {
    const key = `${table}:général`;
    assert.equal(await server.getNode(key), null);
    const options = [
      "--table",
      table,
      "--keys",
      `${table}:{room}`,
      "é:{author}",
      "--outbox",
      `${table}_outbox`,
    ];
    const lines: string[] = [];
    const print = (line: string) => void lines.push(line);
    const code = await runTrack("track", [address, ...options], { log: print, error: print });
    assert.equal(code, 0, lines.join("\n"));
    const type = address.startsWith("mysql") ? "VARCHAR(20) CHARACTER SET utf8mb4" : "TEXT";
    const encoding = address.startsWith("mysql") ? "SET NAMES utf8mb4;\n" : "";
    await run(
      `CREATE TABLE ${table} (room ${type}, author INTEGER);\n${lines.join("\n")}\n${encoding}` +
        `BEGIN; INSERT INTO ${table} VALUES ('undone', 1); ROLLBACK;`,
    );
    const waiting = server.handleSync({ known: { [key]: 0 }, wait: 20_000 });
    await run(`${encoding}INSERT INTO ${table} VALUES ('général', NULL);`);
    const { changed } = await soon(waiting, `a change by ${program}`);
    assert.equal(changed[key]?.deleted, undefined);
    assert.ok(changed[key]!.version > 0);
    assert.equal(await server.getNode(`${table}:undone`), null);
  } finally {
    await server.close();
    await storage.close?.();
  }
}

/** Returns the path of a program. */
function find(name: string, variable?: string): string {
  const path = variable && process.env[variable] || findProgram(name);
  assert.ok(path, `there is no ${name}`);
  return path;
}

test("a client that waits is told of a row that psql changes", () =>
  withFolder(async (folder) => {
    const address = addressOf("REALITY_TEST_POSTGRES");
    await testWriter(folder, {
      program: find("psql"),
      address,
      args: (file) => [address, "--no-psqlrc", "--quiet", "--set=ON_ERROR_STOP=1", `--file=${file}`],
      open: (tableName) => openPostgres(address, { tableName, outbox: true }),
    });
  }));

test("a client that waits is told of a row that mysql changes", () =>
  withFolder(async (folder) => {
    const address = addressOf("REALITY_TEST_MYSQL");
    const { hostname, port, username, pathname } = new URL(address);
    const pool = createPool({ uri: address, connectionLimit: 2 });
    try {
      await testWriter(folder, {
        program: find("mysql"),
        address,
        args: (file) => [
          ...["--no-defaults", `--host=${hostname}`, `--port=${port}`, `--user=${username}`],
          ...[pathname.slice(1), `--execute=source ${file}`],
        ],
        open: (tableName) =>
          new SQLStorage({
            query: async (sql, params) => (await pool.query(sql, params))[0] as object[],
            dialect: "mysql",
            tableName,
            outbox: true,
          }),
      });
    } finally {
      await pool.end();
    }
  }));

test("a client that waits is told of a row that sqlite3 changes", () =>
  withFolder(async (folder) => {
    const path = join(folder, "app.db");
    await testWriter(folder, {
      program: find("sqlite3", "REALITY_SQLITE3"),
      address: `sqlite:${path}`,
      args: (file) => ["-bail", path, `.read ${file}`],
      open: (tableName) => openSQLite(path, { tableName, outbox: true }),
    });
  }));

/** What makes a transaction with a driver, and fails it if `fault` is given. */
type Transact = (act: (query: OutboxQuery) => unknown, fault?: Error) => Promise<unknown>;

/** Writes to the outbox in a transaction that is committed, and in one that is rolled back. */
async function testDriver(storage: RealityStorage, transact: Transact): Promise<void> {
  const server = new RealityServer({ storage, onError: (error) => assert.fail(error) });
  try {
    assert.equal(await server.getNode("committed"), null);
    await transact((query) => server.updateIn(query, [{ key: "committed", hash: "1" }]));
    assert.equal((await server.getNode("committed"))?.hash, "1");
    const fault = new Error("the transaction fails");
    await assert.rejects(() => transact((query) => server.invalidateIn(query, ["undone"]), fault), fault);
    assert.equal(await server.getNode("undone"), null);
  } finally {
    await server.close();
    await storage.close?.();
  }
}

test("updateIn() writes to the outbox in transactions of pg and of postgres.js", async () => {
  const address = addressOf("REALITY_TEST_POSTGRES");
  const open = () => openPostgres(address, { tableName: newTableName(), outbox: true });
  const client = new pg.Client({ connectionString: address });
  await client.connect();
  await testDriver(open(), async (act, fault) => {
    await client.query("BEGIN");
    await act((text, params) => client.query(text, params));
    await client.query(fault ? "ROLLBACK" : "COMMIT");
    if (fault) throw fault;
  });
  await client.end();
  const sql = postgres(address, { max: 1 });
  await testDriver(open(), (act, fault) =>
    sql.begin(async (tx) => {
      await act((text, params) => tx.unsafe(text, params));
      if (fault) throw fault;
    }));
  await sql.end();
});

test("updateIn() writes to the outbox in transactions of mysql2", async () => {
  const pool = createPool({ uri: addressOf("REALITY_TEST_MYSQL"), connectionLimit: 2 });
  const connection = await pool.getConnection();
  const storage = new SQLStorage({
    query: async (sql, params) => (await pool.query(sql, params))[0] as object[],
    dialect: "mysql",
    tableName: newTableName(),
    outbox: true,
  });
  await testDriver(storage, async (act, fault) => {
    await connection.beginTransaction();
    await act((text, params) => connection.execute(text, params));
    await (fault ? connection.rollback() : connection.commit());
    if (fault) throw fault;
  });
  connection.release();
  await pool.end();
});
