import assert from "node:assert/strict";
import { type Connection, createConnection } from "mysql2/promise";
import { runTrack } from "../../../../cli/track/command.ts";
import { randomName } from "../../../../src/store/contract.ts";
import { test } from "../../../harness.ts";
import { addressOf } from "../../table_kit.ts";
import {
  takeKeys,
  testRandomChanges,
  testSameName,
  track as trackIn,
  type TrackedDatabase,
} from "./track_kit.ts";

const ADDRESS = addressOf("REALITY_TEST_MYSQL");

interface Scene {
  readonly db: TrackedDatabase;
  readonly run: TrackedDatabase["run"];
  /** The database's name. */
  readonly name: string;
  /** Tracks a table. */
  track(table: string, keys: readonly string[], when?: string): Promise<void>;
  /** Removes what is in the outbox and returns its keys, each once, in alphabetical order. */
  take(): Promise<string[]>;
}

/** Runs a test in a database of its own, with an outbox in it. */
async function withDatabase(test: (scene: Scene) => Promise<void>): Promise<void> {
  const name = `track_${randomName(8)}`;
  const connection = await createConnection({ uri: ADDRESS });
  const run = runOn(connection);
  const quote = (name: string) => `\`${name.replaceAll("`", "``")}\``;
  const db: TrackedDatabase = {
    dialect: "mysql",
    run,
    quote,
    textTypes: ["bin", "general_ci"].map((name) =>
      `VARCHAR(80) CHARACTER SET utf8mb4 COLLATE utf8mb4_${name}`
    ),
    oncePerStatement: false,
    createOutbox: (name) => [
      `CREATE TABLE ${name} (id BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY, \`key\` VARCHAR(600)) ` +
      `ENGINE = InnoDB CHARACTER SET utf8mb4 COLLATE utf8mb4_bin`,
    ],
    upsert: (insert, _id, columns) =>
      `${insert} ON DUPLICATE KEY UPDATE ${columns.map(quote).map((name) => `${name} = VALUES(${name})`)}`,
  };
  try {
    await run(`CREATE DATABASE ${name} CHARACTER SET latin1`);
    await run(`USE ${name}`);
    for (const statement of db.createOutbox("reality_outbox")) await run(statement);
    await test({
      db,
      run,
      name,
      track: (table, keys, when) => trackIn(db, table, keys, when),
      take: async () => [...new Set(await takeKeys(db))].sort(),
    });
  } finally {
    await run(`DROP DATABASE ${name}`);
    await connection.end();
  }
}

function runOn(connection: Connection): TrackedDatabase["run"] {
  return async (sql) => {
    const [rows] = await connection.query(sql);
    return Array.isArray(rows) ? rows as Record<string, unknown>[] : [];
  };
}

test("trackTable() on MariaDB writes the keys of changed rows, and none of a transaction that was rolled back", () =>
  withDatabase(({ db }) => testRandomChanges(db, 3)));

test("trackTable() on MariaDB tells trackings of the same name apart by their tables", () =>
  withDatabase(({ db }) => testSameName(db)));

test("trackTable() on MariaDB writes keys in UTF-8 from columns of any character set, and compares them as bytes", () =>
  withDatabase(async ({ run, track, take }) => {
    await run(
      "CREATE TABLE t (id INT, a VARCHAR(20) CHARACTER SET latin1 COLLATE latin1_swedish_ci, b CHAR(9), n DECIMAL(5, 2), d DATETIME)",
    );
    await track("t", ["é:{a}", "{a}{b}", "n:{n}", "d:{d}"]);
    await run("INSERT INTO t VALUES (1, 'é', 'x', 1.5, '2026-11-28 12:00:00')");
    assert.deepEqual(await take(), ["d:2026-11-28 12:00:00", "n:1.50", "é:é", "éx"]);
    for (const [name, key] of [["É", "é:É"], ["É ", "é:É "], ["e", "é:e"]]) {
      await run(`UPDATE t SET a = '${name}'`);
      assert.ok((await take()).includes(key!), key);
    }
  }));

