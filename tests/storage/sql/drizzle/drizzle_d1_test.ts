/**
 * createDrizzleAdapter on Cloudflare D1, which miniflare runs in workerd.
 *
 * @module
 */
import { drizzle } from "drizzle-orm/d1";
import { Miniflare } from "miniflare";
import assert from "node:assert/strict";
import { testStorage } from "../../../../storage/conformance/mod.ts";
import { createDrizzleAdapter } from "../../../../storage/drizzle.ts";
import type { SQLQuery } from "../../../../storage/sql/sql_storage.ts";
import { SQL_SUPPORTS } from "../sqlite/sqlite_kit.ts";
import { newTableName, Tables } from "../../table_kit.ts";
import { testOnEngine } from "../../engines.ts";

const script = `export default {
  async fetch(request, { DB }) {
    const { sql, params } = await request.json();
    const answer = DB.prepare(sql).bind(...params).all();
    return Response.json(await answer.catch(({ message }) => ({ error: message })));
  },
}`;

const miniflare = new Miniflare({
  ...{ modules: true, script, compatibilityDate: "2026-07-01", d1Databases: ["DB"] },
  ...{ host: "127.0.0.1", port: 0 },
});
const url = await miniflare.ready;

/** The database in that worker. Miniflare's own way to it blocks for some 40 ms a call on Deno and Node. */
function d1(): Parameters<typeof drizzle>[0] {
  const ask = async (sql: string, params: unknown[]) => {
    const response = await fetch(url, { method: "POST", body: JSON.stringify({ sql, params }) });
    const answer = await response.json();
    if (answer.error) throw new Error(answer.error);
    return answer;
  };
  const bind = (sql: string) => (...params: unknown[]) => {
    const all = () => ask(sql, params);
    return { all, run: all };
  };
  return { prepare: (sql: string) => ({ bind: bind(sql) }) } as never;
}

const client = d1();
const db = drizzle(client);
const { create, share, destroy, elapse, query } = new Tables((tableName, now) => {
  const storage = createDrizzleAdapter(db, { tableName, now, outbox: true });
  const query: SQLQuery = async (text, params) => (await client.prepare(text).bind(...params).all()).results;
  return Promise.resolve([storage, () => Promise.resolve(), query]);
});
testStorage({
  name: "createDrizzleAdapter on D1",
  ...{ create, share, destroy, elapse, query },
  test: testOnEngine,
  supports: { ...SQL_SUPPORTS, outbox: "repeated" },
  runs: 5,
});

testOnEngine("createDrizzleAdapter takes the binding that a worker gets", async () => {
  const binding = await miniflare.getD1Database("DB");
  const storage = createDrizzleAdapter(drizzle(binding as never), { tableName: newTableName() });
  const [meta] = await storage.applyChanges([{ key: "a", hash: "x", updatedAt: 1 }]);
  assert.deepEqual(await storage.getNode("a"), meta);
});

testOnEngine("workerd can be ended", () => miniflare.dispose());
