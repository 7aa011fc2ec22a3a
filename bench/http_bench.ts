/**
 * Sync requests over HTTP, beside the limit: `node bench/http_bench.ts deno`. The load comes from this process, over
 * connections of its own, so that no other tool is needed; what is measured runs on the runtime that is named.
 *
 * @module
 */
import process from "node:process";
import { PUBLISHED_FIELDS } from "./contenders/published.ts";
import { Connections } from "./http/load.ts";
import { ServerProcess } from "./http/process.ts";
import { inTurn, percentile } from "./measure.ts";
import { finish, isQuick, progress, type Row } from "./report.ts";
import { findRuntime, type RuntimeName } from "./runtimes.ts";
import { makeBodies } from "./workload.ts";

const CONNECTIONS = 64;
const rounds = isQuick ? 3 : 5;
const roundMs = isQuick ? 400 : 700;
const command = findRuntime((process.argv[2] ?? "node") as RuntimeName);
if (command === undefined) throw new Error(`Cannot find ${process.argv[2]}: name it in a REALITY_ variable`);

const isNode = (process.argv[2] ?? "node") === "node";
/** The first two everywhere, the others with 10 keys alone. Express is what 1.2.2 has on Node. */
const contenders = ["limit", "reality", "1.2.2", ...isNode ? ["reality, Express"] : []];
const servers = await Promise.all(contenders.map((name) => ServerProcess.start(command, name)));
const { runtime } = await servers[0]!.usage();
const rows: Row[] = [];
for (const keys of isQuick ? [10, 1000] : [1, 10, 100, 1000]) {
  for (const changed of isQuick ? [0.1] : [0, 0.1]) await measureLoad(keys, changed);
}
await Promise.all(servers.map((server) => server.stop()));
finish("http", rows, runtime);

async function measureLoad(keys: number, changed: number): Promise<void> {
  const name = `${keys} ${keys === 1 ? "key" : "keys"}, ${changed * 100} % changed`;
  progress(`${runtime} over HTTP: ${name}`);
  const present = contenders.slice(0, keys === 10 ? contenders.length : 2);
  const workload = { keys, changed, nodes: 10_000 };
  const clients = await Promise.all(present.map((name, i) => {
    const bodies = makeBodies(workload, name === "1.2.2" ? PUBLISHED_FIELDS : {});
    return Connections.open(servers[i]!.port, CONNECTIONS, bodies);
  }));
  const empty = () => Object.fromEntries(present.map((name): [string, number[]] => [name, []]));
  const figures = {
    "processor time": empty(),
    "requests a second": empty(),
    "99th percentile": empty(),
  };
  for (let round = 0; round <= rounds; round++) {
    for (const i of inTurn([...present.keys()], round)) {
      const before = await servers[i]!.usage();
      const { requests, lasted, latencies } = await clients[i]!.load(roundMs);
      const after = await servers[i]!.usage();
      // The first round warms up.
      if (round === 0) continue;
      figures["processor time"][present[i]!]!.push((after.processor - before.processor) / requests);
      figures["requests a second"][present[i]!]!.push(requests / lasted * 1000);
      figures["99th percentile"][present[i]!]!.push(percentile(latencies, 0.99));
    }
  }
  for (const client of clients) client.close();
  const units = {
    "processor time": "µs a request",
    "requests a second": "more is better",
    "99th percentile": "ms",
  };
  for (const [group, figure] of Object.entries(figures)) {
    rows.push({
      group: `${CONNECTIONS} connections, ${group}`,
      name,
      unit: units[group as keyof typeof units],
      base: "limit",
      figures: figure,
    });
  }
}
