/**
 * An outage of PostgreSQL.
 *
 * @module
 */
import { postgresRecipe } from "../../run/databases.ts";
import { testOutage } from "../outage.ts";

testOutage("openPostgres", "postgres", () => postgresRecipe({ durable: true }));
testOutage("SQLStorage over pg", "pg", () => postgresRecipe({ durable: true }));
