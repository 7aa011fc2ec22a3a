import "../../loaded_mesh.ts";
import { deepEqual, equal, match, ok, throws } from "node:assert/strict";
import parsePrometheus from "parse-prometheus-text-format";
import type { HandlerOptions, RealityServerOptions } from "../../../mod.ts";
import { renderMetrics } from "../../../src/telemetry/prometheus.ts";
import {
  Counter,
  CounterFamily,
  Histogram,
  HistogramFamily,
  Metrics,
} from "../../../src/telemetry/metrics.ts";
import { RealityServer } from "../../../src/server.ts";
import { VERSION } from "../../../src/version.ts";
import { FakeClock, settle } from "../../clock.ts";
import { test } from "../../harness.ts";
import { readMetrics, valueOf } from "../../prometheus.ts";
import { HeldStorage } from "../../storages.ts";
import { FakeIORedis, FakeRedis } from "../redis/fake_redis.ts";

/** The result of the parser, which has no types of its own. */
interface ParsedFamily {
  name: string;
  type: string;
  metrics: { value?: string; labels?: Record<string, string>; buckets?: Record<string, string> }[];
}

const parse = parsePrometheus as unknown as (text: string) => ParsedFamily[];

function setUp(options: Partial<RealityServerOptions> = {}, mounting: HandlerOptions = {}) {
  const clock = new FakeClock();
  const storage = new HeldStorage();
  const server = new RealityServer({ storage, clock, ...options });
  const handler = server.getFetchHandler(mounting);
  const get = (path: string, init: RequestInit = {}) =>
    handler(new Request(`http://localhost/reality${path}`, init));
  const sync = (body: unknown, signal?: AbortSignal) =>
    get("/sync", {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: typeof body === "string" ? body : JSON.stringify(body),
      ...(signal ? { signal } : {}),
    });
  const scrape = async () => readMetrics(await (await get("/metrics")).text());
  /** Waits until a metric has this value. */
  const reach = async (name: string, value: number) => {
    for (let i = 0; valueOf(await scrape(), name) !== value; i++) {
      ok(i < 1_000, `${name} does not become ${value}`);
      await settle();
    }
  };
  return { clock, storage, server, get, sync, scrape, reach };
}

function createClients() {
  const redis = new FakeRedis();
  return { publisher: new FakeIORedis(redis), subscriber: new FakeIORedis(redis) };
}

test("a Histogram adds a number to the first bucket whose bound it does not exceed", () => {
  const histogram = new Histogram([1, 10, 100]);
  for (const value of [0, 1, 1.5, 10, 11, 100, 101, 1e9, -5]) histogram.observe(value);
  deepEqual(histogram.counts, [3, 2, 2, 2]);
  equal(histogram.count, 9);
  equal(histogram.sum, 0 + 1 + 1.5 + 10 + 11 + 100 + 101 + 1e9);
});

test("counters by name start at 0 and are sorted", () => {
  const family = new CounterFamily();
  equal(family.get("b"), 0);
  for (const name of ["b", "a", "b"]) family.add(name);
  deepEqual([family.get("b"), family.total, family.entries], [2, 3, [["a", 1], ["b", 2]]]);
  const histograms = new HistogramFamily([1]);
  histograms.observe("z", 1);
  histograms.observe("y", 2);
  deepEqual(histograms.entries.map(([name, { counts }]) => [name, counts]), [["y", [0, 1]], ["z", [1, 0]]]);
  equal(new Counter().value, 0);
});

test("GET /metrics is valid Prometheus text for an independent parser", async () => {
  const { server, get, sync } = setUp({ meshPeers: ["http://peer-1:3000"] });
  await server.updateMany([{ key: "a", hash: "1" }, { key: "b", hash: "1" }]);
  await (await sync({ known: { a: 0, b: 0 } })).body?.cancel();
  await (await sync({ known: 7 })).body?.cancel();
  const response = await get("/metrics");
  equal(response.status, 200);
  equal(response.headers.get("content-type"), "text/plain; version=0.0.4; charset=utf-8");
  equal(response.headers.get("cache-control"), "no-store");
  const text = await response.text();
  const families = readMetrics(text);
  const parsed = parse(text);
  deepEqual(parsed.map(({ name }) => name), [...families.keys()]);
  for (const { name, type, metrics } of parsed) {
    equal(type, families.get(name)?.type.toUpperCase());
    for (const { value, labels = {} } of metrics) {
      if (value !== undefined) equal(Number(value), valueOf(families, name, labels));
    }
  }
  const durations = parsed.find(({ name }) => name === "reality_storage_call_duration_seconds");
  equal(durations?.metrics.every(({ buckets }) => buckets !== undefined && "+Inf" in buckets), true);
  await server.close();
});

