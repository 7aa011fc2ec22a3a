import postgres from "postgres";
import { test } from "../../../harness.ts";
import { addressOf } from "../../table_kit.ts";
import { testRandomChanges, type TrackedDatabase } from "./track_kit.ts";

const URL = addressOf("REALITY_TEST_POSTGRES");

function open(): { readonly db: TrackedDatabase; readonly close: () => Promise<void> } {
  const sql = postgres(URL, { max: 1, onnotice: () => {} });
  const quote = (name: string) => `"${name.replaceAll('"', '""')}"`;
  return {
    db: {
      dialect: "postgres",
      run: async (text) => [...await sql.unsafe(text)],
      quote,
      oncePerStatement: true,
      createOutbox: (name) => [
        `CREATE TABLE ${name} (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, key text COLLATE "C" NOT NULL, hash text)`,
      ],
      upsert: (insert, id, columns) =>
        `${insert} ON CONFLICT (${quote(id)}) DO UPDATE SET ${
          columns.map(quote).map((name) => `${name} = excluded.${name}`)
        }`,
    },
    close: () => sql.end(),
  };
}

test("trackTable() on PostgreSQL writes each key once per statement, and none of a transaction that was rolled back", async () => {
  const { db, close } = open();
  try {
    await testRandomChanges(db, 6);
  } finally {
    await close();
  }
});
