/**
 * What SQLStorage must do on any database server besides the contract: tables, permissions, locks and failures.
 *
 * @module
 */
import assert from "node:assert/strict";
import { nodesOf } from "../../storage/conformance/kit.ts";
import {
  type SQLDialectName,
  type SQLQuery,
  SQLStorage,
  type SQLStorageOptions,
} from "../../storage/sql/sql_storage.ts";
import type { SQLDialect, Statement } from "../../storage/sql/dialect.ts";
import { test } from "../harness.ts";
import { type Connected, type Driver, newTableName, rowsOf } from "./table_kit.ts";

/** A database server, and what the tests need of it. */
export interface DatabaseOptions {
  readonly name: string;
  readonly dialect: SQLDialectName;
  readonly driver: Driver;
  /** The statements for a table. */
  readonly statements: (tableName: string, isTimed?: boolean) => SQLDialect;
  /** The error of a database that rolled back a whole transaction. */
  readonly undone: { readonly code: string; readonly errno?: number };
  /** A name in its quotation marks. */
  readonly quote: (name: string) => string;
  /** Begins a transaction on a connection of its own. */
  begin(): Promise<Transaction>;
  /** Ends all connections of a pool under it. */
  cut(pool: Connected): Promise<void>;
  /** Explains a statement: the indexes that it uses, and the number of rows that it reads through each. */
  explain(pool: Connected, statement: Statement): Promise<readonly Use[]>;
  /** Whether a statement that writes to the table waits for a lock. */
  isWaiting(tableName: string): Promise<boolean>;
  /** A driver that connects as a user without permissions. */
  stranger(): Promise<Stranger>;
  /** Drivers that give integers in other ways, or connect at another isolation level. */
  readonly others: readonly Driver[];
}

/** How a part of a statement reads its rows. */
export interface Use {
  readonly index: string;
  readonly rows: number;
}

/** A transaction that the test holds open. */
export interface Transaction {
  run(statement: Statement): Promise<void>;
  /** Runs a statement, and returns its result as a storage expects it. */
  readonly query: SQLQuery;
  end(how: "COMMIT" | "ROLLBACK"): Promise<void>;
}

/** A user without permissions. */
export interface Stranger extends Driver {
  /** Permits the user to read and write a table. */
  admit(tableName: string): Promise<void>;
  /** Removes the user. */
  remove(): Promise<void>;
}

const change = (key: string, hash = "x") => ({ key, hash, updatedAt: 1 });

