/**
 * Creates the table that a DynamoDB storage uses.
 *
 * @module
 */
import { StorageError } from "../../src/errors.ts";
import { type Call, describeShape, nameOf } from "./call.ts";
import type { Fields } from "./client.ts";
import { INDEX, TABLE_SHAPE, TTL_ATTRIBUTE } from "./table.ts";

/**
 * Creates the table with on-demand billing and expiry, and settles once the table can be used. Does nothing if the
 * table exists. Several servers may do it at the same time.
 *
 * @throws {StorageError} When a table of that name has another shape, or DynamoDB fails.
 */
export async function createTable(call: Call, TableName: string): Promise<void> {
  try {
    await call.request("createTable", { TableName, ...TABLE_SHAPE }, ["ResourceInUseException"]);
  } catch (error) {
    if (nameOf(error) !== "ResourceInUseException") throw error;
  }
  for (let attempt = 0;; attempt++) {
    const { Table } = await call.request("describeTable", { TableName }, ["ResourceNotFoundException"])
      .catch(orEmpty("ResourceNotFoundException"));
    const table = Table as Fields | undefined;
    if (table && !hasShape(table)) throw new StorageError(call.operation, describeShape(TableName));
    if (table?.TableStatus === "ACTIVE") break;
    await call.pause(attempt);
  }
  if (await hasExpiry(call, TableName)) return;
  const TimeToLiveSpecification = { AttributeName: TTL_ATTRIBUTE, Enabled: true };
  try {
    await call.request("updateTimeToLive", { TableName, TimeToLiveSpecification }, ["ValidationException"]);
  } catch (error) {
    // Another server was first.
    if (nameOf(error) !== "ValidationException" || !await hasExpiry(call, TableName)) throw error;
  }
}

async function hasExpiry(call: Call, TableName: string): Promise<boolean> {
  const { TimeToLiveDescription } = await call.request("describeTimeToLive", { TableName });
  const { TimeToLiveStatus, AttributeName } = (TimeToLiveDescription ?? {}) as Record<string, unknown>;
  return AttributeName === TTL_ATTRIBUTE && ["ENABLED", "ENABLING"].includes(String(TimeToLiveStatus));
}

/** Whether a table's description is that of ours. */
function hasShape(table: Fields): boolean {
  const keys = (of: unknown) =>
    ((of ?? []) as { AttributeName?: string }[]).map(({ AttributeName }) => AttributeName).join();
  const indexes = (table.LocalSecondaryIndexes ?? []) as readonly Fields[];
  return keys(table.KeySchema) === keys(TABLE_SHAPE.KeySchema) &&
    indexes.some(({ IndexName, KeySchema }) => IndexName === INDEX && keys(KeySchema) === "bucket,version");
}

function orEmpty(name: string): (error: unknown) => Fields {
  return (error) => {
    if (nameOf(error) === name) return {};
    throw error;
  };
}