test("the metric names have units as Prometheus' conventions require", async () => {
  const { server, scrape } = setUp({
    meshPeers: ["http://peer-1:3000"],
    redis: createClients(),
  });
  const families = await scrape();
  ok(families.size > 30);
  for (const { name, type } of families.values()) {
    match(name, /^reality_[a-z]+(_[a-z]+)*$/);
    if (/uptime|duration|lag/.test(name)) match(name, /_seconds$/);
    if (/bytes/.test(name)) match(name, /_bytes(_total)?$/);
    equal(/counter|gauge|histogram|_(ms|milliseconds)/.test(name.slice("reality_".length)), false, name);
    equal(type === "counter", name.endsWith("_total"));
  }
  await server.close();
});

test("labels and help texts are escaped", () => {
  const metrics = new Metrics();
  const odd = 'a\\b"c\nd}e,f=g 🙂';
  metrics.refusals.add(odd);
  const text = renderMetrics({
    version: odd,
    uptime: 0.5,
    metrics,
    busy: 0,
    readingBytes: 0,
    waitingBytes: 0,
    responses: { size: 0, bytes: 0 },
    waiters: 0,
    wakes: 0,
    streams: 0,
    isStorageDown: false,
    isClosing: false,
    mesh: null,
    redis: null,
  });
  const families = readMetrics(text);
  deepEqual(families.get("reality_build_info")?.samples[0]?.labels, { version: odd });
  equal(valueOf(families, "reality_refusals_total", { code: odd }), 1);
  equal(valueOf(families, "reality_uptime_seconds"), 0.0005);
});

test("the metrics count what happened", async () => {
  const { clock, server, get, sync, scrape } = setUp();
  await server.updateMany([{ key: "a", hash: "1" }, { key: "b", hash: "1" }]);
  await (await sync({ known: { a: 0, b: 0, c: 0 } })).body?.cancel();
  await server.handleSync({ known: { a: 2 } });
  await (await sync("{")).body?.cancel();
  await (await get("/nope")).body?.cancel();
  await clock.advance(2_500);
  const families = await scrape();
  const value = (name: string, labels?: Record<string, string>) => valueOf(families, name, labels);
  equal(value("reality_build_info", { version: VERSION }), 1);
  equal(value("reality_uptime_seconds"), 2.5);
  equal(value("reality_changes_total"), 2);
  equal(value("reality_syncs_total"), 2);
  equal(value("reality_sync_keys_sum"), 4);
  equal(value("reality_sync_keys_count"), 2);
  equal(value("reality_sync_keys_bucket", { le: "2" }), 1);
  equal(value("reality_changed_keys_total"), 3);
  equal(value("reality_http_requests_total", { route: "sync", status: "200" }), 1);
  equal(value("reality_http_requests_total", { route: "sync", status: "400" }), 1);
  equal(value("reality_http_requests_total", { route: "none", status: "404" }), 1);
  equal(value("reality_http_request_duration_seconds_count", { route: "sync" }), 2);
  equal(value("reality_refusals_total", { code: "ERR_REALITY_BAD_REQUEST" }), 1);
  equal(value("reality_refusals_total", { code: "ERR_REALITY_NOT_FOUND" }), 1);
  equal(value("reality_storage_write_nodes_sum"), 2);
  equal(value("reality_storage_write_nodes_count"), 1);
  equal(value("reality_storage_read_keys_sum"), 4);
  equal(value("reality_storage_call_duration_seconds_count", { operation: "applyChanges" }), 1);
  equal(value("reality_storage_up"), 1);
  equal(families.has("reality_mesh_peers"), false);
  equal(families.has("reality_redis_up"), false);
  await server.close();
});