/** Registers the tests. */
export function testDatabase(options: DatabaseOptions): void {
  const { name, dialect, driver, quote } = options;
  const check = (title: string, use: (pool: Connected, tableName: string) => Promise<void>) => {
    test(`SQLStorage on ${name} ${title}`, () =>
      withPool(driver, async (pool) => {
        try {
          await use(pool, newTableName());
        } finally {
          // One of them may be collecting tombstones.
          for (const storage of opened.splice(0)) await storage.close();
        }
      }));
  };
  const opened: SQLStorage[] = [];
  const open = ({ query }: Connected, tableName: string, more: Partial<SQLStorageOptions> = {}) => {
    const storage = new SQLStorage({ query, dialect, tableName, counter: "sequential", ...more });
    opened.push(storage);
    return storage;
  };

  check("has one identity when many processes create its table at the same time", async (pool, tableName) => {
    await withPool(driver, async (second) => {
      const storages = Array.from({ length: 12 }, (_, i) => open(i % 2 ? pool : second, tableName));
      const identities = await Promise.all(storages.map((storage) => storage.getIdentity()));
      assert.equal(new Set(identities.map(({ epoch, replicaId }) => `${epoch} ${replicaId}`)).size, 1);
    });
  });

  check("sets rows of the outbox aside whose ids were given again", async (pool, tableName) => {
    const storage = open(pool, tableName, { outbox: true });
    await storage.getMaxVersion();
    const outbox = storage.outbox!;
    const { text, params } = outbox.insertion([{ key: "a", hash: "" }, { key: "a", hash: "" }]);
    for (let count = 2; count <= 6; count += 2) {
      await pool.query(text, params);
      const table = quote(`${tableName}_outbox`);
      for (const id of [1, 2]) {
        const last = `(SELECT last FROM (SELECT max(id) AS last FROM ${table}) AS ids)`;
        await pool.query(`UPDATE ${table} SET id = ${id} WHERE id = ${last} AND id > 2`, []);
      }
      await outbox.setAside(await outbox.readRows(9, 9));
      assert.deepEqual(await outbox.summarize(9), { pending: 0, oldestAge: 0, setAside: count });
    }
  });

  check("reports a table with other columns, and does not change it", async (pool, tableName) => {
    await pool.query(`CREATE TABLE ${quote(tableName)} (${quote("key")} VARCHAR(100), version INTEGER)`, []);
    const message = new RegExp(
      `table "${tableName}" has another shape: it lacks node_key, .* and has key, version;`,
    );
    await assert.rejects(open(pool, tableName).getNode("a"), { code: "ERR_REALITY_STORAGE", message });
    assert.equal(await open(pool, tableName).isHealthy(), false);
    assert.deepEqual(await rowsOf(pool, `SELECT * FROM ${quote(tableName)}`), []);
  });

  check("with createTables: false needs the table that schema makes", async (pool, tableName) => {
    const storage = open(pool, tableName, { createTables: false });
    await assert.rejects(storage.getMaxVersion(), /is not there: make it from storage\.schema/);
    for (let time = 0; time < 2; time++) {
      for (const statement of storage.schema.split(";\n").filter(Boolean)) await pool.query(statement, []);
    }
    assert.equal(await storage.getMaxVersion(), 0);
  });

  check("reports missing permissions, and needs only those to read and write", async (pool, tableName) => {
    const stranger = await options.stranger();
    try {
      await withPool(stranger, async (theirs) => {
        const storage = open(theirs, tableName);
        const denied = { code: "ERR_REALITY_STORAGE", message: /denied/ };
        await assert.rejects(storage.getNode("a"), denied);
        await open(pool, tableName).applyChanges([change("a")]);
        await assert.rejects(storage.applyChanges([change("a")]), denied);
        assert.equal(await storage.isHealthy(), false);
        await stranger.admit(tableName);
        assert.equal((await storage.applyChanges([change("a")]))[0]?.version, 2);
        assert.equal(await storage.isHealthy(), true);
      });
    } finally {
      await stranger.remove();
    }
  });

  check("has another epoch and a new counter after the table was emptied", async (pool, tableName) => {
    const storage = open(pool, tableName);
    const epochs = new Set<string>();
    for (
      const statement of ["SELECT 1", `DELETE FROM ${quote(tableName)}`, `TRUNCATE TABLE ${quote(tableName)}`]
    ) {
      await pool.query(statement, []);
      const [meta] = await storage.applyChanges([change("a")]);
      assert.equal(meta?.version, 1);
      epochs.add((await storage.getIdentity()).epoch);
    }
    assert.equal(epochs.size, 3);
  });

  check("counts above its nodes after only the counter was deleted", async (pool, tableName) => {
    const storage = open(pool, tableName);
    await storage.applyChanges([change("a"), change("b")]);
    await pool.query(`DELETE FROM ${quote(tableName)} WHERE node_key = ''`, []);
    assert.equal(await storage.getMaxVersion(), 2);
    assert.equal(await storage.incrementVersion("a"), 3);
    const node = { ...change("c"), version: 50, dotVersion: 60, replicaId: "other" };
    await storage.mergeNodes([{ node, replaces: null }]);
    await pool.query(`DELETE FROM ${quote(tableName)} WHERE node_key = ''`, []);
    assert.equal(await storage.incrementVersion("a"), 61);
  });

  for (const end of ["COMMIT", "ROLLBACK"] as const) {
    check(
      `counts on after a change of another process that ends with ${end}, and shows nothing before`,
      async (pool, table) => {
        const storage = open(pool, table);
        await storage.applyChanges([change("a", "1")]);
        const other = await options.begin();
        const placed = { key: "a", offset: 1, hash: "2", updatedAt: 1, expiresAt: null };
        await other.run(
          options.statements(table).applyChanges([placed, { ...placed, key: "b", offset: 2 }], {
            floor: 0,
            step: 1,
          }),
        );
        const own = storage.applyChanges([change("b", "3"), change("c", "3")]);
        const set = storage.setNode("a", { key: "a", version: 1, hash: "0", updatedAt: 0 });
        while (!await options.isWaiting(table)) await storage.isHealthy();
        // Readers do not wait, and do not see either change.
        const before = await storage.readNodes(["a", "b", "c"]);
        assert.deepEqual([before.maxVersion, [...nodesOf(before, ["a", "b", "c"]).keys()]], [1, ["a"]]);
        await other.end(end);
        const base = end === "COMMIT" ? 3 : 1;
        assert.deepEqual((await own).map(({ version }) => version), [base + 1, base + 2]);
        await set;
        const history = (await storage.listChangedSince(0)).map((
          { key, version, hash },
        ) => [key, version, hash]);
        const a = end === "COMMIT" ? ["a", 2, "2"] : ["a", 1, "1"];
        assert.deepEqual(history, [a, ["b", base + 1, "3"], ["c", base + 2, "3"]]);
      },
    );
  }

  for (const end of ["COMMIT", "ROLLBACK"] as const) {
    check(
      `compares a merge with the nodes stored after a change of another process that ends with ${end}`,
      async (pool, table) => {
        const storage = open(pool, table);
        const { replicaId } = await storage.getIdentity();
        await storage.applyChanges([change("a", "1")]);
        const reserved = await storage.incrementVersion("late");
        const other = await options.begin();
        const placed = { key: "a", offset: 1, hash: "2", updatedAt: 1, expiresAt: null };
        await other.run(
          options.statements(table).applyChanges([placed, { ...placed, key: "b", offset: 2 }], {
            floor: 0,
            step: 1,
          }),
        );
        const foreign = (key: string) => ({
          ...change(key),
          version: 100,
          dotVersion: 100,
          replicaId: "other",
        });
        const merging = storage.mergeNodes([
          { node: foreign("a"), replaces: { version: 1, replicaId } },
          { node: foreign("b"), replaces: null },
          { node: foreign("c"), replaces: null },
        ]);
        const setting = open(pool, table).setNode("late", { ...change("late"), version: reserved });
        while (!await options.isWaiting(table)) await storage.isHealthy();
        await other.end(end);
        const isKept = end === "COMMIT";
        const written = (await merging).map((meta) => meta?.version ?? null);
        assert.deepEqual(written, isKept ? [null, null, 100] : [100, 100, 100]);
        await setting;
        const nodes = await storage.readReplicated(["a", "b", "c", "late"]);
        const found = ["a", "b", "c"].map((key) => [nodes.get(key)?.replicaId, nodes.get(key)?.dotVersion]);
        const theirs = ["other", 100];
        assert.deepEqual(found, isKept ? [[replicaId, 3], [replicaId, 4], theirs] : [theirs, theirs, theirs]);
        // A version vector may include number 4 by now, so a node published below it gets a dot above it.
        const { version, dotVersion } = nodes.get("late")!;
        assert.equal(version, reserved);
        assert.ok(isKept ? dotVersion > 4 : dotVersion === reserved, `dot ${dotVersion}`);
      },
    );
  }

  check("distinguishes replica ids that differ in case", async (pool, tableName) => {
    const storage = open(pool, tableName);
    const replicaIds = ["ox", "oX", "Ox"];
    const merges = replicaIds.map((origin, i) => ({
      node: { ...change(`key:${i}`), version: i + 10, dotVersion: i + 10, replicaId: origin },
      replaces: null,
    }));
    await storage.mergeNodes(merges);
    const { epoch } = await storage.getIdentity();
    await storage.adoptVector(new Map([["ox", 20], ["oX", 21]]), epoch);
    await storage.adoptVector(new Map([["Ox", 22]]), epoch);
    const { vector } = await storage.readReplicaState();
    assert.deepEqual(replicaIds.map((origin) => vector.get(origin)), [20, 21, 22]);
    const { nodes } = await storage.readDelta(new Map([["oX", 11]]), 10);
    assert.deepEqual(nodes.map(({ replicaId }) => replicaId).sort(), ["Ox", "ox"]);
    const replaces = { version: 10, replicaId: "OX" };
    assert.deepEqual(await storage.mergeNodes([{ node: change("key:0"), replaces }]), [null]);
  });

  check("works again after its connections were cut", async (pool, tableName) => {
    const storage = open(pool, tableName);
    await storage.applyChanges([change("a")]);
    await options.cut(pool);
    // A driver may notice at the next statement only, on each of its connections.
    const beginning = performance.now();
    while (!await storage.isHealthy()) assert.ok(performance.now() - beginning < 10_000);
    await Promise.allSettled([1, 2, 3].map(() => storage.getMaxVersion()));
    assert.deepEqual((await storage.listChangedSince(0)).map(({ key }) => key), ["a"]);
    assert.equal((await storage.applyChanges([change("b")]))[0]?.version, 2);
  });

  check("collects while others write, and collects only what expired", async (pool, tableName) => {
    let now = 1_700_000_000_000;
    const more = { tombstoneTimeout: 1000, now: () => now };
    const storage = open(pool, tableName, more);
    const keys = Array.from({ length: 40 }, (_, i) => `key:${i}`);
    const others = Array.from({ length: 4 }, () => open(pool, tableName, more));
    for (const other of others) await other.applyChanges([change("other")]);
    for (let round = 0; round < 5; round++) {
      await storage.applyChanges(keys.map((key) => ({ key, hash: "", updatedAt: 1, deleted: true })));
      now += 1000;
      // Each of them collects, while others write some of the nodes again.
      const back = await Promise.all(
        others.map((other, i) => other.applyChanges([change(`key:${i + round}`)])),
      );
      let history = await storage.listChangedSince(4);
      while (history.some(({ deleted }) => deleted)) history = await storage.listChangedSince(4);
      assert.deepEqual(history, back.flat().sort((a, b) => a.version - b.version));
      const { collectedVersion, maxVersion } = await storage.readNodes([]);
      assert.ok(collectedVersion >= 40 * (round + 1) && collectedVersion < maxVersion);
      await storage.applyChanges(keys.slice(0, 20).map((key) => change(key)));
    }
  });

  check("collects a backlog in steps that read from an index", async (pool, tableName) => {
    const more = { tombstoneTimeout: 1000, now: () => 1_700_000_000_000 };
    const storage = open(pool, tableName, more);
    for (let batch = 0; batch < 6; batch++) {
      const keys = Array.from({ length: 1000 }, (_, i) => `key:${i}:${batch}`);
      const deleted = batch < 4;
      await storage.applyChanges(keys.map((key) => ({ ...change(key), ...(deleted ? { deleted } : {}) })));
    }
    await pool.query(`UPDATE ${quote(tableName)} SET expires_at = version WHERE expires_at IS NOT NULL`, []);
    await pool.query(`ANALYZE ${dialect === "mysql" ? "TABLE " : ""}${quote(tableName)}`, []);
    await pool.query(`UPDATE ${quote(tableName)} SET swept_version = 6000 WHERE node_key = ''`, []);
    const statements = options.statements(tableName);
    for (
      const statement of [
        options.statements(tableName, true).findExpired(5000),
        statements.findExpired(0),
        statements.collect(500, [[null, 500]]),
      ]
    ) {
      const uses = await options.explain(pool, statement);
      const found = uses.filter(({ index }) => index.endsWith("expires_at"));
      assert.ok(found.length > 0, JSON.stringify(uses));
      assert.ok(uses.every(({ rows }) => rows <= 1000), JSON.stringify(uses));
    }
    const left = await rowsOf(pool, `SELECT 1 FROM ${quote(tableName)} WHERE expires_at IS NOT NULL`);
    assert.equal(left.length, 3500);
  });

  check("measures the age of tombstones by the database's clock alone", async (pool, tableName) => {
    const { now } = Date;
    const day = 86_400_000;
    let ahead = 0;
    Date.now = () => now() + ahead;
    try {
      const deletion = (key: string) => ({ ...change(key), deleted: true as const });
      const gone = open(pool, tableName, { tombstoneTimeout: 1 });
      await gone.getMaxVersion();
      let last = 0;
      for (ahead of [-day * 1.5, 0, day * 1.5]) {
        const storage = open(pool, tableName, { counter: "clock" });
        await storage.applyChanges([deletion(`one:${ahead}`)]);
        await storage.applyChanges([deletion(`some:${ahead}`), deletion(`more:${ahead}`)]);
        last = await storage.getMaxVersion();
        const node = {
          ...deletion(`taken:${ahead}`),
          version: last + 5,
          dotVersion: last + 6,
          replicaId: "other",
        };
        await storage.mergeNodes([{ node, replaces: null }]);
        const version = await storage.incrementVersion("set");
        await storage.setNode(`set:${ahead}`, { ...deletion(`set:${ahead}`), version });
      }
      const rows = await rowsOf(pool, `SELECT expires_at FROM ${quote(tableName)} WHERE expires_at > 0`);
      assert.equal(rows.length, 15);
      for (const { expires_at: until } of rows) {
        assert.ok(Math.abs(Number(until) - now() - day) < 60_000, `until ${until}`);
      }
      // Its clock is more than a day ahead of the others. It collects after a millisecond.
      await gone.applyChanges([deletion("gone")]);
      await new Promise((resolve) => setTimeout(resolve, 5));
      await gone.applyChanges([change("a")]);
      const isThere = async () => (await gone.readReplicated(["gone"])).size > 0;
      while (await isThere()) await gone.applyChanges([change("a")]);
      assert.equal((await gone.listChangedSince(0)).filter(({ deleted }) => deleted).length, 15);
    } finally {
      Date.now = now;
    }
  });

  check(
    "writes in the application's transaction, while others collect",
    async (pool, tableName) => {
      let now = 1_700_000_000_000;
      const more = { tombstoneTimeout: 1000, now: () => now };
      const storage = open(pool, tableName, more);
      await storage.applyChanges([{ ...change("gone"), deleted: true }, change("a")]);
      const transaction = await options.begin();
      // The transaction reads this state from here on.
      await transaction.query(`SELECT version FROM ${quote(tableName)}`, []);
      now += 1000;
      await storage.applyChanges([change("b")]);
      while ((await storage.readReplicated(["gone"])).size > 0);
      const inside = open({ query: transaction.query, end: () => pool.end() }, tableName, {
        ...more,
        inTransaction: true,
      });
      for (let i = 0; i < 2; i++) {
        const [meta] = await inside.applyChanges([change("gone", `${i}`)]);
        assert.equal(meta?.version, 4 + i);
        now += 60_000;
      }
      assert.equal(await storage.getNode("gone"), null);
      await transaction.end("COMMIT");
      assert.deepEqual(await storage.getNode("gone"), { ...change("gone", "1"), version: 5 });
    },
  );

  check(
    "in a transaction rejects with the error that rolled it back, and sends nothing again",
    async (pool, tableName) => {
      const storage = open(pool, tableName);
      await storage.applyChanges([change("a")]);
      const transaction = await options.begin();
      const sent: string[] = [];
      const query: SQLQuery = (sql, params) => {
        sent.push(sql);
        if (/^(WITH|INSERT)/.test(sql)) throw Object.assign(new Error("undone"), options.undone);
        return transaction.query(sql, params);
      };
      const inside = open({ query, end: () => pool.end() }, tableName, { inTransaction: true });
      await assert.rejects(
        inside.applyChanges([change("a")]),
        ({ cause }: Error) => (cause as { code?: unknown }).code === options.undone.code,
      );
      assert.equal(sent.filter((sql) => /^(WITH|INSERT)/.test(sql)).length, 1);
      await transaction.end("ROLLBACK");
      assert.equal((await storage.applyChanges([change("a")]))[0]?.version, 2);
    },
  );

  check("refuses a result that is no list of rows, and says what is expected", async (pool, tableName) => {
    const query: SQLQuery = async (sql, params) => [await pool.query(sql, params), []];
    const message = /option "query" must give an array of rows, and gave an array of something else/;
    await assert.rejects(open({ query, end: () => pool.end() }, tableName).getNode("a"), { message });
  });

  for (const other of options.others) {
    test(`SQLStorage on ${name} through ${other.name} counts exactly`, () =>
      withPool(other, async (pool) => {
        const tableName = newTableName();
        const storage = open(pool, tableName);
        const large = Number.MAX_SAFE_INTEGER - 1_000_000;
        await storage.setNode("large", { key: "large", version: large, hash: "", updatedAt: 1 });
        const writers = ["a", "b", "c", "d"].map(async (writer) => {
          const metas = [];
          for (let i = 0; i < 10; i++) {
            metas.push(
              ...await open(pool, tableName).applyChanges([change(`${writer}:${i}`), change("shared")]),
            );
          }
          return metas;
        });
        const metas = (await Promise.all(writers)).flat();
        const versions = metas.map(({ version }) => version).sort((a, b) => a - b);
        assert.deepEqual(versions, Array.from({ length: 80 }, (_, i) => large + 1 + i));
        assert.equal(await storage.incrementVersion("a"), large + 81);
        assert.equal((await storage.listChangedSince(large)).length, 41);
        assert.equal((await storage.readChanges(large + 79, 10)).maxVersion, large + 80);
      }));
  }
}

async function withPool(driver: Driver, use: (pool: Connected) => Promise<void>): Promise<void> {
  const pool = await driver.connect();
  try {
    await use(pool);
  } finally {
    await pool.end();
  }
}
