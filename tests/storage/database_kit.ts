/**
 * What SQLStorage must do on any database server beside the contract: with tables, rights, locks and failures.
 *
 * @module
 */
import assert from "node:assert/strict";
import { nodesOf } from "../../storage/conformance/kit.ts";
import { type SQLDialectName, type SQLQuery, SQLStorage, type SQLStorageOptions } from "../../storage/sql.ts";
import type { SQLDialect, Statement } from "../../storage/sql_dialect.ts";
import { test } from "../harness.ts";
import { type Connected, type Driver, newTableName, rowsOf } from "./table_kit.ts";

/** A database server, and what the tests do to it. */
export interface DatabaseOptions {
  readonly name: string;
  readonly dialect: SQLDialectName;
  readonly driver: Driver;
  /** The statements for a table. */
  readonly statements: (tableName: string) => SQLDialect;
  /** A name in its quotation marks. */
  readonly quote: (name: string) => string;
  /** Begins a transaction on a connection of its own. */
  begin(): Promise<Transaction>;
  /** Ends all connections of a pool under it. */
  cut(pool: Connected): Promise<void>;
  /** Whether a statement that writes to the table waits for a lock. */
  isWaiting(tableName: string): Promise<boolean>;
  /** A driver that connects as somebody who has no right to anything. */
  stranger(): Promise<Stranger>;
  /** Drivers that give integers in other ways, or connect at another isolation level. */
  readonly others: readonly Driver[];
}

/** A transaction that the test holds open. */
export interface Transaction {
  run(statement: Statement): Promise<void>;
  end(how: "COMMIT" | "ROLLBACK"): Promise<void>;
}

/** Somebody who has no right to anything. */
export interface Stranger extends Driver {
  /** Lets them read and write a table. */
  admit(tableName: string): Promise<void>;
  /** Takes them away. */
  remove(): Promise<void>;
}

const change = (key: string, hash = "x") => ({ key, hash, updatedAt: 1 });

