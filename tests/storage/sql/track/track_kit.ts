/**
 * Random changes of a tracked table, compared with a model that knows which keys they must write to the outbox.
 *
 * @module
 */
import assert from "node:assert/strict";
import {
  type SQLDialectName,
  type TrackOptions,
  trackTable,
  untrackTable,
} from "../../../../storage/sql/track/track_table.ts";
import { SeededRandom } from "../../../random.ts";

/** A connection to the database, on which transactions can be made. */
export interface TrackedDatabase {
  readonly dialect: SQLDialectName;
  /** Runs a statement and returns its rows, if it has any. */
  run(sql: string): Promise<readonly Readonly<Record<string, unknown>>[]>;
  /** Puts a name into quotes. */
  quote(name: string): string;
  /** Types of columns for texts, among them one that takes small and capital letters for the same. */
  readonly textTypes: readonly string[];
  /** Whether each statement writes a key once, however many rows it changes. */
  readonly oncePerStatement: boolean;
  /** The statements that create an outbox. */
  createOutbox(name: string): readonly string[];
  /** An INSERT that replaces the columns of rows that are there. */
  upsert(insert: string, id: string, columns: readonly string[]): string;
}

interface Row {
  readonly room: string | null;
  readonly author: number | null;
  readonly hidden: number;
}

/** Names and texts that break SQL which is not quoted properly. */
const HOSTILE = [
  ...[
    "Select",
    "order",
    "MixedCase",
    "with space",
    'dou"ble',
    "sin'gle",
    "back`tick",
    "back\\slash",
    "ünïcødé",
    "日本",
  ],
  ...[
    "$reality$",
    "--",
    "/* x",
    ";",
    "a.b",
    ":name",
    "%s",
    "?",
    "$1",
    "new_rows",
    "key",
    "tg_op",
    // With the longest name of a history it fits into the 63 bytes that PostgreSQL takes.
    "x".repeat(54),
  ],
];
const TEXTS = [...HOSTILE, "", " ", "A", "a", "ß", "e\u0301", "\u00e9", "tab"];

/**
 * Makes random changes in random transactions. After each, the outbox must have the keys of the model.
 *
 * @param db The connection.
 * @param rounds How many tables are tracked.
 */
export async function testRandomChanges(db: TrackedDatabase, rounds: number): Promise<void> {
  const seed = Math.floor(Math.random() * 1e9);
  console.log(`track: seed ${seed} on ${db.dialect}`);
  for (let round = 0; round < rounds; round++) {
    try {
      await new History(db, new SeededRandom(seed).fork(round), `${seed % 1e5}_${round}`).play();
    } catch (error) {
      throw new Error(`seed ${seed}, round ${round}`, { cause: error });
    }
  }
}

/** Installs the triggers of a table. */
export async function track(
  { dialect, run }: TrackedDatabase,
  table: string,
  keys: readonly string[],
  when?: string,
  more: Partial<TrackOptions> = {},
): Promise<void> {
  const options = { dialect, table, keys, ...(when === undefined ? {} : { when }), ...more };
  for (const statement of trackTable(options)) await run(statement);
}

/** Removes what is in the outbox and returns its keys in order. */
export async function takeKeys(db: TrackedDatabase, outbox: string = "reality_outbox"): Promise<string[]> {
  const rows = await db.run(`SELECT ${db.quote("key")} AS name FROM ${outbox} ORDER BY id`);
  await db.run(`DELETE FROM ${outbox}`);
  return rows.map(({ name }) =>
    typeof name === "string" ? name : new TextDecoder().decode(name as Uint8Array)
  );
}

/**
 * Tracks tables under names that are the same, also when they are joined with the tables' names. Ending one of the
 * trackings does not end another.
 *
 * @param db The connection.
 * @param schema The schema in which tables are created, if it is not the default. The outbox is there as well.
 */
