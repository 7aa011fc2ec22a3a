/**
 * Access to an SQL storage's table: creates it at the first use, reads the counter's row and updates it.
 *
 * @module
 */
import { StorageError } from "../../src/errors.ts";
import {
  createEpoch,
  createReplicaId,
  drawResidue,
  RESIDUES,
  type VersionVector,
} from "../../src/store/contract.ts";
import { checkCounter } from "../validate.ts";
import type { ReadStorageOptions } from "../options.ts";
import { CounterNumbering } from "./counter_numbering.ts";
import { OUTBOX_COLUMNS, type SQLDialect, type SQLRow, type Statement } from "./dialect.ts";
import { EMPTY_MESH, type MeshState, parseMesh, UNMERGED_MESH } from "./mesh_column.ts";
import type { Numbering } from "./placement.ts";
import { type CounterRow, toCounterRow, toNumber } from "./rows.ts";
import type { ReadSQLOptions } from "./sql_options.ts";
import { MAX_RETRIES, pauseBefore, StatementRunner } from "./statement_runner.ts";

/** A table that is created at the first use. */
interface Table extends Pick<SQLDialect, "columns" | "columnNames" | "schema" | "createTable"> {
  readonly name: string;
}

/** Runs the statements of one table. */
export class TableClient {
  /** The table's statements. */
  readonly dialect: SQLDialect;
  /** How changes are numbered. */
  readonly numbering: CounterNumbering;
  readonly #options: ReadStorageOptions;
  readonly #runner: StatementRunner;
  readonly #tableName: string;
  readonly #createTables: boolean;
  readonly #inTransaction: boolean;
  #isReady = false;

  /** @param options The storage's options. */
  constructor(options: ReadSQLOptions) {
    this.dialect = options.dialect;
    this.numbering = new CounterNumbering(options.shared.counter, options.shared.now);
    this.#options = options.shared;
    this.#runner = new StatementRunner(options);
    this.#tableName = options.tableName;
    this.#createTables = options.createTables;
    this.#inTransaction = options.inTransaction;
  }

  /** Sends no more statements. */
  close(): void {
    this.#runner.close();
  }

  /** The clock, in milliseconds since 1970. */
  now(): number {
    return this.#options.now();
  }

  /** 0, or what a test's clock shows: the statements add the database's own time. */
  testTime(): number {
    return this.#options.testNow?.() ?? 0;
  }

