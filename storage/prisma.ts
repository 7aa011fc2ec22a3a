/**
 * A storage in the table behind one model of a Prisma schema.
 *
 * @module
 */
import { kindOf } from "../src/store/node.ts";
import { readStorageOptions, type StorageOptions, wrongOption } from "./options.ts";
import { findMismatch, printModel, type RuntimeModel } from "./sql/prisma_model.ts";
import {
  type SQLDialectName,
  SQLStorage,
  type SQLValue,
  type SQLWritten,
  type WithOutbox,
} from "./sql/sql_storage.ts";

export type { CounterKind, StorageOptions } from "./options.ts";
export type { SQLStorage, SQLValue } from "./sql/sql_storage.ts";

/**
 * The methods of a Prisma client that are used. A `PrismaClient`, an extended one and the `tx` of a transaction have
 * them.
 */
export interface PrismaDatabase {
  /** Runs a statement and returns its rows. */
  $queryRawUnsafe(sql: string, ...params: SQLValue[]): PromiseLike<unknown>;
  /** Runs a statement and returns how many rows it wrote. */
  $executeRawUnsafe(sql: string, ...params: SQLValue[]): PromiseLike<number>;
  /** Connects. The `tx` of a transaction does not have this method. */
  $connect?(): PromiseLike<void>;
  /** Runs statements in one transaction. */
  $transaction?(statements: never): Promise<unknown>;
}

/** The model of a {@linkcode createPrismaAdapter} storage, how it numbers changes, and how long it keeps deletions. */
export interface PrismaAdapterOptions extends StorageOptions, WithOutbox {
  /** The model's name, as it is in the schema. */
  modelName: string;
  /**
   * Whether the first use creates the table if it is missing. Usually `prisma migrate` creates it.
   *
   * @default {false}
   */
  createTables?: boolean;
  /**
   * Whether nothing may continue after a request was answered, as on Cloudflare Workers. Set it together with the
   * server's option of this name. A write then waits for the collection step that it starts.
   *
   * @default {false}
   */
  requestScopedIO?: boolean;
}

/** The parts of its schema that a client contains. */
interface Schema {
  readonly _activeProvider?: string;
  readonly _runtimeDataModel?: { readonly models?: Readonly<Record<string, RuntimeModel>> };
}

/** The rows of `SELECT LAST_INSERT_ID() AS id`. */
type LastId = readonly { readonly id: bigint }[];

const OWN_OPTIONS = ["modelName", "createTables", "outbox", "requestScopedIO"];
const DIALECTS: ReadonlyMap<unknown, SQLDialectName> = new Map([
  ["postgresql", "postgres"],
  ["mysql", "mysql"],
  ["sqlite", "sqlite"],
]);

/**
 * Makes an {@linkcode SQLStorage} in the table of a model of a Prisma schema. It runs its statements through the
 * client. It works with Prisma 7 and its driver adapters for PostgreSQL, MySQL, MariaDB and SQLite.
 *
 * Add this model to the schema, under any name, and create its table with `prisma migrate`. For MySQL `nodeKey`,
 * `hash` and `origin` are `Bytes`. For SQLite leave out `counter`. If the model is missing, the error message
 * contains the model for your database.
 *
 * ```prisma
 * model RealityNode {
 *   nodeKey      String  @id @map("node_key")
 *   version      BigInt
 *   hash         String
 *   updatedAt    BigInt  @map("updated_at")
 *   expiresAt    BigInt? @map("expires_at")
 *   origin       String?
 *   stamp        BigInt?
 *   epoch        String?
 *   counter      BigInt?
 *   maxVersion   BigInt? @map("max_version")
 *   maxStamp     BigInt? @map("max_stamp")
 *   sweptVersion BigInt? @map("swept_version")
 *   late         BigInt?
 *   mesh         String?
 *
 *   @@index([version])
 *   @@index([expiresAt])
 *   @@index([stamp])
 *   @@map("reality_nodes")
 * }
 * ```
 *
 * With the `tx` of a transaction as the client, changes are part of that transaction. All other changes wait until it
 * ends, so make the change last.
 *
 * @param prisma A `PrismaClient`.
 * @param options The model's name, how to number changes, and how long to keep deletions.
 * @throws {TypeError} When `prisma` is not a Prisma client, its schema lacks the model or has another model of that
 *   name, or an option is unknown, missing or wrong.
 *
 * @example A server on the application's own client
 * ```ts
 * import { RealityServer } from "@rootlodge/reality-server";
 * import { createPrismaAdapter, type PrismaDatabase } from "@rootlodge/reality-server/prisma";
 *
 * function createServer(prisma: PrismaDatabase): RealityServer {
 *   return new RealityServer({ storage: createPrismaAdapter(prisma, { modelName: "RealityNode" }) });
 * }
 * console.assert(typeof createServer === "function");
 * ```
 *
 * @example The client of Prisma 7 for PostgreSQL
 * ```ts ignore
 * import { createPrismaAdapter } from "@rootlodge/reality-server/prisma";
 * import { PrismaPg } from "@prisma/adapter-pg";
 * import { PrismaClient } from "./generated/prisma/client.ts";
 *
 * const adapter = new PrismaPg({ connectionString: process.env.DATABASE_URL });
 * const storage = createPrismaAdapter(new PrismaClient({ adapter }), { modelName: "RealityNode" });
 * ```
 */
