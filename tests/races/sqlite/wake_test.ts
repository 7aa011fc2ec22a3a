/**
 * Servers on one SQLite file.
 *
 * @module
 */
import { join } from "node:path";
import { inFolder } from "../../storage/sql/sqlite/sqlite_kit.ts";
import { testWakes } from "../wake.ts";

testWakes({
  name: "SQLite",
  engine: "sqlite",
  use: (test) => inFolder((folder) => test(join(folder, "reality.db"))),
  runtime: "bun",
});
