/**
 * The outbox of an SQL storage.
 *
 * @module
 */
import type {
  OutboxChange,
  OutboxRow,
  OutboxStatement,
  OutboxSummary,
  StorageOutbox,
} from "../../src/store/contract.ts";
import { checkCounter } from "../validate.ts";
import type { OutboxDialect, SQLRow } from "./dialect.ts";
import { idAndKey } from "./placement.ts";
import { lastVersionOf, toNumber, toOutboxRow } from "./rows.ts";
import type { TableClient } from "./table_client.ts";

/** The outbox in a table beside the nodes'. */
export class SQLOutbox implements StorageOutbox {
  readonly #table: TableClient;
  readonly #dialect: OutboxDialect;

  /**
   * @param table The nodes' table.
   * @param dialect The statements.
   */
  constructor(table: TableClient, dialect: OutboxDialect) {
    this.#table = table;
    this.#dialect = dialect;
  }

  async readRows(upTo: number, limit: number, keys?: readonly string[]): Promise<OutboxRow[]> {
    const operation = "readOutbox";
    const statement = keys ? this.#dialect.readKeys(keys, upTo, limit) : this.#dialect.read(upTo, limit);
    return (await this.#table.ask(operation, statement)).map((row) => toOutboxRow(row, operation));
  }

  async applyRows(changes: readonly OutboxChange[]): Promise<number> {
    const operation = "applyOutbox";
    if (changes.length === 0) return 0;
    const table = this.#table;
    const next = await table.nextNumbers(operation);
    let offset = 0;
    const placed = changes.map(({ key, hash, updatedAt, rows }) => {
      offset += next.step;
      return { key, offset, hash, updatedAt, expiresAt: null, rows };
    });
    const { lock, write, remove } = this.#dialect.apply(placed, next);
    let written: readonly SQLRow[] | undefined;
    if (remove === undefined) {
      written = await table.ask(operation, write);
    } else if (table.canRunTogether) {
      const results = await table.askTogether(operation, [...(lock ? [lock] : []), write, remove]);
      written = results.at(-2);
    } else {
      // A process that dies here leaves the rows to the next server.
      written = await table.ask(operation, write);
      if (written.length > 0) await table.ask(operation, remove);
    }
    if (written !== undefined && written.length > 0) return lastVersionOf(written, operation);
    // Either the rows were no longer there, or there is no number left.
    checkCounter(Math.max((await table.readCounter(operation)).counter, next.floor) + offset);
    return 0;
  }

  async setAside(rows: readonly OutboxRow[]): Promise<void> {
    await this.#table.ask("setAsideOutbox", this.#dialect.setAside(rows.map(idAndKey)));
  }

  async summarize(limit: number): Promise<OutboxSummary> {
    const operation = "summarizeOutbox";
    const [row] = await this.#table.ask(operation, this.#dialect.summarize(limit));
    return {
      pending: toNumber(row?.pending, operation),
      oldestAge: toNumber(row?.oldest_age, operation),
      setAside: toNumber(row?.set_aside, operation),
    };
  }

  insertion(changes: readonly { readonly key: string; readonly hash: string }[]): OutboxStatement {
    const { sql, params } = this.#dialect.insert(changes);
    return { text: sql, params };
  }
}