export function createPrismaAdapter(prisma: PrismaDatabase, options: PrismaAdapterOptions): SQLStorage {
  readStorageOptions(options, "createPrismaAdapter", OWN_OPTIONS);
  const { modelName, ...rest } = options;
  if (typeof modelName !== "string" || !/^[A-Za-z]\w*$/.test(modelName)) {
    throw wrongOption("modelName", "the name of a model, as the schema spells it", modelName);
  }
  const { dialect, tableName } = findTable(prisma, modelName);
  const send = dialect === "mysql" ? sendToMySQL : sendToOthers;
  const query = async (sql: string, params: SQLValue[]) => {
    try {
      return await send(prisma, sql, params);
    } catch (error) {
      throw causeOf(error);
    }
  };
  const inTransaction = prisma.$connect === undefined;
  return new SQLStorage({ createTables: false, ...rest, query, dialect, tableName, inTransaction });
}

function findTable(
  prisma: PrismaDatabase,
  modelName: string,
): { dialect: SQLDialectName; tableName: string } {
  const kind = kindOf(prisma);
  if (typeof prisma !== "object" && typeof prisma !== "function" || prisma === null) throw wrongClient(kind);
  if (typeof prisma.$queryRawUnsafe !== "function" || typeof prisma.$executeRawUnsafe !== "function") {
    throw wrongClient("an object without $queryRawUnsafe() and $executeRawUnsafe()");
  }
  const { _activeProvider: provider, _runtimeDataModel: { models } = {} } = prisma as Schema;
  const dialect = DIALECTS.get(provider);
  if (!dialect || !models) throw wrongClient(`one for ${provider ?? "an unknown database"}`);
  if (!Object.hasOwn(models, modelName)) {
    const names = Object.keys(models).join(", ") || "none";
    throw wrongModel(`no model "${modelName}" is there (found: ${names})`, dialect, modelName);
  }
  const model = models[modelName]!;
  const tableName = model.dbName ?? modelName;
  const fault = findMismatch(dialect, model);
  if (fault) throw wrongModel(`model "${modelName}" is of another kind: ${fault}`, dialect, modelName);
  return { dialect, tableName };
}

/** Statements that create the table run without rows; all others return rows. */
async function sendToOthers(
  prisma: PrismaDatabase,
  sql: string,
  params: SQLValue[],
): Promise<readonly object[]> {
  if (!/^(CREATE|DO) /.test(sql)) return await prisma.$queryRawUnsafe(sql, ...params) as readonly object[];
  await prisma.$executeRawUnsafe(sql);
  return [];
}

/**
 * MySQL returns `LAST_INSERT_ID()` only on the connection that wrote. A transaction runs both statements on one
 * connection. The counter's row stays locked until it ends.
 */
async function sendToMySQL(
  prisma: PrismaDatabase,
  sql: string,
  params: SQLValue[],
): Promise<readonly object[] | SQLWritten> {
  if (sql.startsWith("SELECT") || sql.startsWith("(")) {
    return await prisma.$queryRawUnsafe(sql, ...params) as readonly object[];
  }
  const write = prisma.$executeRawUnsafe(sql, ...params);
  if (!sql.includes("LAST_INSERT_ID(")) return (await write, []);
  const ask = prisma.$queryRawUnsafe("SELECT LAST_INSERT_ID() AS id");
  // Prisma sends a statement when it is awaited. The `tx` of a transaction has one connection already.
  const [written, rows] = prisma.$connect && prisma.$transaction
    ? await prisma.$transaction([write, ask] as never) as [number, LastId]
    : [await write, await ask as LastId];
  // After a statement that wrote no row, LAST_INSERT_ID() still has the value of an earlier one.
  return { insertId: written === 0 ? 0 : rows[0]?.id ?? 0 };
}

/** The database's error with its own code. The storage decides by this code whether to send a statement again. */
function causeOf(error: unknown): unknown {
  const { meta } = error as { meta?: { driverAdapterError?: { cause?: unknown } } };
  const cause = meta?.driverAdapterError?.cause as
    | { originalCode?: unknown; originalMessage?: unknown }
    | undefined;
  if (cause?.originalCode === undefined) return error;
  const code = Number.isNaN(Number(cause.originalCode)) ? cause.originalCode : Number(cause.originalCode);
  return Object.assign(new Error(String(cause.originalMessage ?? code), { cause: error }), { code });
}

function wrongClient(found: string): TypeError {
  return new TypeError(
    `Cannot use this client: expected a PrismaClient for postgresql, mysql or sqlite, got ${found}`,
  );
}

function wrongModel(found: string, dialect: SQLDialectName, modelName: string): TypeError {
  const model = printModel(dialect, modelName, "reality_nodes");
  return new TypeError(
    `Cannot find the storage's model: ${found}. Put this into the schema, then run prisma migrate and generate\n\n${model}\n`,
  );
}
