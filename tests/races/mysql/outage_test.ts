/**
 * An outage of MariaDB.
 *
 * @module
 */
import { mariadbRecipe } from "../../run/databases.ts";
import { testOutage } from "../outage.ts";

testOutage("SQLStorage over mysql2", "mysql", () => mariadbRecipe({ durable: true }));
