/**
 * A storage in the table behind one model of a Prisma schema.
 *
 * @module
 */
import { kindOf } from "../src/store/node.ts";
import { readStorageOptions, type StorageOptions, wrongOption } from "./options.ts";
import { findMismatch, printModel, type RuntimeModel } from "./sql/prisma_model.ts";
import { type SQLDialectName, SQLStorage, type SQLValue, type SQLWritten } from "./sql/sql_storage.ts";

export type { CounterKind, StorageOptions } from "./options.ts";
export type { SQLStorage, SQLValue } from "./sql/sql_storage.ts";

/** What is called of a Prisma client. A `PrismaClient`, an extended one and the `tx` of a transaction fit. */
export interface PrismaDatabase {
  /** Runs a statement and gives its rows. */
  $queryRawUnsafe(sql: string, ...params: SQLValue[]): PromiseLike<unknown>;
  /** Runs a statement and gives how many rows it wrote. */
  $executeRawUnsafe(sql: string, ...params: SQLValue[]): PromiseLike<number>;
  /** Only a client that is no transaction's has this. */
  $connect?(): PromiseLike<void>;
  /** Runs statements in one transaction. */
  $transaction?(statements: never): Promise<unknown>;
}

/** Which model a {@linkcode createPrismaAdapter} storage keeps its nodes in, and how it counts and forgets. */
export interface PrismaAdapterOptions extends StorageOptions {
  /** The model's name, as the schema spells it. */
  modelName: string;
  /**
   * Whether the first use makes the table where it is not there. Usually that is what `prisma migrate` does.
   *
   * @default {false}
   */
  createTables?: boolean;
  /**
   * Whether nothing goes on once a request was answered, as on Cloudflare Workers: the same as the server's option of
   * this name. Then a write waits for the piece of sweeping that it begins.
   *
   * @default {false}
   */
  requestScopedIO?: boolean;
}

/** What a client carries with it of its schema. */
interface Schema {
  readonly _activeProvider?: string;
  readonly _runtimeDataModel?: { readonly models?: Readonly<Record<string, RuntimeModel>> };
}

/** What MySQL answers when it is asked for the last id. */
type LastId = readonly { readonly id: bigint }[];

const OWN_OPTIONS = ["modelName", "createTables", "requestScopedIO"];
const DIALECTS: ReadonlyMap<unknown, SQLDialectName> = new Map([
  ["postgresql", "postgres"],
  ["mysql", "mysql"],
  ["sqlite", "sqlite"],
]);

/**
 * Makes a storage in the table behind a model of a Prisma schema: an {@linkcode SQLStorage} whose statements run
 * through the client. Works with Prisma 7 and its driver adapters for PostgreSQL, MySQL, MariaDB and SQLite.
 *
 * The schema needs this model, under whatever name, and `prisma migrate` makes its table. For MySQL `nodeKey`,
 * `hash` and `origin` are `Bytes`, and for SQLite `counter` is left out; without the model the error
 * prints what to paste.
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
 * With the `tx` of a transaction as the client, what is written is part of that transaction; every other change
 * waits for its end, so that it is best written last.
 *
 * @param prisma A `PrismaClient`.
 * @param options The model's name, and how to count and forget.
 * @throws {TypeError} When the client is none, its schema lacks the model or has another one of that name, or an
 *   option is unknown, missing or wrong.
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

/** Every statement but those that make the table gives rows, or none. */
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
 * MySQL tells the connection that asks, and nobody else, what `LAST_INSERT_ID(…)` got. A transaction is how to
 * ask on the same one; the counter's row stays locked until it ends, so nothing is lost by it but time.
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
  // Both are sent when they are awaited. What is in a transaction already has one connection.
  const [written, rows] = prisma.$connect && prisma.$transaction
    ? await prisma.$transaction([write, ask] as never) as [number, LastId]
    : [await write, await ask as LastId];
  // A statement that wrote no row leaves what an earlier one got.
  return { insertId: written === 0 ? 0 : rows[0]?.id ?? 0 };
}

/** What the database said, with its own code, as the storage knows which errors to try again by theirs. */
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
