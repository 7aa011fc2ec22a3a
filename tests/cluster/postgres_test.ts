/**
 * Servers on one PostgreSQL.
 *
 * @module
 */
import { together } from "./places.ts";
import { testCluster } from "./trial.ts";

testCluster({
  name: "one PostgreSQL",
  seconds: 60,
  use: (test) => test({ places: together(), meshSecret: "known to all servers" }),
});
