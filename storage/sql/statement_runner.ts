/**
 * Runs one statement through the application's `query`: with retries, and with a check of what it returns.
 *
 * @module
 */
import { ClosedError, RealityError, StorageError } from "../../src/errors.ts";
import { kindOf } from "../../src/store/node.ts";
import type { SQLDialect, SQLRow, Statement } from "./dialect.ts";
import { toNumber } from "./rows.ts";
import type { ReadSQLOptions, SQLQuery, SQLTransaction, SQLWritten } from "./sql_options.ts";

/** How often a statement is sent again that gave way to another one. */
export const MAX_RETRIES = 20;
/** For how long it is sent again, in milliseconds. */
const RETRY_TIME = 5000;

/** Runs statements. */
export class StatementRunner {
  readonly #query: SQLQuery;
  readonly #transaction: SQLTransaction | undefined;
  readonly #dialect: SQLDialect;
  readonly #inTransaction: boolean;
  #isClosed = false;

  /** @param options The storage's options. */
  constructor({ query, transaction, dialect, inTransaction }: ReadSQLOptions) {
    this.#query = query;
    this.#transaction = transaction;
    this.#dialect = dialect;
    this.#inTransaction = inTransaction;
  }

  /** Sends no more statements. */
  close(): void {
    this.#isClosed = true;
  }

  /**
   * Runs a statement and returns its rows.
   *
   * @throws {StorageError} When the database fails, or `query` returns something else.
   * @throws {ClosedError} After `close()`.
   */
  async run(operation: string, statement: Statement): Promise<readonly SQLRow[]> {
    const { sql, params } = statement;
    return rowsOf(operation, statement, await this.#send(operation, () => this.#query(sql, params)));
  }

  /** Whether statements can be run in one transaction. */
  get canRunTogether(): boolean {
    return this.#transaction !== undefined;
  }

  /**
   * Runs statements in one transaction and returns the rows of each.
   *
   * @throws {StorageError} When the database fails, or `transaction` returns something else. Then none was run.
   * @throws {ClosedError} After `close()`.
   */
  async runTogether(operation: string, statements: readonly Statement[]): Promise<(readonly SQLRow[])[]> {
    const list = statements.map(({ sql, params }) => ({ sql, params }));
    const results = await this.#send(operation, () => this.#transaction!(list));
    if (!Array.isArray(results) || results.length !== statements.length) {
      throw new StorageError(
        operation,
        'option "transaction" must give a list with the result of each statement',
      );
    }
    return statements.map((statement, i) => rowsOf(operation, statement, results[i]));
  }

  async #send(operation: string, call: () => unknown): Promise<unknown> {
    if (this.#isClosed) throw new ClosedError("storage");
    const startedAt = performance.now();
    for (let retry = 1;; retry++) {
      try {
        return await call();
      } catch (error) {
        const hasTime = !this.#inTransaction && retry <= MAX_RETRIES &&
          performance.now() - startedAt < RETRY_TIME;
        if (hasTime && this.#isRetried(error)) {
          await pauseBefore(retry);
          continue;
        }
        throw error instanceof RealityError ? error : new StorageError(operation, error);
      }
    }
  }

  #isRetried(error: unknown): boolean {
    const { retried } = this.#dialect;
    return findCause(error, ({ code, errno }) => retried.includes(code) || retried.includes(errno));
  }

  /** Whether an error says that the table, or one of its columns, does not exist. */
  isMissing(error: unknown): boolean {
    const { codes, message } = this.#dialect.missing;
    return findCause(
      error,
      (cause) =>
        codes.includes(cause.code) || codes.includes(cause.errno) || message.test(String(cause.message)),
    );
  }
}

/**
 * The rows of a result.
 *
 * @throws {StorageError} When no driver returns such a result.
 */
function rowsOf(operation: string, { toRows }: Statement, result: unknown): readonly SQLRow[] {
  if (isWritten(result)) return toRows?.(toNumber(result.insertId, operation)) ?? [];
  if (toRows === undefined && isRows(result)) return result;
  const wanted = toRows ? "what the driver gives for a write, with insertId" : "an array of rows";
  const given = Array.isArray(result) && !isRows(result) ? "an array of something else" : kindOf(result);
  throw new StorageError(operation, `option "query" must give ${wanted}, and gave ${given}`);
}

/** Waits for a random time before a retry: up to 2^retry milliseconds, 64 at most. */
export async function pauseBefore(retry: number): Promise<void> {
  await new Promise((resolve) => setTimeout(resolve, Math.random() * Math.min(2 ** retry, 64)));
}

/** The fields of a driver's error that are read. */
type DriverError = Partial<Record<"code" | "errno" | "message" | "cause", unknown>>;

/** Whether an error, or one in its chain of causes, meets a condition. */
function findCause(error: unknown, meets: (cause: DriverError) => boolean): boolean {
  if (typeof error !== "object" || error === null) return false;
  return meets(error) || findCause((error as DriverError).cause, meets);
}

function isRows(result: unknown): result is readonly SQLRow[] {
  return Array.isArray(result) && (result.length === 0 || !Array.isArray(result[0]) && !isWritten(result[0]));
}

function isWritten(result: unknown): result is SQLWritten {
  return typeof result === "object" && result !== null && "insertId" in result;
}
