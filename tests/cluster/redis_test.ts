/**
 * Servers with an SQLite file each and a secret; two of them use Redis as well, with a client each of its own kind.
 *
 * @module
 */
import { inFolder } from "../storage/sql/sqlite/sqlite_kit.ts";
import { apart } from "./places.ts";
import { testCluster } from "./trial.ts";

testCluster({
  name: "SQLite files with a secret and Redis",
  seconds: 60,
  use: (test) =>
    inFolder((folder) =>
      test({
        places: apart(folder),
        meshSecret: "known to all servers",
        redis: ["ioredis", "node-redis", undefined],
      })
    ),
});
