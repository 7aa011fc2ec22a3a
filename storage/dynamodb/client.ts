/**
 * One way to ask DynamoDB, whichever client was given: with a deadline, and with retries of what a busy
 * table turns down.
 *
 * @module
 */
import { StorageError } from "../../src/errors.ts";
import { kindOf } from "../../src/store/node.ts";
import { wrongOption } from "../options.ts";

/**
 * The methods that are called on a `DynamoDB` of `@aws-sdk/client-dynamodb`. Each takes what the API's action
 * of that name takes.
 */
export interface DynamoDBMethods {
  /** Reads many items. */
  batchGetItem(input: never, options?: never): Promise<object>;
  /** Makes a table. */
  createTable(input: never, options?: never): Promise<object>;
  /** Tells of a table. */
  describeTable(input: never, options?: never): Promise<object>;
  /** Tells whether items of a table run out. */
  describeTimeToLive(input: never, options?: never): Promise<object>;
  /** Reads one item. */
  getItem(input: never, options?: never): Promise<object>;
  /** Writes one item. */
  putItem(input: never, options?: never): Promise<object>;
  /** Reads items in order. */
  query(input: never, options?: never): Promise<object>;
  /** Writes several items in one step. */
  transactWriteItems(input: never, options?: never): Promise<object>;
  /** Changes one item. */
  updateItem(input: never, options?: never): Promise<object>;
  /** Lets items of a table run out. */
  updateTimeToLive(input: never, options?: never): Promise<object>;
}

/** The one method that is called on a `DynamoDBClient` of `@aws-sdk/client-dynamodb`, and on what wraps it. */
export interface DynamoDBSender {
  /** Runs a command. */
  send(command: never, options?: never): Promise<object>;
}

/** An action of the API, by the name that `DynamoDB` has for it. */
export type Action = keyof DynamoDBMethods;

/** What an action takes or gives, with the API's names. */
export type Fields = Readonly<Record<string, unknown>>;

/** Runs one action; rejects with what the client rejects with. */
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

/** What DynamoDB says when the same request may well do later. */
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
 * Which part of the time that a call has one request gets: the first, then those after one was lost. Each is sent anew
 * on another connection, and there may be several that are dead.
 */
const REQUEST_SHARES = [1 / 4, 1 / 16, 1 / 16, 1 / 16, 1 / 16] as const;
/** What every later one gets. */
const LATER_SHARE = 1 / 8;
/** The longest time on which that is reckoned, in milliseconds. */
const LONGEST_CALL = 8000;

/** The bounds between which a pause is drawn: up to the first at first, then twice as long, never above the last. */
const FIRST_PAUSE = 20;
const LONGEST_PAUSE = 500;

/**
 * Where the commands for a client without methods come from. Not written into the import itself, so that
 * nobody who reads or bundles this package finds a package in it: it is looked for where the application runs,
 * only when it is needed, and there it is, since the application's client came from it.
 */
const COMMANDS = ["@aws-sdk/client-dynamodb", "npm:@aws-sdk/client-dynamodb@3"];

/**
 * Finds out how a client is asked.
 *
 * @throws {TypeError} When it is none of the clients that can be.
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

/** One call of the storage: all that it asks of DynamoDB has one deadline. */
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
   * @param target Whom to ask, about which table.
   * @param timeout How long all of it may take, in milliseconds.
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

  /** Ends the call for good. */
  end(): void {
    clearTimeout(this.#timer);
  }

  /**
   * Runs an action, again and again while the table is only busy, or a request has no answer in time.
   *
   * @param expected Names of errors that the caller wants as they are.
   * @throws {StorageError} When it fails otherwise, or the deadline passes.
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

  /** Sends one request, and gives it up when it has no answer in time, whatever the client makes of the signal. */
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
   * Waits a moment of random length, longer the more often it was tried.
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

  /** Waits for something that goes on without this call, no longer than this call lasts. */
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
    // An error without words, as some networks give, would leave the reader with nothing.
    return new StorageError(this.operation, text === "" ? new Error(name, { cause: error }) : error);
  }
}

/** A request had no answer in time. */
class LostError extends Error {}

/** The table is not there. */
export class MissingTableError extends Error {
  /**
   * @param tableName The table.
   * @param cause What DynamoDB said.
   */
  constructor(tableName: string, cause: unknown) {
    super(
      `table "${tableName}" is not there: call createTable() once, or make it from a template in storage/README.md`,
      { cause },
    );
  }
}

/** What to say about a table that is there and is not ours. */
export function describeShape(tableName: string): string {
  return `table "${tableName}" has another shape: expected the partition key "bucket" (S), the sort key ` +
    `"node_key" (S) and the local secondary index "by_version" on "version" (N) with all attributes`;
}

/** What kind of error it is, in DynamoDB's words. */
export function nameOf(error: unknown): string {
  return error instanceof Error ? error.name : "";
}

/** The option's check, beside the client's. */
export function checkTableName(tableName: unknown): string {
  const isName = typeof tableName === "string" && /^([\w.-]{3,255}|arn:[^\s]{1,1020})$/.test(tableName);
  if (!isName) throw wrongOption("tableName", "3 to 255 letters, digits, _, - and ., or an ARN", tableName);
  return tableName;
}
