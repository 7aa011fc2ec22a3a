/**
 * Races on MariaDB.
 *
 * @module
 */
import { mariadbRecipe } from "../../run/databases.ts";
import { testRaces } from "../kit.ts";
import { withServer } from "../server.ts";

testRaces({
  name: "MariaDB",
  engine: "mysql",
  use: (test) => withServer(mariadbRecipe({ durable: true }), test),
  canCrash: true,
});
