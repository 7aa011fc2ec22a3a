/**
 * Writes to the outbox on a transaction of the application.
 *
 * @module
 */
import type { Lifecycle } from "../lifecycle.ts";
import { isThenable } from "../maybe_promise.ts";
import type { StorageOutbox } from "../store/contract.ts";
import { kindOf } from "../store/node.ts";
import type { NodeUpdate, OutboxQuery } from "../types.ts";
import type { ScopeSource } from "./scope.ts";

/** The most rows of one statement. */
const MAX_ROWS = 1000;

/** What an {@linkcode OutboxWriter} needs. */
export interface OutboxWriterOptions {
  readonly outbox: StorageOutbox | undefined;
  readonly scopes: Pick<ScopeSource, "open">;
  readonly lifecycle: Pick<Lifecycle, "assertOpen">;
}

/** Writes rows that become changes once the application's transaction is committed. */
export class OutboxWriter {
  readonly #options: OutboxWriterOptions;

  /** @param options The outbox, and what checks changes. */
  constructor(options: OutboxWriterOptions) {
    this.#options = options;
  }

  /**
   * Writes rows. A driver that answers at once gets all statements before this returns, so that they are part of a
   * transaction that ends then.
   *
   * @throws What `query` throws; rejects with what it rejects with.
   */
  write(query: OutboxQuery, updates: readonly NodeUpdate[]): void | Promise<void> {
    const { outbox, scopes, lifecycle } = this.#options;
    lifecycle.assertOpen();
    if (outbox === undefined) {
      throw new TypeError("This storage has no outbox: give it the option outbox: true");
    }
    if (typeof query !== "function") {
      throw new TypeError(
        `Cannot write to the outbox: expected a function that runs a statement, got ${kindOf(query)}`,
      );
    }
    const { changes, poller } = scopes.open();
    changes.checkUpdates(updates);
    const statements = [];
    for (let i = 0; i < updates.length; i += MAX_ROWS) {
      statements.push(outbox.insertion(updates.slice(i, i + MAX_ROWS)));
    }
    const running = runAll(query, statements);
    if (running === undefined) return poller.expectCommit?.();
    return running.then(() => poller.expectCommit?.());
  }
}

/** Runs statements one after the other. */
function runAll(
  query: OutboxQuery,
  statements: readonly ReturnType<StorageOutbox["insertion"]>[],
): Promise<void> | undefined {
  for (const [i, { text, params }] of statements.entries()) {
    const result = query(text, params);
    if (isThenable(result)) {
      return Promise.resolve(result).then(() => runAll(query, statements.slice(i + 1)));
    }
  }
  return undefined;
}
