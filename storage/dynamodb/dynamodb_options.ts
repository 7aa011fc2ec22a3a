/**
 * The options of a DynamoDB storage.
 *
 * @module
 */
import { type ReadStorageOptions, readStorageOptions, type StorageOptions, wrongOption } from "../options.ts";
import { type Ask, checkTableName, connect, type DynamoDBMethods, type DynamoDBSender } from "./client.ts";

/** How a `DynamoDBStorage` reaches its table. */
export interface DynamoDBStorageOptions extends StorageOptions {
  /**
   * A `DynamoDB` of `@aws-sdk/client-dynamodb` 3, or a `DynamoDBClient` or a client that wraps one. For a
   * `DynamoDBClient` the storage imports the commands from that package at the first use. A bundle that contains the
   * package needs a `DynamoDB`. The caller owns the client: `close()` does not destroy it.
   */
  client: DynamoDBMethods | DynamoDBSender;
  /** The table's name, or its ARN. */
  tableName: string;
  /**
   * Whether the first use creates the table if it is missing. That takes some seconds, and permissions to do so. With
   * `false`, create the table with `createTable()` or from a template.
   *
   * @default {false}
   */
  createTables?: boolean;
  /**
   * How long one call may take with all its retries, in milliseconds. Lower values fail sooner. Higher values tolerate
   * more throttling. At least 1; keep it below the server's `storageTimeout`.
   *
   * @default {8000}
   */
  operationTimeout?: number;
}

/** The options with every default filled in. */
export interface ReadDynamoDBOptions {
  readonly client: DynamoDBMethods | DynamoDBSender;
  /** Sends a request with the client. */
  readonly ask: Ask;
  readonly tableName: string;
  readonly createTables: boolean;
  readonly operationTimeout: number;
  /** The options that all storages have. */
  readonly shared: ReadStorageOptions;
}

const OWN_OPTIONS = ["client", "tableName", "createTables", "operationTimeout"];
const DEFAULT_OPERATION_TIMEOUT = 8000;

/**
 * Checks the options.
 *
 * @throws {TypeError} When an option is unknown, missing or wrong; the message names it.
 */
export function readDynamoDBOptions(options: DynamoDBStorageOptions): ReadDynamoDBOptions {
  const shared = readStorageOptions(options, "DynamoDBStorage", OWN_OPTIONS);
  const { client, tableName, createTables = false, operationTimeout = DEFAULT_OPERATION_TIMEOUT } = options;
  if (typeof createTables !== "boolean") throw wrongOption("createTables", "true or false", createTables);
  if (typeof operationTimeout !== "number" || !(operationTimeout >= 1 && operationTimeout < 2 ** 31)) {
    throw wrongOption("operationTimeout", "milliseconds, 1 or more", operationTimeout);
  }
  const ask = connect(client);
  return { client, ask, tableName: checkTableName(tableName), createTables, operationTimeout, shared };
}
