/**
 * What clients see of a server during and after an outage of its database.
 *
 * @module
 */
import assert from "node:assert/strict";
import { createFetchHandler } from "../../adapters/fetch.ts";
import type { RealityError } from "../../src/errors.ts";
import { RealityServer } from "../../src/server.ts";
import { test } from "../harness.ts";
import type { Recipe } from "../run/server.ts";
import { listenFetch } from "../runtimes/fetch.ts";
import { newTableName } from "../storage/table_kit.ts";
import { type Engine, open } from "./engines.ts";
import { withServer } from "./server.ts";

const TOKEN = "token-of-the-outage-test";
/** The time after the outage within which everything works again, in milliseconds. */
const LONGEST = 5000;

/** Registers the test. */
export function testOutage(name: string, engine: Engine, recipe: () => Recipe): void {
  test(`${name}: a database outage costs a 503 and a report, and nothing afterwards`, async () => {
    await withServer(recipe(), async (address, database) => {
      const { storage, close } = await open({ engine, address, tableName: newTableName() });
      const reports: RealityError[] = [];
      const server = new RealityServer({
        storage,
        writeTokens: [TOKEN],
        storageTimeout: 3000,
        onError: (error) => reports.push(error),
      });
      const { origin, close: shut } = await listenFetch(createFetchHandler(server));
      const post = (route: string, body: unknown) =>
        fetch(`${origin}/reality/${route}`, {
          method: "POST",
          headers: { "content-type": "application/json", authorization: `Bearer ${TOKEN}` },
          body: JSON.stringify(body),
        });
      const sync = (known: Record<string, number>, wait = 0) => post("sync", { known, wait });
      try {
        assert.equal(await statusOf(post("update", { key: "a", hash: "before" })), 200);
        assert.equal(await statusOf(sync({ a: 0 })), 200);
        const waiting = sync({ b: 0 }, 25_000).then((response) => response.json());
        // The wait begins after the first read, which must not be the one that fails.
        while ((await server.getStats()).waits === 0) await pause();

        await database.crash();
        for (let i = 0; i < 3; i++) {
          for (const asking of [sync({ a: 0 }), post("update", { key: "a", hash: `lost ${i}` })]) {
            const response = await asking;
            assert.equal(response.status, 503);
            const seconds = Number(response.headers.get("retry-after"));
            assert.ok(Number.isInteger(seconds) && seconds >= 1, `Retry-After is ${seconds}`);
            assert.equal((await response.json()).error.code, "ERR_REALITY_STORAGE");
          }
        }
        assert.deepEqual(
          reports.map(tell),
          ["ERR_REALITY_STORAGE went bad"],
          "told once, not at every request",
        );

        await database.restart();
        const back = Date.now();
        while (await statusOf(sync({ a: 0 })) !== 200) {
          assert.ok(Date.now() - back < LONGEST, `not well ${LONGEST} ms after the database is`);
          await pause();
        }
        assert.equal(await statusOf(post("update", { key: "b", hash: "after" })), 200);
        const told = await waiting;
        assert.equal(told.changed.b?.hash, "after", "who waited through it all is told");
        assert.ok(Date.now() - back < LONGEST, "everything is well soon after the database is");
        assert.deepEqual(reports.map(tell), ["ERR_REALITY_STORAGE went bad", "ERR_REALITY_STORAGE is well"]);
      } finally {
        await server.close();
        await shut();
        await close();
      }
    });
  });
}

function tell(error: RealityError): string {
  return `${error.code} ${"recovered" in error && error.recovered ? "is well" : "went bad"}`;
}

async function statusOf(asking: Promise<Response>): Promise<number> {
  const response = await asking;
  await response.body?.cancel();
  return response.status;
}

function pause(): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, 20));
}
