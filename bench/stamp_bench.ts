/**
 * Stamps beside syncs, in process: `node bench/stamp_bench.ts`, on Deno, Node or Bun.
 *
 * @module
 */
import { createReality } from "./contenders/reality.ts";
import { measure } from "./measure.ts";
import { finish, isQuick, progress, type Row, runtime } from "./report.ts";
import { keyOf } from "./workload.ts";

const effort = isQuick ? { rounds: 3, roundMs: 40 } : { rounds: 7, roundMs: 150 };
const NODES = 10_000;

const { server } = await createReality(NODES);
const { epoch } = await server.handleSync({ known: {} });
const rows: Row[] = [];
for (const count of [1, 3, 10, 50]) {
  const keys = Array.from({ length: count }, (_, i) => keyOf(i));
  const stamp = await server.stamp(keys);
  const { versions } = stamp.toJSON();
  const request = new Request("http://localhost/", { headers: { "if-none-match": stamp.etag } });
  progress(`${runtime}, stamp: ${count} keys`);
  rows.push({
    group: "stamp",
    name: `${count} ${count === 1 ? "key" : "keys"}, unchanged`,
    unit: "µs a request",
    base: "handleSync",
    figures: await measure([
      { name: "handleSync", run: () => server.handleSync({ epoch, known: versions }) },
      { name: "stamp", run: () => server.stamp(keys) },
      { name: "stamp and isFresh", run: async () => (await server.stamp(keys)).isFresh(request) },
      { name: "stamp and headers", run: async () => (await server.stamp(keys)).headers },
    ], effort),
  });
}
await server.close();
finish("stamp", rows);
