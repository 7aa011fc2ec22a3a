/**
 * Servers on one MariaDB.
 *
 * @module
 */
import { addressOf } from "../../storage/table_kit.ts";
import { testWakes } from "../wake.ts";

testWakes({
  name: "SQLStorage on MariaDB",
  engine: "mysql",
  use: (test) => test(addressOf("REALITY_TEST_MYSQL")),
  runtime: "node",
});