/** Registers the tests. */
export function testDatabase(options: DatabaseOptions): void {
  const { name, dialect, driver, quote } = options;
  const check = (title: string, use: (pool: Connected, tableName: string) => Promise<void>) => {
    test(`SQLStorage on ${name} ${title}`, () => withPool(driver, (pool) => use(pool, newTableName())));
  };
  const open = ({ query }: Connected, tableName: string, more: Partial<SQLStorageOptions> = {}) =>
    new SQLStorage({ query, dialect, tableName, counter: "sequential", ...more });

  check("is one storage when many make it at once", async (pool, tableName) => {
    await withPool(driver, async (second) => {
      const storages = Array.from({ length: 12 }, (_, i) => open(i % 2 ? pool : second, tableName));
      const identities = await Promise.all(storages.map((storage) => storage.getIdentity()));
      assert.equal(new Set(identities.map(({ epoch, origin }) => `${epoch} ${origin}`)).size, 1);
    });
  });

  check("names a table of another shape, and leaves it as it is", async (pool, tableName) => {
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

  check("says so where rights are missing, and needs none but to read and write", async (pool, tableName) => {
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

  check("begins a new life, with another epoch, when the table was emptied", async (pool, tableName) => {
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

  check("never goes below its nodes when only the counter was taken away", async (pool, tableName) => {
    const storage = open(pool, tableName);
    await storage.applyChanges([change("a"), change("b")]);
    await pool.query(`DELETE FROM ${quote(tableName)} WHERE node_key = ''`, []);
    assert.equal(await storage.getMaxVersion(), 2);
    assert.equal(await storage.incrementVersion("a"), 3);
    const node = { ...change("c"), version: 50, stamp: 60, origin: "other" };
    await storage.takeNodes([{ node, replaces: null }]);
    await pool.query(`DELETE FROM ${quote(tableName)} WHERE node_key = ''`, []);
    assert.equal(await storage.incrementVersion("a"), 61);
  });

  for (const end of ["COMMIT", "ROLLBACK"] as const) {
    check(
      `counts on from another's change that ends with ${end}, and shows nothing before`,
      async (pool, table) => {
        const storage = open(pool, table);
        await storage.applyChanges([change("a", "1")]);
        const other = await options.begin();
        const placed = { key: "a", offset: 1, hash: "2", updatedAt: 1, expiresAt: null };
        await other.run(
          options.statements(table).applyChanges([placed, { ...placed, key: "b", offset: 2 }], 0),
        );
        const own = storage.applyChanges([change("b", "3"), change("c", "3")]);
        const set = storage.setNode("a", { key: "a", version: 1, hash: "0", updatedAt: 0 });
        while (!await options.isWaiting(table)) await storage.isHealthy();
        // Readers do not wait, and see neither of the two.
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
      `takes and publishes by what is there once another's change ended with ${end}`,
      async (pool, table) => {
        const storage = open(pool, table);
        const { origin } = await storage.getIdentity();
        await storage.applyChanges([change("a", "1")]);
        const reserved = await storage.incrementVersion("late");
        const other = await options.begin();
        const placed = { key: "a", offset: 1, hash: "2", updatedAt: 1, expiresAt: null };
        await other.run(
          options.statements(table).applyChanges([placed, { ...placed, key: "b", offset: 2 }], 0),
        );
        const foreign = (key: string) => ({ ...change(key), version: 100, stamp: 100, origin: "other" });
        const taking = storage.takeNodes([
          { node: foreign("a"), replaces: { version: 1, origin } },
          { node: foreign("b"), replaces: null },
          { node: foreign("c"), replaces: null },
        ]);
        const setting = open(pool, table).setNode("late", { ...change("late"), version: reserved });
        while (!await options.isWaiting(table)) await storage.isHealthy();
        await other.end(end);
        const isKept = end === "COMMIT";
        const written = (await taking).map((meta) => meta?.version ?? null);
        assert.deepEqual(written, isKept ? [null, null, 100] : [100, 100, 100]);
        await setting;
        const nodes = await storage.readStamped(["a", "b", "c", "late"]);
        const found = ["a", "b", "c"].map((key) => [nodes.get(key)?.origin, nodes.get(key)?.stamp]);
        const theirs = ["other", 100];
        assert.deepEqual(found, isKept ? [[origin, 3], [origin, 4], theirs] : [theirs, theirs, theirs]);
        // Number 4 may be told as seen by now: what is published below it is told by a number above.
        const { version, stamp } = nodes.get("late")!;
        assert.equal(version, reserved);
        assert.ok(isKept ? stamp > 4 : stamp === reserved, `stamp ${stamp}`);
      },
    );
  }

  check("tells apart origins that differ in case", async (pool, tableName) => {
    const storage = open(pool, tableName);
    const origins = ["ox", "oX", "Ox"];
    const takes = origins.map((origin, i) => ({
      node: { ...change(`key:${i}`), version: i + 10, stamp: i + 10, origin },
      replaces: null,
    }));
    await storage.takeNodes(takes);
    const { epoch } = await storage.getIdentity();
    await storage.adoptSeen(new Map([["ox", 20], ["oX", 21]]), epoch);
    await storage.adoptSeen(new Map([["Ox", 22]]), epoch);
    const { seen } = await storage.readSeen();
    assert.deepEqual(origins.map((origin) => seen.get(origin)), [20, 21, 22]);
    const { nodes } = await storage.readDelta(new Map([["oX", 11]]), 10);
    assert.deepEqual(nodes.map(({ origin }) => origin).sort(), ["Ox", "ox"]);
    const replaces = { version: 10, origin: "OX" };
    assert.deepEqual(await storage.takeNodes([{ node: change("key:0"), replaces }]), [null]);
  });

  check("goes on after its connections were cut", async (pool, tableName) => {
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

  check("sweeps while others write, and forgets nothing but what expired", async (pool, tableName) => {
    let now = 1_700_000_000_000;
    const more = { tombstoneTimeout: 1000, now: () => now };
    const storage = open(pool, tableName, more);
    const keys = Array.from({ length: 40 }, (_, i) => `key:${i}`);
    for (let round = 0; round < 5; round++) {
      await storage.applyChanges(keys.map((key) => ({ key, hash: "", updatedAt: 1, deleted: true })));
      now += 1000;
      // Each of them sweeps, while others bring some of the nodes back.
      const others = Array.from({ length: 4 }, () => open(pool, tableName, more));
      const back = await Promise.all(
        others.map((other, i) => other.applyChanges([change(`key:${i + round}`)])),
      );
      const history = await storage.listChangedSince(0);
      assert.deepEqual(
        history.filter(({ deleted }) => !deleted),
        back.flat().sort((a, b) => a.version - b.version),
      );
      const { sweptVersion, maxVersion } = await storage.readNodes([]);
      assert.ok(sweptVersion >= 40 * (round + 1) && sweptVersion < maxVersion);
      await storage.applyChanges(keys.slice(0, 20).map((key) => change(key)));
    }
  });

  check("refuses what its query gives in place of rows, and says what is wanted", async (pool, tableName) => {
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
