/**
 * A MariaDB that goes away and comes back.
 *
 * @module
 */
import { mariadbRecipe } from "../../run/databases.ts";
import { testOutage } from "../outage.ts";

testOutage("SQLStorage over mysql2", "mysql", () => mariadbRecipe({ durable: true }));
