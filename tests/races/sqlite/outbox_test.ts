/**
 * The race of transactions that write to the outbox, on an SQLite file.
 *
 * @module
 */
import { join } from "node:path";
import { inFolder } from "../../storage/sql/sqlite/sqlite_kit.ts";
import { testOutboxRace } from "../outbox_race.ts";

testOutboxRace({
  name: "SQLite",
  engine: "sqlite",
  use: (test) => inFolder((folder) => test(join(folder, "reality.db"))),
});
