/**
 * createDrizzleAdapter on PGlite.
 *
 * @module
 */
import { PGlite } from "@electric-sql/pglite";
import { drizzle } from "drizzle-orm/pglite";
import assert from "node:assert/strict";
import { testStorage } from "../../../../storage/conformance/mod.ts";
import { createDrizzleAdapter } from "../../../../storage/drizzle.ts";
import { SQL_SUPPORTS } from "../sqlite/sqlite_kit.ts";
import { Tables } from "../../table_kit.ts";
import { testOnEngine } from "../../engines.ts";

const client = new PGlite();
const db = drizzle(client);

/** PGlite 0.5 takes a byte order mark off the start of any text that it reads. */
function testOnPGlite(name: string, fn: () => Promise<void>): void {
  if (!name.includes("similar keys are different nodes")) testOnEngine(name, fn);
  else testOnEngine(`${name}, but for a byte order mark`, () => assert.rejects(fn, /"key":"\uFEFF".* got /));
}

const { create, share, destroy, elapse } = new Tables((tableName, now) =>
  Promise.resolve([createDrizzleAdapter(db, { tableName, now }), () => Promise.resolve()])
);
testStorage({
  name: "createDrizzleAdapter on PGlite",
  ...{ create, share, destroy, elapse },
  test: testOnPGlite,
  supports: SQL_SUPPORTS,
  runs: 5,
});

testOnEngine("PGlite can be closed", () => client.close());
