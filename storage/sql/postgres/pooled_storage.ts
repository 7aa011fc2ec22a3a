/**
 * A storage in PostgreSQL, without notifications.
 *
 * @module
 */
import { ClosedError } from "../../../src/errors.ts";
import type { StorageOptions } from "../../options.ts";
import type { WithOutbox } from "../sql_options.ts";
import { SQLStorage } from "../sql_storage.ts";
import type { PostgresClient, PostgresStorage } from "./postgres_options.ts";

/** How long `close` waits for a running statement, in seconds. */
export const END_TIMEOUT = 5;

/** A storage in PostgreSQL that announces nothing. */
export class PooledStorage extends SQLStorage implements PostgresStorage {
  /** The client. */
  protected readonly client: PostgresClient;
  readonly #isOwn: boolean;
  #closing: Promise<void> | undefined;

  /**
   * @param client The client.
   * @param isOwn Whether `close()` ends it.
   * @param options The shared options.
   */
  constructor(client: PostgresClient, isOwn: boolean, options: StorageOptions & WithOutbox) {
    super({
      ...options,
      dialect: "postgres",
      query: async (sql, params) => {
        this.checkOpen();
        return await client.unsafe(sql, params, { prepare: true });
      },
    });
    this.client = client;
    this.#isOwn = isOwn;
  }

  /** Ends the connections that were opened here. */
  override close(): Promise<void> {
    return this.#closing ??= this.end();
  }

  /** Closes the storage, once. */
  protected async end(): Promise<void> {
    await super.close();
    if (this.#isOwn) await this.client.end({ timeout: END_TIMEOUT });
  }

  /** @throws {ClosedError} After `close()`. */
  protected checkOpen(): void {
    if (this.#closing) throw new ClosedError("storage");
  }
}