export async function testSameName(db: TrackedDatabase, schema?: string): Promise<void> {
  const { dialect, run } = db;
  const where = schema === undefined ? {} : { schema };
  const outbox = schema === undefined ? "reality_outbox" : `${schema}.reality_outbox`;
  const writeTo = async (...tables: readonly string[]) => {
    for (const table of tables) await run(`INSERT INTO ${table} VALUES (1)`);
    return await takeKeys(db, outbox);
  };
  for (const [table, name] of [["a", "b_c"], ["a_b", "c"], ["b", "c"]] as const) {
    await run(`CREATE TABLE ${table} (${table}_id integer)`);
    await track(db, table, [`${table}:{${table}_id}`], undefined, { ...where, outbox, name });
  }
  assert.deepEqual(await writeTo("a", "a_b", "b"), ["a:1", "a_b:1", "b:1"]);
  for (const statement of untrackTable({ dialect, ...where, table: "b", name: "c" })) await run(statement);
  assert.deepEqual(await writeTo("a", "a_b", "b"), ["a:1", "a_b:1"]);
}

class History {
  readonly #db: TrackedDatabase;
  readonly #random: SeededRandom;
  readonly #outbox: string;
  readonly #table: string;
  readonly #columns: {
    readonly id: string;
    readonly room: string;
    readonly author: string;
    readonly hidden: string;
  };
  readonly #texts: readonly [string, string];
  readonly #isConditional: boolean;
  #rows = new Map<number, Row>();
  #expected: string[] = [];

  constructor(db: TrackedDatabase, random: SeededRandom, name: string) {
    this.#db = db;
    this.#random = random;
    this.#outbox = `outbox_${name}`;
    // SQLite's and MySQL's names of columns ignore case.
    const [table, ...columns] = random.shuffle(HOSTILE.filter((text) => !/[{}]/.test(text)));
    this.#table = `${table}${name}`;
    const [id, room, author, hidden] = columns as [string, string, string, string];
    this.#columns = { id, room, author, hidden };
    this.#texts = [random.pick(HOSTILE), random.pick(HOSTILE)];
    this.#isConditional = random.happens(0.5);
  }

  async play(): Promise<void> {
    const { run, quote } = this.#db;
    const { id, room, author, hidden } = this.#columns;
    for (const statement of this.#db.createOutbox(this.#outbox)) await run(statement);
    const type = this.#random.pick(this.#db.textTypes);
    await run(
      `CREATE TABLE ${quote(this.#table)} (${quote(id)} integer PRIMARY KEY, ${quote(room)} ${type}, ` +
        `${quote(author)} integer, ${quote(hidden)} integer NOT NULL)`,
    );
    // The second time replaces the first.
    for (let i = 0; i < 2; i++) for (const statement of trackTable(this.#options())) await run(statement);
    for (let i = 0; i < 12; i++) await this.#transact();
    for (const statement of untrackTable({ dialect: this.#db.dialect, table: this.#table })) {
      await run(statement);
    }
    await this.#insert();
    assert.deepEqual(await takeKeys(this.#db, this.#outbox), []);
  }

  #options(): TrackOptions {
    const { room, author, hidden } = this.#columns;
    const [first, second] = this.#texts;
    return {
      dialect: this.#db.dialect,
      table: this.#table,
      // In front of a column, a dollar sign is written twice.
      keys: [`${first}{{{${room}}`, `user:{${author}}}}${second.replace(/\$$/, "$$$$")}{${room}}`, "all"],
      outbox: this.#outbox,
      ...(this.#isConditional ? { when: `{${hidden}} = 0 -- a comment` } : {}),
    };
  }

  async #transact(): Promise<void> {
    const { run } = this.#db;
    const before = new Map(this.#rows);
    this.#expected = [];
    await run("BEGIN");
    for (let i = this.#random.between(1, 4); i > 0; i--) {
      await this.#random.pick([() => this.#insert(), () => this.#update(), () => this.#delete()])();
    }
    if (this.#random.happens(0.3)) {
      await run("ROLLBACK");
      this.#rows = before;
      this.#expected = [];
    } else await run("COMMIT");
    const found = await takeKeys(this.#db, this.#outbox);
    if (this.#db.oncePerStatement) assert.deepEqual(found.sort(), this.#expected.sort());
    else assert.deepEqual([...new Set(found)].sort(), [...new Set(this.#expected)].sort());
  }

  /** Inserts rows, some of which may be there: those are updated. */
  async #insert(): Promise<void> {
    const { quote } = this.#db;
    const columns = Object.values(this.#columns);
    const rows = new Map<number, Row>();
    for (let i = this.#random.between(1, 5); i > 0; i--) {
      rows.set(this.#random.between(1, 20), {
        room: this.#random.happens(0.2) ? null : this.#random.pick(TEXTS),
        author: this.#random.happens(0.2) ? null : this.#random.between(-3, 3),
        hidden: this.#random.between(0, 1),
      });
    }
    const values = [...rows].map(([id, { room, author, hidden }]) =>
      `(${id}, ${this.#text(room)}, ${author ?? "NULL"}, ${hidden})`
    );
    const into = `INSERT INTO ${quote(this.#table)} (${columns.map(quote).join(", ")})`;
    await this.#db.run(this.#db.upsert(`${into} VALUES ${values.join(", ")}`, columns[0]!, columns.slice(1)));
    const entries = [...rows];
    this.#change(entries.filter(([id]) => !this.#rows.has(id)), entries.filter(([id]) => this.#rows.has(id)));
  }

  async #update(): Promise<void> {
    const { quote } = this.#db;
    const { id, room, hidden } = this.#columns;
    const value = this.#random.happens(0.2) ? null : this.#random.pick(TEXTS);
    const low = this.#random.between(1, 20);
    const set = this.#random.happens(0.5)
      ? { sql: `${quote(room)} = ${this.#text(value)}`, apply: (row: Row): Row => ({ ...row, room: value }) }
      : {
        sql: `${quote(hidden)} = 1 - ${quote(hidden)}`,
        apply: (row: Row): Row => ({ ...row, hidden: 1 - row.hidden }),
      };
    await this.#db.run(`UPDATE ${quote(this.#table)} SET ${set.sql} WHERE ${quote(id)} >= ${low}`);
    const changed = [...this.#rows].filter(([id]) => id >= low);
    this.#change([], changed.map(([id, row]) => [id, set.apply(row)]));
  }

  async #delete(): Promise<void> {
    const { quote } = this.#db;
    const low = this.#random.between(8, 20);
    await this.#db.run(`DELETE FROM ${quote(this.#table)} WHERE ${quote(this.#columns.id)} >= ${low}`);
    const gone = [...this.#rows].filter(([id]) => id >= low);
    for (const [id] of gone) this.#rows.delete(id);
    this.#expect(gone.map(([, row]) => row));
  }

  #change(inserted: readonly (readonly [number, Row])[], updated: readonly (readonly [number, Row])[]): void {
    const old = updated.map(([id]) => this.#rows.get(id)!);
    for (const [id, row] of [...inserted, ...updated]) this.#rows.set(id, row);
    this.#expect(inserted.map(([, row]) => row));
    this.#expect([...old, ...updated.map(([, row]) => row)]);
  }

  /** Adds the keys of the rows that one trigger sees. */
  #expect(rows: readonly Row[]): void {
    const [first, second] = this.#texts;
    const keys = rows.filter(({ hidden }) => !this.#isConditional || hidden === 0).flatMap((
      { room, author },
    ) => [
      ...(room === null ? [] : [`${first}{${room}`]),
      ...(room === null || author === null ? [] : [`user:${author}}${second}${room}`]),
      "all",
    ]);
    this.#expected.push(...new Set(keys));
  }

  #text(value: string | null): string {
    if (value === null) return "NULL";
    const quoted = value.replaceAll("'", "''");
    return `'${this.#db.dialect === "mysql" ? quoted.replaceAll("\\", "\\\\") : quoted}'`;
  }
}
