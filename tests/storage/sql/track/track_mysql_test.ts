import { createConnection } from "mysql2/promise";
import { test } from "../../../harness.ts";
import { addressOf } from "../../table_kit.ts";
import { testRandomChanges, type TrackedDatabase } from "./track_kit.ts";

const URL = addressOf("REALITY_TEST_MYSQL");

async function open(): Promise<{ readonly db: TrackedDatabase; readonly close: () => Promise<void> }> {
  const connection = await createConnection({ uri: URL });
  const quote = (name: string) => `\`${name.replaceAll("`", "``")}\``;
  return {
    db: {
      dialect: "mysql",
      run: async (text) => {
        const [rows] = await connection.query(text);
        return Array.isArray(rows) ? rows as Record<string, unknown>[] : [];
      },
      quote,
      oncePerStatement: false,
      createOutbox: (name) => [
        `CREATE TABLE ${name} (id BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY, \`key\` VARCHAR(600)) ` +
        `ENGINE = InnoDB CHARACTER SET utf8mb4 COLLATE utf8mb4_bin`,
      ],
      upsert: (insert, _id, columns) =>
        `${insert} ON DUPLICATE KEY UPDATE ${columns.map(quote).map((name) => `${name} = VALUES(${name})`)}`,
    },
    close: () => connection.end(),
  };
}

test("trackTable() on MariaDB writes the keys of changed rows, and none of a transaction that was rolled back", async () => {
  const { db, close } = await open();
  try {
    await testRandomChanges(db, 6);
  } finally {
    await close();
  }
});
