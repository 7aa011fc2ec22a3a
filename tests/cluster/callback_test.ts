/**
 * Servers with an SQLite file each, which know no secret and call each other back.
 *
 * @module
 */
import { inFolder } from "../storage/sql/sqlite/sqlite_kit.ts";
import { apart } from "./places.ts";
import { testCluster } from "./trial.ts";

testCluster({
  name: "SQLite files without a secret",
  seconds: 8,
  use: (test) => inFolder((folder) => test({ places: apart(folder) })),
});
