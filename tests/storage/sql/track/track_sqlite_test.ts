import { DatabaseSync } from "node:sqlite";
import { test } from "../../../harness.ts";
import { testRandomChanges, type TrackedDatabase } from "./track_kit.ts";

function open(): { readonly db: TrackedDatabase; readonly close: () => void } {
  const database = new DatabaseSync(":memory:");
  const quote = (name: string) => `"${name.replaceAll('"', '""')}"`;
  return {
    db: {
      dialect: "sqlite",
      run: (sql) => Promise.resolve(database.prepare(sql).all()),
      quote,
      oncePerStatement: false,
      createOutbox: (name) => [
        `CREATE TABLE ${name} (id INTEGER PRIMARY KEY AUTOINCREMENT, "key" TEXT NOT NULL, hash TEXT)`,
      ],
      upsert: (insert, id, columns) =>
        `${insert} ON CONFLICT (${quote(id)}) DO UPDATE SET ${
          columns.map(quote).map((name) => `${name} = excluded.${name}`)
        }`,
    },
    close: () => database.close(),
  };
}

test("trackTable() on SQLite writes the keys of changed rows, and none of a transaction that was rolled back", async () => {
  const { db, close } = open();
  try {
    await testRandomChanges(db, 20);
  } finally {
    close();
  }
});