test("trackTable() on MariaDB makes the same keys in every SQL mode and character set of a connection", () =>
  withDatabase(async ({ run, track, take }) => {
    await run('CREATE TABLE t (id INT, `it\'s \\ "x"` INT)');
    const key = `it's \\ "é"; -- :`;
    for (
      const mode of [
        "",
        "ANSI_QUOTES",
        "NO_BACKSLASH_ESCAPES",
        "ANSI_QUOTES,NO_BACKSLASH_ESCAPES,PIPES_AS_CONCAT",
      ]
    ) {
      await run(`SET sql_mode = '${mode}'`);
      await track("t", [`${key}{it's \\ "x"}`]);
      await run("SET sql_mode = DEFAULT");
      await run("INSERT INTO t VALUES (1, 2)");
      assert.deepEqual(await take(), [`${key}2`]);
    }
    await run("SET NAMES latin1");
    await track("t", ["é", "~{id}"]);
    await run("INSERT INTO t VALUES (1, 2)");
    await run("SET NAMES utf8mb4");
    assert.deepEqual(await take(), ["~1", "é"]);
  }));

test("trackTable() on MariaDB sees REPLACE and upserts, and not the rows that a foreign key or TRUNCATE changes", () =>
  withDatabase(async ({ run, track, take }) => {
    await run("CREATE TABLE parent (id INT PRIMARY KEY)");
    await run(
      "CREATE TABLE t (id INT PRIMARY KEY, room INT, FOREIGN KEY (room) REFERENCES parent (id) ON DELETE CASCADE)",
    );
    await track("t", ["chat:{room}"]);
    await run("INSERT INTO parent VALUES (1), (2), (3)");
    await run("INSERT INTO t VALUES (1, 1), (2, 2)");
    assert.deepEqual(await take(), ["chat:1", "chat:2"]);
    await run("REPLACE INTO t VALUES (1, 3)");
    assert.deepEqual(await take(), ["chat:1", "chat:3"]);
    await run("INSERT INTO t VALUES (1, 2) ON DUPLICATE KEY UPDATE room = 2");
    assert.deepEqual(await take(), ["chat:2", "chat:3"]);
    await run("DELETE FROM parent WHERE id = 2");
    assert.deepEqual(await take(), []);
    await run("TRUNCATE t");
    assert.deepEqual(await take(), []);
  }));

test("trackTable() on MariaDB needs no right of the writer on the outbox", () =>
  withDatabase(async ({ run, name, track, take }) => {
    const user = `w_${randomName(8)}`;
    await run("CREATE TABLE t (room INT)");
    await track("t", ["chat:{room}"]);
    await run(`CREATE USER ${user}@'%' IDENTIFIED BY 'w'`);
    await run(`GRANT INSERT ON ${name}.t TO ${user}@'%'`);
    const { hostname: host, port } = new URL(ADDRESS);
    const writer = await createConnection({ host, port: Number(port), user, password: "w", database: name });
    try {
      await writer.query("INSERT INTO t VALUES (1)");
      await assert.rejects(() => writer.query("INSERT INTO reality_outbox (`key`) VALUES ('a')"), /denied/);
    } finally {
      await writer.end();
      await run(`DROP USER ${user}@'%'`);
    }
    assert.deepEqual(await take(), ["chat:1"]);
  }));

test("trackTable() on MariaDB makes no writer wait for another one", () =>
  withDatabase(async ({ run, name, track, take }) => {
    await run("CREATE TABLE t (id INT PRIMARY KEY, room INT)");
    await run("INSERT INTO t VALUES (1, 1), (2, 2), (3, 3)");
    await track("t", ["chat:{room}"]);
    const [first, second] = await Promise.all(
      [1, 2].map(() => createConnection({ uri: ADDRESS, database: name })),
    );
    try {
      const [one, two] = [runOn(first!), runOn(second!)];
      await two("SET innodb_lock_wait_timeout = 1");
      // The first statement waits for the row that the second connection has locked, after it has written to the outbox.
      await two("BEGIN");
      await two("SELECT * FROM t WHERE id = 3 FOR UPDATE");
      const slow = one("UPDATE t SET room = room + 10 WHERE id <= 3");
      const waiting =
        "SELECT 1 FROM information_schema.innodb_trx WHERE trx_state = 'LOCK WAIT' AND trx_query LIKE 'UPDATE t SET%'";
      // MariaDB renews what it answers here only after a pause of 100 ms.
      while ((await run(waiting)).length === 0) await new Promise((resolve) => setTimeout(resolve, 120));
      await two("INSERT INTO t VALUES (4, 4)");
      await two("COMMIT");
      await slow;
    } finally {
      await Promise.all([first!.end(), second!.end()]);
    }
    assert.deepEqual(await take(), ["chat:1", "chat:11", "chat:12", "chat:13", "chat:2", "chat:3", "chat:4"]);
  }));

