/**
 * Sends requests to DynamoDB with any of the supported clients. A call has a deadline, and repeats requests that fail
 * because the table is busy.
 *
 * @module
 */
import { StorageError } from "../../src/errors.ts";
import { kindOf } from "../../src/store/node.ts";
import { wrongOption } from "../options.ts";

/**
 * The methods of a `DynamoDB` of `@aws-sdk/client-dynamodb` that are used. Each has the input of the API's action of
 * that name.
 */
export interface DynamoDBMethods {
  /** Reads many items. */
  batchGetItem(input: never, options?: never): Promise<object>;
  /** Creates a table. */
  createTable(input: never, options?: never): Promise<object>;
  /** Describes a table. */
  describeTable(input: never, options?: never): Promise<object>;
  /** Describes whether items of a table expire. */
  describeTimeToLive(input: never, options?: never): Promise<object>;
  /** Reads one item. */
  getItem(input: never, options?: never): Promise<object>;
  /** Writes one item. */
  putItem(input: never, options?: never): Promise<object>;
  /** Reads items in order. */
  query(input: never, options?: never): Promise<object>;
  /** Writes several items with one transaction. */
  transactWriteItems(input: never, options?: never): Promise<object>;
  /** Changes one item. */
  updateItem(input: never, options?: never): Promise<object>;
  /** Sets whether items of a table expire. */
  updateTimeToLive(input: never, options?: never): Promise<object>;
}

/** The method of a `DynamoDBClient` of `@aws-sdk/client-dynamodb`, or of a client that wraps one, that is used. */
export interface DynamoDBSender {
  /** Runs a command. */
  send(command: never, options?: never): Promise<object>;
}

/** An action of the API, by the name of the method of `DynamoDB`. */
export type Action = keyof DynamoDBMethods;

/** The input or output of an action, with the API's names. */
export type Fields = Readonly<Record<string, unknown>>;

/** Runs one action. Rejects with the client's error. */
export type Ask = (action: Action, input: Fields, signal: AbortSignal) => Promise<Fields>;

const ACTIONS: readonly Action[] = [
  "batchGetItem",
  "createTable",
  "describeTable",
  "describeTimeToLive",
  "getItem",
  "putItem",
  "query",
  "transactWriteItems",
  "updateItem",
  "updateTimeToLive",
];

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

/**
 * The package of the commands, for a client without methods. The names are not literals in the import, so that
 * bundlers do not include the package. It is imported at the first use. The application has it, since its client
 * comes from it.
 */
const COMMANDS = ["@aws-sdk/client-dynamodb", "npm:@aws-sdk/client-dynamodb@3"];

/**
 * Returns the function that sends requests with a client.
 *
 * @throws {TypeError} When the client is not supported.
 */
export function connect(client: unknown): Ask {
  const given = (typeof client === "object" && client !== null ? client : {}) as Record<string, unknown>;
  if (typeof given.makeRequest === "function") {
    throw new TypeError(
      'Option "client" is wrong: expected a client of @aws-sdk/client-dynamodb, got one of the older aws-sdk',
    );
  }
  if (ACTIONS.every((action) => typeof given[action] === "function")) {
    const methods = given as unknown as Record<Action, (...args: unknown[]) => Promise<Fields>>;
    return (action, input, abortSignal) => methods[action](input, { abortSignal });
  }
  if (typeof given.send === "function") {
    const sender = given as unknown as { send(...args: unknown[]): Promise<Fields> };
    return async (action, input, abortSignal) => {
      const commands = await loadCommands();
      const Command = commands[`${action[0]?.toUpperCase()}${action.slice(1)}Command`];
      if (!Command) throw new Error(`@aws-sdk/client-dynamodb has no command for ${action}`);
      return await sender.send(new Command(input), { abortSignal });
    };
  }
  const found = Object.keys(given).length > 0
    ? "an object with neither its methods nor send()"
    : kindOf(client);
  throw new TypeError(
    `Option "client" is wrong: expected a DynamoDB or DynamoDBClient of @aws-sdk/client-dynamodb, got ${found}`,
  );
}

type Commands = Readonly<Record<string, (new (input: Fields) => object) | undefined>>;

let loading: Promise<Commands> | undefined;

function loadCommands(): Promise<Commands> {
  loading ??= importCommands().catch((cause) => {
    loading = undefined;
    throw new Error(
      "the commands for a DynamoDBClient are in @aws-sdk/client-dynamodb, which cannot be imported here; " +
        "give a DynamoDB from it instead, which has them in itself",
      { cause },
    );
  });
  return loading;
}

async function importCommands(): Promise<Commands> {
  let failure: unknown;
  for (const name of COMMANDS) {
    try {
      return await import(/* webpackIgnore: true */ /* @vite-ignore */ name);
    } catch (error) {
      failure ??= error;
    }
  }
  throw failure;
}

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

/** Checks the option `tableName`. */
export function checkTableName(tableName: unknown): string {
  const isName = typeof tableName === "string" && /^([\w.-]{3,255}|arn:[^\s]{1,1020})$/.test(tableName);
  if (!isName) throw wrongOption("tableName", "3 to 255 letters, digits, _, - and ., or an ARN", tableName);
  return tableName;
}
