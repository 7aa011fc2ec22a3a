/**
 * Sync requests in process, beside the limit: `node bench/sync_bench.ts`, on Deno, Node or Bun.
 *
 * @module
 */
import { Limit } from "./contenders/limit.ts";
import { createPublished, PUBLISHED_FIELDS } from "./contenders/published.ts";
import { createReality } from "./contenders/reality.ts";
import { type Contender, measure } from "./measure.ts";
import { finish, isQuick, progress, type Row, runtime } from "./report.ts";
import { countChanged, makeBodies, type Workload } from "./workload.ts";

const effort = isQuick ? { rounds: 3, roundMs: 40 } : { rounds: 7, roundMs: 150 };
const sizes = isQuick ? [1, 10, 100, 1000] : [1, 10, 100, 1000, 10_000];
const shares = isQuick ? [0.1] : [0, 0.1];
const workloads: Workload[] = [
  ...sizes.flatMap((keys) => shares.map((changed) => ({ keys, changed, nodes: Math.max(10_000, keys) }))),
  { keys: 100, changed: 1, nodes: 10_000 },
];
if (!isQuick) { for (const keys of [10, 1000]) workloads.push({ keys, changed: 0.1, nodes: 1_000_000 }); }

const rows: Row[] = [];
for (const workload of workloads) {
  const { keys, changed, nodes } = workload;
  const name = `${keys} ${keys === 1 ? "key" : "keys"}, ${changed * 100} % changed` +
    (nodes > 10_000 ? `, ${nodes} nodes` : "");
  const bodies = makeBodies(workload);
  const publishedBodies = makeBodies(workload, PUBLISHED_FIELDS);
  const limit = new Limit(nodes);
  const reality = await createReality(nodes);
  const published = await createPublished(nodes);
  await expectSame(bodies, workload, limit, reality);

  const fetchers = {
    limit: (request: Request) => limit.fetch(request),
    reality: reality.fetch,
    "1.2.2": published.fetch,
    "Request and Response": async (request: Request) => new Response(await request.text()),
  };
  progress(`${runtime}, fetch handler: ${name}`);
  rows.push({
    group: "fetch handler",
    name,
    unit: "µs a request",
    base: "limit",
    figures: await measure(
      Object.entries(fetchers).map(([name, fetch]) => ({
        name,
        run: fetching(name === "1.2.2" ? publishedBodies : bodies, fetch),
      })),
      effort,
    ),
  });

  progress(`${runtime}, handleSync: ${name}`);
  const contenders: Contender[] = [
    { name: "limit", run: answering(bodies, (body) => limit.answer(body)) },
    { name: "reality", run: answering(bodies, reality.answer) },
    { name: "JSON.parse", run: answering(bodies, (body) => JSON.parse(body)) },
  ];
  rows.push({
    group: "handleSync between JSON.parse and JSON.stringify",
    name,
    unit: "µs a request",
    base: "limit",
    figures: await measure(contenders, effort),
  });
  await reality.server.close();
}
finish("sync", rows);

function fetching(bodies: readonly string[], fetch: (request: Request) => Promise<Response>) {
  let turn = 0;
  return async () => {
    const body = bodies[turn++ % bodies.length]!;
    // Every HTTP request with a body has a content-length.
    const headers = { "content-type": "application/json", "content-length": String(body.length) };
    const response = await fetch(
      new Request("http://localhost/reality/sync", { method: "POST", headers, body }),
    );
    return await response.text();
  };
}

function answering(bodies: readonly string[], answer: (body: string) => unknown) {
  let turn = 0;
  return () => answer(bodies[turn++ % bodies.length]!);
}

/** A figure of a wrong answer would mean nothing. */
async function expectSame(
  bodies: readonly string[],
  workload: Workload,
  limit: Limit,
  reality: Awaited<ReturnType<typeof createReality>>,
): Promise<void> {
  let found = 0;
  for (const body of bodies) {
    const expected = JSON.parse(limit.answer(body)).changed;
    const { changed } = JSON.parse(await reality.answer(body));
    for (const key in expected) if (changed[key]?.version === expected[key].version) found++;
  }
  if (found !== countChanged(workload)) {
    throw new Error(`Cannot compare: expected ${countChanged(workload)} changed keys, got ${found}`);
  }
}
