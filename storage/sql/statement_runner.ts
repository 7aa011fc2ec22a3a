/**
 * Runs one statement through the application's `query`: with retries, and with a check of what it returns.
 *
 * @module
 */
import { ClosedError, RealityError, StorageError } from "../../src/errors.ts";
import { kindOf } from "../../src/store/node.ts";
import type { SQLDialect, SQLRow, SQLValue, Statement } from "./dialect.ts";
import { toNumber } from "./rows.ts";
import type { ReadSQLOptions, SQLQuery, SQLWritten } from "./sql_options.ts";

/** How often a statement is sent again that gave way to another one. */
export const MAX_RETRIES = 20;
/** For how long it is sent again, in milliseconds. */
const RETRY_TIME = 5000;

/** Runs statements. */
export class StatementRunner {
  readonly #query: SQLQuery;
  readonly #dialect: SQLDialect;
  readonly #inTransaction: boolean;
  #isClosed = false;

  /** @param options The storage's options. */
  constructor({ query, dialect, inTransaction }: ReadSQLOptions) {
    this.#query = query;
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
  async run(operation: string, { sql, params, toRows }: Statement): Promise<readonly SQLRow[]> {
    const result = await this.#send(operation, sql, params);
    if (isWritten(result)) return toRows?.(toNumber(result.insertId, operation)) ?? [];
    if (toRows === undefined && isRows(result)) return result;
    const wanted = toRows ? "what the driver gives for a write, with insertId" : "an array of rows";
    const given = Array.isArray(result) && !isRows(result) ? "an array of something else" : kindOf(result);
    throw new StorageError(operation, `option "query" must give ${wanted}, and gave ${given}`);
  }

  async #send(operation: string, sql: string, params: SQLValue[]): Promise<unknown> {
    if (this.#isClosed) throw new ClosedError("storage");
    const startedAt = performance.now();
    for (let retry = 1;; retry++) {
      try {
        return await this.#query(sql, params);
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
