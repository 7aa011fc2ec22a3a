/**
 * An open SQLite database with its prepared statements. Follows a file that is replaced.
 *
 * @module
 */
import { ClosedError } from "../../../src/errors.ts";
import { kindOf } from "../../../src/store/node.ts";
import type { SQLRow, SQLValue } from "../dialect.ts";
import { fileAt, type SQLiteDatabase, type SQLiteStatement } from "./database.ts";

/** The shortest time between two checks, for reads, whether the file was replaced, in milliseconds. */
const CHECK_INTERVAL = 25;

/** A file, and how it is opened. */
export interface FileSource {
  readonly path: string;
  /** Opens the file that is at the path now, in place of the one that was open. */
  readonly open: (replaced: SQLiteDatabase) => SQLiteDatabase;
}

/**
 * An open database and its prepared statements. When another file replaces the open one, such as a backup, that file is
 * opened instead. A read is then up to 25 milliseconds old; a write is in the new file before it is acknowledged.
 */
export class SQLiteConnection {
  #database: SQLiteDatabase;
  readonly #source: FileSource | undefined;
  /** Whether it was opened here, and `close()` closes it. */
  readonly isOwn: boolean;
  readonly #statements = new Map<string, SQLiteStatement>();
  /** The open file, and when it was last checked, by `performance.now()`. */
  #file: string | undefined;
  #checkedAt = -Infinity;
  #replacements = 0;
  #isClosed = false;

  /**
   * @param database An open database.
   * @param isOwn Whether `close()` closes it.
   * @param source The file, if it may be replaced.
   * @throws {TypeError} When the value is not a database.
   */
  constructor(database: SQLiteDatabase, isOwn: boolean, source?: FileSource) {
    if (typeof database?.prepare !== "function" || typeof database.exec !== "function") {
      throw new TypeError(`Cannot open SQLite: expected a path or an open database, got ${kindOf(database)}`);
    }
    this.#database = database;
    this.isOwn = isOwn;
    this.#source = source;
    this.#file = source && fileAt(source.path);
  }

  /** How often another file has replaced the open one. */
  get replacements(): number {
    return this.#replacements;
  }

  /** Runs a statement and returns its rows. */
  all(sql: string, params: readonly SQLValue[] = []): SQLRow[] {
    if (this.#isClosed) throw new ClosedError("storage");
    if (this.#source === undefined) return this.#run(sql, params);
    if (performance.now() - this.#checkedAt >= CHECK_INTERVAL) this.#follow(this.#source);
    const rows = this.#run(sql, params);
    if (/^(SELECT|PRAGMA)/.test(sql)) return rows;
    // A write to a file that was replaced is lost, so it is made again.
    return this.#follow(this.#source) ? this.#run(sql, params) : rows;
  }

  /**
   * Runs statements in one transaction and returns the rows of each. They are part of the application's transaction, if it
   * has one open.
   */
  allTogether(
    statements: readonly { readonly sql: string; readonly params: readonly SQLValue[] }[],
  ): SQLRow[][] {
    if (this.#isClosed) throw new ClosedError("storage");
    if (this.#source !== undefined) this.#follow(this.#source);
    const results = this.#runTogether(statements);
    return this.#source !== undefined && this.#follow(this.#source) ? this.#runTogether(statements) : results;
  }

  /** Closes the database, if it was opened here. */
  close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#release();
  }

  /** Opens the file that is at the path now, unless it is open. Returns whether it was opened. */
  #follow({ path, open }: FileSource): boolean {
    const file = fileAt(path);
    if (file === undefined) throw new Error("the file is not there any more");
    this.#checkedAt = performance.now();
    if (file === this.#file) return false;
    const database = open(this.#database);
    this.#release();
    this.#database = database;
    this.#file = file;
    this.#replacements++;
    return true;
  }

  #runTogether(
    statements: readonly { readonly sql: string; readonly params: readonly SQLValue[] }[],
  ): SQLRow[][] {
    // Begins a transaction unless one is open. The first statement writes, so it waits for its turn before it reads.
    this.#database.exec("SAVEPOINT reality");
    try {
      const results = statements.map(({ sql, params }) => this.#run(sql, params));
      this.#database.exec("RELEASE reality");
      return results;
    } catch (error) {
      this.#database.exec("ROLLBACK TO reality");
      this.#database.exec("RELEASE reality");
      throw error;
    }
  }

  #run(sql: string, params: readonly SQLValue[]): SQLRow[] {
    if (sql.startsWith("CREATE ")) {
      this.#database.exec(sql);
      return [];
    }
    let statement = this.#statements.get(sql);
    if (!statement) this.#statements.set(sql, statement = this.#database.prepare(sql));
    return statement.all(...params) as SQLRow[];
  }

  #release(): void {
    for (const statement of this.#statements.values()) statement.finalize?.();
    this.#statements.clear();
    if (this.isOwn) this.#database.close();
  }
}
