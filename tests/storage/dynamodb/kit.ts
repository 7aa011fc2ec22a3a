/**
 * What the DynamoDB tests share: clients of the real service, and one that a test can make fail.
 *
 * @module
 */
import process from "node:process";
import { DynamoDB, DynamoDBClient } from "@aws-sdk/client-dynamodb";
import { randomName, type RealityStorage } from "../../../src/store/contract.ts";
import { DynamoDBStorage, type DynamoDBStorageOptions } from "../../../storage/dynamodb/dynamodb_storage.ts";
import type { DynamoDBMethods, DynamoDBSender } from "../../../storage/dynamodb/dynamodb_storage.ts";
import { DEFAULT_TOMBSTONE_TIMEOUT } from "../../../storage/options.ts";

/** What every storage on DynamoDB has. */
export const SUPPORTS = {
  applyChanges: true,
  conditions: true,
  readNodes: true,
  readChanges: true,
  getIdentity: true,
  newEpoch: true,
  recent: true,
  close: true,
  mesh: true,
  ordered: true,
  tombstones: true,
} as const;

/** How a client finds DynamoDB Local, which takes any credentials and keeps tables apart by them. */
export function configure(endpoint: string = addressOfDynamoDB()): ConstructorParameters<typeof DynamoDB>[0] {
  const credentials = { accessKeyId: "tests", secretAccessKey: "tests" };
  // Of the timers that the client starts for a request, this one alone may outlive the answer: until the request
  // is closed.
  const requestHandler = { socketTimeout: 0 };
  return { endpoint, region: "us-east-1", credentials, requestHandler };
}

/** The endpoint that `deno task test` starts. */
export function addressOfDynamoDB(): string {
  const address = process.env.REALITY_TEST_DYNAMODB;
  if (address) return address;
  throw new Error(
    'REALITY_TEST_DYNAMODB is not set: run this through "deno task test", or name an endpoint in it',
  );
}

/** A name that no other table has. The service is the tests' own, and forgets its tables when it ends. */
export function newTableName(): string {
  return `test-${randomName(12)}`;
}

/** An action, as the storage asks for it: its name, what it is given, and the options beside. */
export type Action = (input: unknown, options: unknown) => Promise<object>;

/** Comes between the storage and its client: gets the action's name, its input and the client's own answer. */
export type Between = (
  name: string,
  input: unknown,
  ask: (input?: unknown) => Promise<object>,
) => Promise<object>;

/** A client whose every request goes through a function, which a test can change. */
export class Intermediary {
  /** What every request goes through. */
  between: Between = (_name, _input, ask) => ask();
  /** The client to give to a storage. */
  readonly client: DynamoDBMethods;

  /** @param client Who answers in the end. */
  constructor(client: DynamoDB) {
    this.client = new Proxy(client, {
      get: (target, name) => {
        const value: unknown = Reflect.get(target, name);
        if (typeof value !== "function") return value;
        const method = value.bind(target) as Action;
        return (input: unknown, options: unknown) =>
          this.between(String(name), input, (other) => method(other ?? input, options));
      },
    }) as unknown as DynamoDBMethods;
  }
}

/** An error as the client throws it. */
export function errorOf(name: string, more: object = {}): Error {
  return Object.assign(new Error(`${name}, as the test wants it`), { name, ...more });
}

/** One client for all storages of a file: its sockets are released when it is destroyed. */
export async function withClient(use: (client: DynamoDB) => Promise<void>): Promise<void> {
  const client = new DynamoDB(configure() ?? {});
  try {
    await use(client);
  } finally {
    client.destroy();
  }
}

/** Runs with a storage on a new table. */
export async function withStorage(
  use: (storage: DynamoDBStorage, intermediary: Intermediary, tableName: string) => Promise<void>,
  options: Partial<DynamoDBStorageOptions> = {},
): Promise<void> {
  await withClient(async (client) => {
    const tableName = newTableName();
    const intermediary = new Intermediary(client);
    const storage = new DynamoDBStorage({
      client: intermediary.client,
      tableName,
      counter: "sequential",
      ...options,
    });
    await storage.createTable();
    try {
      await use(storage, intermediary, tableName);
    } finally {
      await storage.close();
    }
  });
}

/** A kind of client, and what releases it. */
export type Connect = () => [client: DynamoDBMethods | DynamoDBSender, destroy: () => void];

/** A `DynamoDB`, whose methods are the actions. */
export const connectMethods: Connect = () => {
  const client = new DynamoDB(configure() ?? {});
  return [client, () => client.destroy()];
};

/** A `DynamoDBClient`, which takes commands. */
export const connectSender: Connect = () => {
  const client = new DynamoDBClient(configure() ?? {});
  return [client, () => client.destroy()];
};

interface Backing {
  readonly tableName: string;
  readonly clock: { now: number };
  readonly destroy: () => void;
}

/** Keeps for every storage what is behind it. */
export class Tables {
  readonly #connect: Connect;
  readonly #backings = new Map<RealityStorage, Backing>();

  /** @param connect Makes a client for each storage. */
  constructor(connect: Connect) {
    this.#connect = connect;
  }

  /** Makes a storage on a new table. */
  async create(): Promise<RealityStorage> {
    const storage = this.#open(newTableName(), { now: Date.UTC(2026, 0, 1) });
    await storage.createTable();
    return storage;
  }

  /** Makes another storage on the table of this one. */
  share(storage: RealityStorage): RealityStorage {
    const { tableName, clock } = this.#of(storage);
    return this.#open(tableName, clock);
  }

  /** Lets as much time pass as tombstones are kept, and the moments to which it is rounded. */
  elapse(storage: RealityStorage): void {
    this.#of(storage).clock.now += DEFAULT_TOMBSTONE_TIMEOUT * 9 / 8;
  }

  /** Releases a storage and its client. */
  async destroy(storage: RealityStorage): Promise<void> {
    await storage.close?.();
    this.#of(storage).destroy();
    this.#backings.delete(storage);
  }

  #of(storage: RealityStorage): Backing {
    const backing = this.#backings.get(storage);
    if (!backing) throw new Error("This storage is not one of these");
    return backing;
  }

  #open(tableName: string, clock: { now: number }): DynamoDBStorage {
    const [client, destroy] = this.#connect();
    const storage = new DynamoDBStorage({
      // Forty calls at once on a busy machine, with a database in the same processors, may take longer than the default.
      operationTimeout: 30_000,
      client,
      tableName,
      now: () => clock.now,
    });
    this.#backings.set(storage, { tableName, clock, destroy });
    return storage;
  }
}
