/**
 * Servers on one PostgreSQL: with its announcements, and without.
 *
 * @module
 */
import { addressOf } from "../../storage/table_kit.ts";
import { testWakes } from "../wake.ts";

const use = (test: (address: string) => Promise<void>) => test(addressOf("REALITY_TEST_POSTGRES"));

testWakes({ name: "openPostgres", engine: "postgres", use, runtime: "node" });
testWakes({ name: "SQLStorage on PostgreSQL", engine: "pg", use, runtime: "bun" });
