/**
 * The model of a Prisma schema whose table is the one that an SQL storage works on. Pure.
 *
 * @module
 */
import { MAX_HASH_BYTES, MAX_KEY_BYTES } from "../../src/store/node.ts";
import type { SQLDialectName } from "./sql_options.ts";

/** What Prisma knows of a model while the application runs. */
export interface RuntimeModel {
  /** The table's name, where `@@map` gives one. */
  readonly dbName?: string | null;
  /** The model's fields. */
  readonly fields: readonly RuntimeField[];
}

/** What Prisma knows of a field. */
export interface RuntimeField {
  /** The field's name. */
  readonly name: string;
  /** Its type, without a `?`. */
  readonly type: string;
  /** The column's name, where `@map` gives one. */
  readonly dbName?: string | null;
}

/** A field of the model. */
interface Field {
  readonly name: string;
  readonly column: string;
  readonly type: string;
  readonly attribute?: string;
}

const FIELDS: readonly Field[] = [
  { name: "nodeKey", column: "node_key", type: "String" },
  { name: "version", column: "version", type: "BigInt" },
  { name: "hash", column: "hash", type: "String" },
  { name: "updatedAt", column: "updated_at", type: "BigInt" },
  { name: "expiresAt", column: "expires_at", type: "BigInt?" },
  { name: "origin", column: "origin", type: "String?" },
  { name: "stamp", column: "stamp", type: "BigInt?" },
  { name: "epoch", column: "epoch", type: "String?" },
  { name: "counter", column: "counter", type: "BigInt?" },
  { name: "maxVersion", column: "max_version", type: "BigInt?" },
  { name: "maxStamp", column: "max_stamp", type: "BigInt?" },
  { name: "sweptVersion", column: "swept_version", type: "BigInt?" },
  { name: "late", column: "late", type: "BigInt?" },
  { name: "mesh", column: "mesh", type: "String?" },
];

/** Bytes where keys are compared, as each of MySQL's text collations takes some of them for one another. */
const MYSQL: Readonly<Record<string, Pick<Field, "type" | "attribute">>> = {
  nodeKey: { type: "Bytes", attribute: `@db.VarBinary(${MAX_KEY_BYTES})` },
  hash: { type: "Bytes", attribute: `@db.VarBinary(${MAX_HASH_BYTES})` },
  epoch: { type: "String?", attribute: "@db.VarChar(128)" },
  origin: { type: "Bytes?", attribute: "@db.VarBinary(128)" },
  mesh: { type: "String?", attribute: "@db.MediumText" },
};

/** The model as it is written in a schema for this kind of database. */
export function printModel(dialect: SQLDialectName, modelName: string, tableName: string): string {
  const rows = fieldsOf(dialect).map(({ name, column, type, attribute }) => {
    const attributes = [
      ...(name === "nodeKey" ? ["@id"] : []),
      ...(column === name ? [] : [`@map("${column}")`]),
      ...(attribute ? [attribute] : []),
    ];
    return `  ${name.padEnd(12)} ${type.padEnd(7)} ${attributes.join(" ")}`.trimEnd();
  });
  // MySQL is told which index to read by name.
  const named = (name: string) => dialect === "mysql" ? `, map: "${name}"` : "";
  const end = [
    "",
    `  @@index([version]${named("version")})`,
    `  @@index([expiresAt]${named("expires_at")})`,
    `  @@index([stamp]${named("stamp")})`,
    `  @@map("${tableName}")`,
    "}",
  ];
  return [`model ${modelName} {`, ...rows, ...end].join("\n");
}

/** What keeps a model's table from being ours; `undefined` where nothing does. */
export function findMismatch(dialect: SQLDialectName, model: RuntimeModel): string | undefined {
  const types = new Map(model.fields.map((field) => [field.dbName ?? field.name, field.type]));
  const wrong = fieldsOf(dialect).flatMap(({ column, type }) => {
    const expected = type.replace("?", "");
    const found = types.get(column);
    if (found === expected) return [];
    return [found === undefined ? `it has no column ${column}` : `${column} is ${found}, not ${expected}`];
  });
  return wrong.length > 0 ? wrong.join(", ") : undefined;
}

function fieldsOf(dialect: SQLDialectName): readonly Field[] {
  if (dialect === "sqlite") return FIELDS.filter(({ name }) => name !== "counter");
  return dialect === "mysql" ? FIELDS.map((field) => ({ ...field, ...MYSQL[field.name] })) : FIELDS;
}
