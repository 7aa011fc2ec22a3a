/**
 * The race of transactions that write to the outbox, on MariaDB.
 *
 * @module
 */
import { mariadbRecipe } from "../../run/databases.ts";
import { testOutboxRace } from "../outbox_race.ts";
import { withServer } from "../server.ts";

testOutboxRace({
  name: "MariaDB",
  engine: "mysql",
  use: (test) => withServer(mariadbRecipe({ durable: true }), test),
});