test("requests outside the base path are counted neither as requests nor as refusals", async () => {
  const { server, scrape } = setUp();
  const handler = server.getFetchHandler();
  for (const path of ["/", "/nope", "/realitysync", "/reality", "/sync"]) {
    equal((await handler(new Request(`http://localhost${path}`))).status, 404);
  }
  const families = await scrape();
  equal(valueOf(families, "reality_http_requests_total"), 0);
  equal(valueOf(families, "reality_refusals_total"), 0);
  const { requests, refusals } = await server.getStats();
  deepEqual({ requests, refusals }, { requests: 1, refusals: {} });
  await server.close();
});

test("every wait that began has ended in one way, or is still running", async () => {
  const { clock, server, storage, sync, scrape, reach } = setUp();
  await server.updateNode("a", "1");
  const outcomes = async () => {
    const families = await scrape();
    const ended = Object.fromEntries(
      ["wake", "timeout", "closed", "gone", "failed"].map((outcome) => [
        outcome,
        valueOf(families, "reality_waits_ended_total", { outcome }),
      ]),
    );
    const total = Object.values(ended).reduce((sum, count) => sum + count, 0);
    const begun = valueOf(families, "reality_waits_begun_total");
    equal(begun - total, valueOf(families, "reality_waiters"));
    equal(valueOf(families, "reality_wait_duration_seconds_count"), total);
    return { begun, ...ended };
  };
  const known = { a: 1 };
  // A request that is answered at once has not waited.
  await (await sync({ known: { a: 0 }, wait: 1_000 })).body?.cancel();
  const woken = sync({ known, wait: 20_000 });
  await reach("reality_waits_begun_total", 1);
  deepEqual(await outcomes(), { begun: 1, wake: 0, timeout: 0, closed: 0, gone: 0, failed: 0 });
  await clock.advance(3_000);
  await server.updateNode("a", "2");
  equal((await woken).status, 200);
  equal(valueOf(await scrape(), "reality_wait_duration_seconds_sum"), 3);
  equal(valueOf(await scrape(), "reality_wakes_total"), 1);

  const late = sync({ known: { a: 2 }, wait: 1_000 });
  await reach("reality_waits_begun_total", 2);
  await clock.advance(1_000);
  equal((await late).status, 200);

  const client = new AbortController();
  const gone = sync({ known: { a: 2 }, wait: 1_000 }, client.signal);
  await reach("reality_waits_begun_total", 3);
  client.abort();
  await gone;
  equal(valueOf(await scrape(), "reality_http_requests_total", { route: "sync", status: "499" }), 1);
  equal(valueOf(await scrape(), "reality_refusals_total"), 0);

  const failing = sync({ known: { a: 2, b: 0 }, wait: 1_000 });
  await reach("reality_waits_begun_total", 4);
  storage.failure = new Error("away");
  await server.updateNode("b", "1").catch(() => {});
  equal((await failing).status, 503);
  equal(valueOf(await scrape(), "reality_storage_up"), 0);
  equal(valueOf(await scrape(), "reality_storage_failures_total", { operation: "applyChanges" }), 1);
  storage.failure = undefined;

  const last = sync({ known: { a: 2 }, wait: 1_000 });
  await reach("reality_waits_begun_total", 5);
  await server.close();
  equal((await last).status, 200);
  deepEqual(await outcomes(), { begun: 5, wake: 1, timeout: 1, closed: 1, gone: 1, failed: 1 });
  equal(valueOf(await scrape(), "reality_closing"), 1);
  // Only requests that did not wait are in it: the first one. The scrape has another route.
  equal(valueOf(await scrape(), "reality_http_request_duration_seconds_count", { route: "sync" }), 1);
});

test("every stream that began has ended for one reason, or is open", async () => {
  const { clock, server, get, scrape } = setUp({ limits: { maxStreams: 2 } });
  const open = async () => {
    const reader = (await get("/events?keys=a")).body!.getReader();
    await reader.read();
    return reader;
  };
  const first = await open();
  equal(valueOf(await scrape(), "reality_streams"), 1);
  await first.cancel();
  const second = await open();
  const third = await open();
  const fourth = await open();
  await fourth.read();
  const rest = async (reader: ReadableStreamDefaultReader<Uint8Array>) => {
    while (!(await reader.read()).done);
  };
  const lived = rest(second);
  await clock.advance(600_000);
  await lived;
  const closed = rest(third);
  await server.close();
  await closed;
  const families = await scrape();
  equal(valueOf(families, "reality_streams"), 0);
  equal(valueOf(families, "reality_streams_begun_total"), 4);
  equal(valueOf(families, "reality_streams_ended_total"), 4);
  for (const reason of ["gone", "full"]) {
    equal(valueOf(families, "reality_streams_ended_total", { reason }), 1, reason);
  }
});

