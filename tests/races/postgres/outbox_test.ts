/**
 * The race of transactions that write to the outbox, on PostgreSQL.
 *
 * @module
 */
import { postgresRecipe } from "../../run/databases.ts";
import { testOutboxRace } from "../outbox_race.ts";
import { withServer } from "../server.ts";

testOutboxRace({
  name: "PostgreSQL",
  engine: "postgres",
  use: (test) => withServer(postgresRecipe({ durable: true }), test),
});
