/**
 * Two servers on one PostgreSQL, and one with an SQLite file of its own.
 *
 * @module
 */
import { inFolder } from "../storage/sql/sqlite/sqlite_kit.ts";
import { apart, together } from "./places.ts";
import { testCluster } from "./trial.ts";

testCluster({
  name: "one PostgreSQL and an SQLite file",
  seconds: 8,
  use: (test) =>
    inFolder((folder) =>
      test({
        places: [...together().slice(0, 2), ...apart(folder).slice(2)],
        meshSecret: "known to all servers",
      })
    ),
});
