/**
 * A process that the SQLite tests start: it writes to a file that others write to as well, and prints a line
 * for everything that was acknowledged.
 *
 * Arguments: the file, a name of its own, how many changes to make (0: until killed).
 *
 * @module
 */
import process from "node:process";
import { openSQLite } from "../../../../storage/sql/sqlite/sqlite_storage.ts";

const [path = "", name = "", count = "0"] = process.argv.slice(2);
const storage = openSQLite(path, { synchronous: "normal", counter: "sequential" });

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