test("trackTable() on MariaDB changes nothing when a column or a table does not exist, or the table is a view", () =>
  withDatabase(async ({ run, track, take }) => {
    await run("CREATE TABLE t (room INT)");
    await run("CREATE VIEW v AS SELECT * FROM t");
    await track("t", ["old:{room}"]);
    await assert.rejects(() => track("t", ["chat:{nope}"]), /Unknown column 'reality_row\.nope'/);
    await assert.rejects(() => track("t", ["a"], "{nope} = 1"), /Unknown column 'reality_row\.nope'/);
    await assert.rejects(() => track("nope", ["a"]), /'\w+\.nope' doesn't exist/);
    await assert.rejects(() => track("v", ["chat:{room}"]), /is not (of type )?'?BASE TABLE/i);
    await run("INSERT INTO t VALUES (1)");
    assert.deepEqual(await take(), ["old:1"]);
  }));

test("trackTable() on MariaDB lets a write pass whose text is too long for a key", () =>
  withDatabase(async ({ run, track, take }) => {
    await run("CREATE TABLE t (a LONGTEXT CHARACTER SET utf8mb4)");
    await track("t", ["{a}"]);
    await run(`INSERT INTO t VALUES ('${"é".repeat(100_000)}')`);
    assert.deepEqual(await take(), ["é".repeat(513)]);
  }));

/** Runs the command with `--apply` on a database, and returns what it prints. */
async function applyTo(name: string, table: string, key: string): Promise<string> {
  const url = new URL(ADDRESS);
  url.pathname = name;
  const lines: string[] = [];
  const print = (line: string) => void lines.push(line);
  await runTrack("track", [url.href, "--table", table, "--keys", key, "--apply"], {
    log: print,
    error: print,
  });
  return lines.join("\n");
}

test("track --apply on MariaDB refuses columns whose text depends on the writer, and tables without transactions", () =>
  withDatabase(async ({ run, name, take }) => {
    await run("CREATE TABLE t (room INT, at TIMESTAMP, code VARBINARY(9)) ENGINE = InnoDB");
    await run("CREATE TABLE p (room INT) ENGINE = InnoDB PARTITION BY HASH (room) PARTITIONS 2");
    await run("CREATE TABLE old (room INT) ENGINE = MyISAM");
    const apply = (table: string, key: string) => applyTo(name, table, key);
    assert.match(await apply("t", "{at}"), /the column "at" has the type timestamp, whose text depends/);
    assert.match(await apply("t", "{code}"), /the column "code" has the type varbinary, whose text depends/);
    assert.match(await apply("old", "{room}"), /"old" has the engine MyISAM, which has no transactions: /);
    for (const table of ["t", "p"]) assert.equal(await apply(table, "chat:{room}"), `Tracked: ${table}`);
    await run("INSERT INTO t (room) VALUES (1)");
    await run("INSERT INTO p VALUES (2)");
    await run("INSERT INTO old VALUES (3)");
    assert.deepEqual(await take(), ["chat:1", "chat:2"]);
  }));

test("track --apply on MariaDB names the foreign keys that change rows without triggers", () =>
  withDatabase(async ({ run, name }) => {
    await run("CREATE TABLE parent (id INT PRIMARY KEY)");
    await run("CREATE TABLE kept (id INT PRIMARY KEY, room INT, FOREIGN KEY (room) REFERENCES parent (id))");
    await run(
      "CREATE TABLE child (room INT, other INT, CONSTRAINT gone FOREIGN KEY (room) REFERENCES parent (id) ON DELETE CASCADE, " +
        "CONSTRAINT moved FOREIGN KEY (other) REFERENCES kept (id) ON DELETE SET NULL ON UPDATE CASCADE)",
    );
    for (const table of ["parent", "kept"]) {
      assert.equal(await applyTo(name, table, "{id}"), `Tracked: ${table}`);
    }
    assert.equal(
      await applyTo(name, "child", "{room}"),
      "Tracked: child\n" +
        "Not told: what the foreign key gone (ON DELETE CASCADE) changes, since MySQL runs no triggers for it\n" +
        "Not told: what the foreign key moved (ON DELETE SET NULL, ON UPDATE CASCADE) changes, since MySQL runs no triggers for it",
    );
  }));
