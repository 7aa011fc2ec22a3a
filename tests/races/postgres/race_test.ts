/**
 * Races on PostgreSQL.
 *
 * @module
 */
import { postgresRecipe } from "../../run/databases.ts";
import { withServer } from "../server.ts";
import { testRaces } from "../kit.ts";

testRaces({
  name: "PostgreSQL",
  engine: "postgres",
  use: (test) => withServer(postgresRecipe({ durable: true }), test),
  canCrash: true,
});
