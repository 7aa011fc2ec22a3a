/**
 * A call of the storage: it has a deadline, and repeats requests that fail because the table is busy.
 *
 * @module
 */
import { StorageError } from "../../src/errors.ts";
import type { Action, Ask, Fields } from "./client.ts";

/** The errors after which the same request may succeed later. */
const BUSY: ReadonlySet<string> = new Set([
  "InternalServerError",
  "InternalFailure",
  "LimitExceededException",
  "ProvisionedThroughputExceededException",
  "RequestLimitExceeded",
  "ServiceUnavailable",
  "ThrottlingException",
  "TransactionConflictException",
  "TransactionInProgressException",
]);

/**
 * How long one request may take, as a share of the call's time: the first request, then those after a lost one. A
 * lost request is sent again on another connection. Several connections may be broken at the same time.
 */
const REQUEST_SHARES = [1 / 4, 1 / 16, 1 / 16, 1 / 16, 1 / 16] as const;
/** The share of every later request. */
const LATER_SHARE = 1 / 8;
/** The longest call's time from which the shares are computed, in milliseconds. */
const LONGEST_CALL = 8000;

/**
 * A pause is random, in milliseconds: at first up to the first bound, then up to twice as long each time, up to the
 * last.
 */
const FIRST_PAUSE = 20;
const LONGEST_PAUSE = 500;

/** One call of the storage. All its requests have one deadline. */
export class Call {
  /** The storage's method, for errors. */
  readonly operation: string;
  readonly #ask: Ask;
  readonly #tableName: string;
  readonly #abort = new AbortController();
  readonly #timer: ReturnType<typeof setTimeout>;
  readonly #timeout: number;
  #lost = 0;
  #reason: StorageError | undefined;

  /**
   * @param operation The storage's method, for errors.
   * @param target How to send a request, and the table.
   * @param timeout How long the call may take, in milliseconds.
   */
  constructor(operation: string, target: { readonly ask: Ask; readonly tableName: string }, timeout: number) {
    this.operation = operation;
    this.#ask = target.ask;
    this.#tableName = target.tableName;
    this.#timeout = Math.min(timeout, LONGEST_CALL);
    this.#timer = setTimeout(() => {
      this.#reason = new StorageError(operation, `no answer within ${timeout} ms`);
      this.#abort.abort();
    }, timeout);
  }

  /** Ends the call, and stops its timer. */
  end(): void {
    clearTimeout(this.#timer);
  }

  /**
   * Runs an action. Repeats it while the table is busy, or if a request has no response in time.
   *
   * @param expected Names of errors that are thrown unchanged.
   * @throws {StorageError} When it fails with another error, or the deadline passes.
   */
  async request(action: Action, input: Fields, expected: readonly string[] = []): Promise<Fields> {
    for (let attempt = 0;; attempt++) {
      this.check();
      try {
        return await this.#send(action, input);
      } catch (error) {
        this.check();
        if (error instanceof LostError) continue;
        const name = nameOf(error);
        if (expected.includes(name)) throw error;
        if (!BUSY.has(name)) throw this.#explain(error);
      }
      await this.pause(attempt);
    }
  }

  /** Sends one request. Rejects if it has no response in time, even if the client ignores the signal. */
  async #send(action: Action, input: Fields): Promise<Fields> {
    const request = new AbortController();
    const late = this.#timeout * (REQUEST_SHARES[this.#lost] ?? LATER_SHARE);
    const { signal } = this.#abort;
    return await new Promise((resolve, reject) => {
      const leave = () => {
        clearTimeout(timer);
        signal.removeEventListener("abort", giveUp);
      };
      const giveUp = () => {
        leave();
        this.#lost++;
        request.abort();
        reject(new LostError());
      };
      const timer = setTimeout(giveUp, late);
      signal.addEventListener("abort", giveUp);
      this.#ask(action, input, request.signal).finally(leave).then(resolve, reject);
    });
  }

  /**
   * Waits for a random time, which grows with the number of attempts.
   *
   * @throws {StorageError} When the deadline passes meanwhile.
   */
  async pause(attempt: number): Promise<void> {
    const longest = Math.min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** Math.min(attempt, 10));
    const { signal } = this.#abort;
    await new Promise<void>((resolve) => {
      const go = () => {
        clearTimeout(timer);
        signal.removeEventListener("abort", go);
        resolve();
      };
      const timer = setTimeout(go, Math.random() * longest);
      signal.addEventListener("abort", go);
      if (signal.aborted) go();
    });
    this.check();
  }

  /** @throws {StorageError} When the deadline has passed. */
  check(): void {
    if (this.#reason) throw this.#reason;
  }

  /** Waits for work that continues without this call, until the deadline at most. */
  async join<T>(running: Promise<T>): Promise<T> {
    const { signal } = this.#abort;
    return await new Promise<T>((resolve, reject) => {
      const leave = () => reject(this.#reason);
      signal.addEventListener("abort", leave);
      running.then(resolve, reject).finally(() => signal.removeEventListener("abort", leave));
      if (signal.aborted) leave();
    });
  }

  #explain(error: unknown): StorageError {
    const name = nameOf(error);
    const text = error instanceof Error ? error.message : String(error);
    if (name === "ResourceNotFoundException") {
      return new StorageError(this.operation, new MissingTableError(this.#tableName, error));
    }
    if (name === "ValidationException" && /index|schema|conditions on the keys|key element/i.test(text)) {
      const cause = new Error(`${describeShape(this.#tableName)} (DynamoDB says: ${text})`, { cause: error });
      return new StorageError(this.operation, cause);
    }
    // Some network errors have an empty message. Use the name instead.
    return new StorageError(this.operation, text === "" ? new Error(name, { cause: error }) : error);
  }
}

/** A request had no response in time. */
class LostError extends Error {}

/** The table does not exist. */
export class MissingTableError extends Error {
  /**
   * @param tableName The table.
   * @param cause DynamoDB's error.
   */
  constructor(tableName: string, cause: unknown) {
    super(
      `table "${tableName}" is not there: call createTable() once, or make it from a template in docs/storages.md`,
      { cause },
    );
  }
}

/** The message about a table that exists and has another shape. */
export function describeShape(tableName: string): string {
  return `table "${tableName}" has another shape: expected the partition key "bucket" (S), the sort key ` +
    `"node_key" (S) and the local secondary index "by_version" on "version" (N) with all attributes`;
}

/** The name of an error, such as `ValidationException`; empty for other values. */
export function nameOf(error: unknown): string {
  return error instanceof Error ? error.name : "";
}
