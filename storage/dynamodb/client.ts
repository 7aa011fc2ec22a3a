/**
 * Sends requests to DynamoDB with any of the supported clients.
 *
 * @module
 */
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

/** A transaction has at most 100 items, and one of them is the counter's. */
export const MAX_CHANGES = 99;

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

/** Checks the option `tableName`. */
export function checkTableName(tableName: unknown): string {
  const isName = typeof tableName === "string" && /^([\w.-]{3,255}|arn:[^\s]{1,1020})$/.test(tableName);
  if (!isName) throw wrongOption("tableName", "3 to 255 letters, digits, _, - and ., or an ARN", tableName);
  return tableName;
}
