/**
 * Runs the calls of a DynamoDB storage, each with a deadline, and creates the table.
 *
 * @module
 */
import { ClosedError, StorageError } from "../../src/errors.ts";
import { Call, MissingTableError } from "./call.ts";
import type { Ask } from "./client.ts";
import { createTable } from "./create_table.ts";
import type { ReadDynamoDBOptions } from "./dynamodb_options.ts";

/** How long creating a table may take, in milliseconds. */
const CREATE_TIMEOUT = 120_000;

/** Runs calls. Creates no table once it is closed. */
export class CallRunner {
  readonly #ask: Ask;
  readonly #tableName: string;
  readonly #createTables: boolean;
  readonly #operationTimeout: number;
  #creating: Promise<void> | undefined;
  #isClosed = false;

  /**
   * @param ask Sends a request.
   * @param options The table, and how long a call may take.
   */
  constructor(
    ask: Ask,
    options: Pick<ReadDynamoDBOptions, "tableName" | "createTables" | "operationTimeout">,
  ) {
    this.#ask = ask;
    this.#tableName = options.tableName;
    this.#createTables = options.createTables;
    this.#operationTimeout = options.operationTimeout;
  }

  /**
   * Runs a call. If the table is missing and may be created, creates it and runs the call again.
   *
   * @param operation The storage's method, for errors.
   */
  async run<T>(operation: string, work: (call: Call) => Promise<T>): Promise<T> {
    return await this.#withCall(operation, this.#operationTimeout, async (call) => {
      try {
        return await work(call);
      } catch (error) {
        const isMissing = error instanceof StorageError && error.cause instanceof MissingTableError;
        if (!isMissing || !this.#createTables) throw error;
        await call.join(this.createTable());
        return await work(call);
      }
    });
  }

  /**
   * Creates the table. Calls at the same time share one attempt.
   *
   * @throws {ClosedError} When the storage is closed.
   * @throws {StorageError} When a table of that name has another shape, or DynamoDB fails.
   */
  async createTable(): Promise<void> {
    if (this.#isClosed) throw new ClosedError("storage");
    this.#creating ??= this.#withCall(
      "createTable",
      CREATE_TIMEOUT,
      (call) => createTable(call, this.#tableName),
    )
      .finally(() => this.#creating = undefined);
    await this.#creating;
  }

  /** Waits for a table that is being created. */
  async close(): Promise<void> {
    this.#isClosed = true;
    await Promise.allSettled([this.#creating]);
  }

  async #withCall<T>(operation: string, timeout: number, work: (call: Call) => Promise<T>): Promise<T> {
    const call = new Call(operation, { ask: this.#ask, tableName: this.#tableName }, timeout);
    try {
      return await work(call);
    } finally {
      call.end();
    }
  }
}
