/**
 * Servers with an SQLite file each, which know a secret.
 *
 * @module
 */
import { inFolder } from "../storage/sql/sqlite/sqlite_kit.ts";
import { apart } from "./places.ts";
import { testCluster } from "./trial.ts";

testCluster({
  name: "SQLite files with a secret",
  seconds: 8,
  use: (test) => inFolder((folder) => test({ places: apart(folder), meshSecret: "known to all servers" })),
});
