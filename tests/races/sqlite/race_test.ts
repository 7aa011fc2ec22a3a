/**
 * Races on an SQLite file.
 *
 * @module
 */
import { join } from "node:path";
import { inFolder } from "../../storage/sql/sqlite/sqlite_kit.ts";
import { testRaces } from "../kit.ts";

testRaces({
  name: "SQLite",
  engine: "sqlite",
  use: (test) => inFolder((folder) => test(join(folder, "reality.db"))),
  canCrash: false,
});