  /** What a tombstone that is written now gets as `expiresAt`. */
  expiresAt(): number {
    return Math.min(Math.ceil(this.testTime() + this.#options.tombstoneTimeout), Number.MAX_SAFE_INTEGER);
  }

  /** Runs a statement, after the table was created if that is needed. */
  async ask(operation: string, statement: Statement): Promise<readonly SQLRow[]> {
    // Every call sets up by itself: it does not depend on a set-up statement of another call, which may be lost.
    if (!this.#isReady) await this.#setUp(operation);
    return await this.#run(operation, statement);
  }

  /** Whether statements can be run in one transaction. */
  get canRunTogether(): boolean {
    return this.#runner.canRunTogether;
  }

  /** Runs statements in one transaction. */
  async askTogether(operation: string, statements: readonly Statement[]): Promise<(readonly SQLRow[])[]> {
    if (!this.#isReady) await this.#setUp(operation);
    return await this.#watch(() => this.#runner.runTogether(operation, statements));
  }

  /**
   * Runs a statement that returns at least the counter's row. Creates that row again if it was deleted.
   *
   * @throws {StorageError} When the row cannot be created, or the database is read-only.
   */
  async askWithCounter(operation: string, statement: Statement): Promise<readonly SQLRow[]> {
    let rows = await this.ask(operation, statement);
    if (rows.length === 0) {
      this.#isReady = false;
      rows = await this.ask(operation, statement);
      if (rows.length === 0) throw new StorageError(operation, "the counter's row is not there");
    }
    if (this.dialect.tellsReadOnly?.(rows)) {
      throw new StorageError(
        operation,
        "the database only reads: a standby or an earlier primary may not know the newest changes",
      );
    }
    return rows;
  }

  /**
   * Runs a statement that moves the counter.
   *
   * @param next What the counter becomes, given what it is.
   * @throws {RangeError} When that is above 2^53 − 1.
   */
  async askForNumbers(
    operation: string,
    statement: Statement,
    next: (last: number) => number,
  ): Promise<readonly SQLRow[]> {
    const rows = await this.ask(operation, statement);
    if (rows.length > 0) return rows;
    checkCounter(next((await this.readCounter(operation)).counter));
    return await this.askWithCounter(operation, statement);
  }

  /** Reads the counter's row. */
  async readCounter(operation: string): Promise<CounterRow> {
    const [row] = await this.askWithCounter(operation, this.dialect.readCounter());
    const counter = toCounterRow(row, operation);
    this.numbering.hasMetOthers = !counter.mesh.startsWith(UNMERGED_MESH);
    return counter;
  }

  /**
   * Reads the counter's row and updates it. Does so again while other processes are quicker.
   *
   * @param update Returns `undefined` if the row had changed since it was read.
   * @throws {StorageError} When others are quicker all the time.
   */
  async updateCounter<T>(
    operation: string,
    update: (counter: CounterRow, mesh: MeshState) => Promise<T | undefined>,
  ): Promise<T> {
    for (let retry = 1; retry <= MAX_RETRIES * 5; retry++) {
      const counter = await this.readCounter(operation);
      const result = await update(counter, parseMesh(counter.mesh));
      if (result !== undefined) return result;
      await pauseBefore(retry);
    }
    throw new StorageError(operation, "others change the counter's row all the time");
  }

  /** How the next change is numbered. */
  async nextNumbers(operation: string): Promise<Numbering> {
    await this.ensureResidue(operation);
    return this.numbering.next();
  }

  /** Draws a residue if the counter's row has none: it is new, or was made by an older version. */
  async ensureResidue(operation: string): Promise<void> {
    if (!this.#isReady) await this.#setUp(operation);
    if (this.numbering.hasResidue || this.numbering.kind === "sequential") return;
    await this.updateCounter(operation, async (counter, { vector }) => {
      return counter.drawn > 0 || await this.drawResidue(operation, counter, vector);
    });
    this.numbering.hasResidue = true;
  }

  /**
   * Draws a residue that no other storage has.
   *
   * @param others The version vector of the other storages.
   * @returns `undefined` if the counter's row had changed since it was read.
   */
  async drawResidue(
    operation: string,
    counter: CounterRow,
    others: VersionVector,
  ): Promise<true | undefined> {
    const floor = this.numbering.floor();
    checkCounter(Math.max(counter.counter, floor) + RESIDUES);
    const statement = this.dialect.drawResidue(counter, drawResidue(others), floor);
    const rows = await this.ask(operation, statement);
    return rows.length > 0 || undefined;
  }

  async #run(operation: string, statement: Statement): Promise<readonly SQLRow[]> {
    return await this.#watch(() => this.#runner.run(operation, statement));
  }

  async #watch<T>(run: () => Promise<T>): Promise<T> {
    try {
      return await run();
    } catch (error) {
      // The next call checks the table again, and creates it.
      if (this.#runner.isMissing(error)) this.#isReady = false;
      throw error;
    }
  }

  async #setUp(operation: string): Promise<void> {
    const { dialect } = this;
    const nodes = { ...dialect, name: this.#tableName };
    if (!await this.#hasTable(operation, nodes)) await this.#createTable(operation, nodes);
    const outbox = dialect.outbox && { ...dialect.outbox, columnNames: OUTBOX_COLUMNS };
    if (outbox && !await this.#hasTable(operation, outbox)) await this.#createTable(operation, outbox);
    // The row is read first: an INSERT would wait for a running write, even where the row exists.
    const [row] = await this.#run(operation, this.dialect.readCounter());
    const { numbering } = this;
    numbering.hasResidue = toNumber(row?.drawn ?? 0, operation) > 0;
    // A table that was numbered by the clock stays so.
    if (numbering.hasResidue) numbering.useClock();
    if (row === undefined) {
      await this.#run(operation, this.dialect.createCounter(createEpoch(this.now()), createReplicaId()));
      if (numbering.kind === "clock") {
        const before = { mesh: EMPTY_MESH, drawn: 0 };
        const draw = this.dialect.drawResidue(before, drawResidue(new Map()), numbering.floor());
        numbering.hasResidue = (await this.#run(operation, draw)).length > 0;
      }
    }
    this.#isReady = true;
  }

  async #createTable(operation: string, table: Table): Promise<void> {
    const { name, schema, createTable = schema } = table;
    if (!this.#createTables) {
      throw new StorageError(operation, `table "${name}" is not there: make it from storage.schema`);
    }
    for (const sql of createTable) await this.#run(operation, { sql, params: [] });
    await this.#hasTable(operation, table);
  }

  /** @throws {StorageError} When the table lacks a column, or the connection cannot be used. */
  async #hasTable(operation: string, { name, columns, columnNames }: Table): Promise<boolean> {
    const rows = await this.#run(operation, columns());
    const fault = rows[0] && this.#findFault(rows[0]);
    if (fault !== undefined) throw new StorageError(operation, fault);
    const found = rows.map((row) => String(row.name));
    if (found.length === 0) return false;
    const missing = columnNames.filter((column) => !found.includes(column));
    if (missing.length === 0) return true;
    throw new StorageError(
      operation,
      `table "${name}" has another shape: it lacks ${missing.join(", ")} and has ${
        found.join(", ")
      }; give another tableName, or take that table away`,
    );
  }

  /** What is wrong with the connection, given a row of `columns`. */
  #findFault({ autocommit, backslash }: SQLRow): string | undefined {
    // Changes would be acknowledged and lost.
    if (!this.#inTransaction && String(autocommit) === "0") {
      return "the connection does not commit its statements: expected autocommit = 1, got 0";
    }
    // Keys of clients would become part of the SQL.
    if (String(backslash) !== "0") return undefined;
    return "the driver writes a backslash otherwise than the server reads it: expected sql_mode without " +
      "NO_BACKSLASH_ESCAPES, or execute() of mysql2";
  }
}
