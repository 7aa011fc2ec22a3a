/**
 * A process that the DynamoDB tests start: it writes to a table that others write to as well, and prints a line
 * for everything that was acknowledged.
 *
 * Arguments: the table, a name of its own, how many rounds to make (0: until killed), `client` or `methods`.
 *
 * @module
 */
import process from "node:process";
import { DynamoDBStorage } from "../../../storage/dynamodb/dynamodb_storage.ts";
import { connectMethods, connectSender } from "./kit.ts";

const [tableName = "", name = "", count = "0", kind] = process.argv.slice(2);
const [client, destroy] = kind === "client" ? connectSender() : connectMethods();
// Long, since many processes on one small machine hold each other up.
const storage = new DynamoDBStorage({ client, tableName, counter: "sequential", operationTimeout: 60_000 });

for (let i = 0; count === "0" || i < Number(count); i++) {
  const key = `${name}:${i}`;
  const updatedAt = Date.now();
  const [own, shared] = await storage.applyChanges([
    { key, hash: key, updatedAt },
    { key: "shared", hash: key, updatedAt },
  ]);
  const reserved = await storage.incrementVersion(key);
  await storage.setNode(`${key}:set`, { key: `${key}:set`, version: reserved, hash: key, updatedAt });
  // Written at once, so that what was acknowledged is known however this process ends.
  await new Promise((resolve) => {
    process.stdout.write(`${JSON.stringify([key, own?.version, shared?.version, reserved])}\n`, resolve);
  });
}
await storage.close();
destroy();