test("GET /metrics contains the state of mesh and Redis", async () => {
  // The first request loads a module, and Redis would connect meanwhile.
  const other = setUp();
  await other.scrape();
  await other.server.close();
  const { server, scrape, reach } = setUp({
    meshPeers: ["http://peer-1:3000", "http://peer-2:3000"],
    redis: createClients(),
    mesh: { fetch: () => Promise.reject(new TypeError("connection refused")) },
  });
  const before = await scrape();
  equal(valueOf(before, "reality_mesh_peers", { state: "unknown" }), 2);
  equal(valueOf(before, "reality_redis_up"), 0);
  await server.updateNode("a", "1");
  await reach("reality_mesh_exchange_failures_total", 2);
  await reach("reality_redis_up", 1);
  const after = await scrape();
  equal(valueOf(after, "reality_mesh_peers", { state: "suspect" }), 2);
  equal(valueOf(after, "reality_mesh_exchanges_total"), 2);
  equal(valueOf(after, "reality_redis_refused_messages_total"), 0);
  await server.close();
});

test("GET /metrics contains the number of running requests, without itself and waiting ones", async () => {
  const { server, storage, sync, scrape, reach } = setUp();
  const release = storage.hold();
  const reading = sync({ known: { a: 0 } });
  await reach("reality_busy_requests", 1);
  release();
  await reading;
  const waiting = sync({ known: { a: 0 }, wait: 20_000 });
  await reach("reality_waits_begun_total", 1);
  const families = await scrape();
  equal(valueOf(families, "reality_busy_requests"), 0);
  equal(valueOf(families, "reality_reading_bytes"), 0);
  equal(valueOf(families, "reality_waiting_bytes"), 1_024 + 128 + "a".length);
  await server.close();
  await waiting;
});

test("GET /metrics makes no storage call", async () => {
  const { server, storage, scrape } = setUp();
  const release = storage.hold();
  await scrape();
  deepEqual(storage.reads, []);
  release();
  await server.close();
});

test("HEAD /metrics has no body, and other methods are not allowed", async () => {
  const { server, get } = setUp();
  const head = await get("/metrics", { method: "HEAD" });
  deepEqual([head.status, await head.text()], [200, ""]);
  const post = await get("/metrics", { method: "POST" });
  deepEqual([post.status, post.headers.get("allow")], [405, "GET, HEAD"]);
  await server.close();
});

test("the option metrics disables the route, or decides which requests may read it", async () => {
  const closed = setUp({}, { metrics: false });
  equal((await closed.get("/metrics")).status, 404);
  const open = setUp({}, { metrics: true });
  equal((await open.get("/metrics")).status, 200);
  const reports: unknown[] = [];
  const guarded = setUp({ onError: (error) => reports.push(error) }, {
    metrics: async (request) => {
      await null;
      if (request.headers.get("x-token") === "broken") throw new Error("password=secret");
      return request.headers.get("x-token") === "scraper";
    },
  });
  equal((await guarded.get("/metrics", { headers: { "x-token": "scraper" } })).status, 200);
  const refused = await guarded.get("/metrics");
  deepEqual([refused.status, (await refused.json()).error.code], [403, "ERR_REALITY_FORBIDDEN"]);
  const broken = await guarded.get("/metrics", { headers: { "x-token": "broken" } });
  equal(broken.status, 500);
  equal((await broken.text()).includes("secret"), false);
  equal(reports.length, 1);
  for (const metrics of ["yes", 1, null, {}]) {
    throws(() => setUp({}, { metrics: metrics as never }), { name: "TypeError", message: /"metrics"/ });
  }
  for (const { server } of [closed, open, guarded]) await server.close();
});
