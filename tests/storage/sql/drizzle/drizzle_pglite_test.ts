/**
 * createDrizzleAdapter on PGlite.
 *
 * @module
 */
import { PGlite } from "@electric-sql/pglite";
import { drizzle } from "drizzle-orm/pglite";
import assert from "node:assert/strict";
import { createDrizzleAdapter } from "../../../../storage/drizzle.ts";
import { SQL_SUPPORTS } from "../sqlite/sqlite_kit.ts";
import { testByTitle } from "../../kit_titles.ts";
import { Tables } from "../../table_kit.ts";
import { testOnEngine } from "../../engines.ts";

const client = new PGlite();
const db = drizzle(client);

/** The test that PGlite 0.5 fails: it removes a byte order mark from the start of any text that it reads. */
const SIMILAR_KEYS = "similar keys are different nodes, and each is returned as it was written";

function testMarkIsLost(name: string, fn: () => Promise<void>): void {
  testOnEngine(`${name}, except a byte order mark`, () => assert.rejects(fn, /"key":"\uFEFF".* got /));
}

const { create, share, destroy, elapse } = new Tables((tableName, now) =>
  Promise.resolve([createDrizzleAdapter(db, { tableName, now }), () => Promise.resolve()])
);
testByTitle([SIMILAR_KEYS], {
  name: "createDrizzleAdapter on PGlite",
  ...{ create, share, destroy, elapse },
  test: testOnEngine,
  supports: SQL_SUPPORTS,
  runs: 5,
}, (isListed) => isListed ? testMarkIsLost : testOnEngine);

testOnEngine("PGlite can be closed", () => client.close());
