import { deepEqual, equal, ok } from "node:assert/strict";
import { context, metrics, SpanStatusCode, trace } from "@opentelemetry/api";
import { AsyncLocalStorageContextManager } from "@opentelemetry/context-async-hooks";
import { type DataPoint, MeterProvider, MetricReader } from "@opentelemetry/sdk-metrics";
import {
  BasicTracerProvider,
  type ReadableSpan,
  SimpleSpanProcessor,
  type SpanExporter,
} from "@opentelemetry/sdk-trace-base";
import { openTelemetry } from "../../adapters/opentelemetry.ts";
import { createFetchHandler, RealityServer, type RealityServerOptions } from "../../mod.ts";
import { FakeClock, settle } from "../clock.ts";
import { test } from "../harness.ts";
import { HeldStorage } from "../storages.ts";

/** A metric reader that collects when the test asks for it. */
class TestReader extends MetricReader {
  protected override onShutdown(): Promise<void> {
    return Promise.resolve();
  }

  protected override onForceFlush(): Promise<void> {
    return Promise.resolve();
  }
}

/** Keeps spans. Unlike the exporter of the SDK it sets no timers. */
class TestExporter implements SpanExporter {
  readonly spans: ReadableSpan[] = [];

  export(spans: ReadableSpan[], onResult: (result: { code: number }) => void): void {
    this.spans.push(...spans);
    onResult({ code: 0 });
  }

  shutdown(): Promise<void> {
    return Promise.resolve();
  }
}

/** Creates a server with its own SDK. */
function setUp(options: Partial<RealityServerOptions> = {}) {
  const exporter = new TestExporter();
  const spans = new BasicTracerProvider({ spanProcessors: [new SimpleSpanProcessor(exporter)] });
  const reader = new TestReader();
  const numbers = new MeterProvider({ readers: [reader] });
  const tracer = spans.getTracer("test");
  const onEvent = openTelemetry({ tracer, meter: numbers.getMeter("test") });
  const clock = new FakeClock();
  const storage = new HeldStorage();
  const server = new RealityServer({ storage, clock, onEvent, ...options });
  return {
    clock,
    exporter,
    server,
    storage,
    tracer,
    handler: createFetchHandler(server),
    spans: () => exporter.spans,
    /** Name and attributes of every number that was counted. */
    async numbers(): Promise<Record<string, unknown>> {
      const { resourceMetrics, errors } = await reader.collect();
      deepEqual(errors, []);
      const found = resourceMetrics.scopeMetrics.flatMap((scope) => scope.metrics).flatMap((metric) =>
        (metric.dataPoints as DataPoint<unknown>[]).map(({ attributes, value }) => {
          const labels = Object.values(attributes).join(" ");
          return [`${metric.descriptor.name} ${labels}`.trim(), value];
        })
      );
      return Object.fromEntries(found);
    },
    async close(): Promise<void> {
      await server.close();
      await spans.shutdown();
      await numbers.shutdown();
    },
  };
}

function ms([seconds, nanos]: readonly [number, number]): number {
  return seconds * 1000 + nanos / 1e6;
}

function shape(span: ReadableSpan | undefined) {
  return span && { name: span.name, attributes: span.attributes, status: span.status.code };
}

test("openTelemetry() creates spans with times and attributes, and without keys", async () => {
  const { clock, server, spans, close } = setUp();
  const start = clock.now();
  await server.updateNode("secret:key", "1");
  const wait = server.handleSync({ known: { "secret:key": 1, other: 0 }, wait: 10_000 });
  await settle();
  await clock.advance(3_000);
  await server.updateNode("secret:key", "2");
  await wait;
  const [first, , sync] = spans();
  deepEqual(shape(first), {
    name: "reality.change",
    attributes: { "reality.key_count": 1 },
    status: SpanStatusCode.UNSET,
  });
  deepEqual(shape(sync), {
    name: "reality.sync",
    attributes: {
      "reality.changed": 1,
      "reality.waited_ms": 3_000,
      "reality.outcome": "wake",
      "reality.key_count": 2,
    },
    status: SpanStatusCode.UNSET,
  });
  deepEqual([ms(sync!.startTime), ms(sync!.endTime)], [start, start + 3_000]);
  equal(JSON.stringify(spans().map((span) => [span.name, span.attributes])).includes("secret"), false);
  await close();
});

test("openTelemetry() adds keys to spans with eventKeys", async () => {
  const { server, spans, close } = setUp({ eventKeys: true });
  await server.updateMany([{ key: "a", hash: "1" }, { key: "b", hash: "1" }]);
  deepEqual(spans()[0]?.attributes["reality.keys"], ["a", "b"]);
  await close();
});

test("openTelemetry() creates a span for each request and stream, and marks failed ones", async () => {
  const { clock, handler, storage, spans, close } = setUp();
  const post = (body: unknown) =>
    handler(
      new Request("http://localhost/reality/sync", {
        method: "POST",
        headers: { "content-type": "application/json" },
        body: JSON.stringify(body),
      }),
    );
  const stream = await handler(new Request("http://localhost/reality/events?keys=a"));
  const reader = stream.body!.getReader();
  await reader.read();
  await clock.advance(500);
  await reader.cancel();
  await post([]);
  storage.failure = new Error("password=secret");
  await post({ known: { a: 0 } });
  await handler(new Request("http://localhost/reality/health"));
  deepEqual(spans().map(shape), [
    {
      name: "reality.request",
      attributes: {
        "http.request.method": "GET",
        "http.response.status_code": 200,
        "reality.route": "events",
        "reality.key_count": 1,
      },
      status: SpanStatusCode.UNSET,
    },
    {
      name: "reality.stream",
      attributes: { "reality.reason": "gone", "reality.key_count": 1 },
      status: SpanStatusCode.UNSET,
    },
    {
      name: "reality.request",
      attributes: {
        "http.request.method": "POST",
        "http.response.status_code": 400,
        "reality.route": "sync",
        "error.type": "ERR_REALITY_BAD_REQUEST",
        "reality.key_count": 0,
      },
      status: SpanStatusCode.UNSET,
    },
    {
      name: "reality.sync",
      attributes: {
        "reality.changed": 0,
        "reality.waited_ms": 0,
        "reality.outcome": "failed",
        "reality.key_count": 1,
      },
      status: SpanStatusCode.ERROR,
    },
    {
      name: "reality.request",
      attributes: {
        "http.request.method": "POST",
        "http.response.status_code": 503,
        "reality.route": "sync",
        "error.type": "ERR_REALITY_STORAGE",
        "reality.key_count": 1,
      },
      status: SpanStatusCode.ERROR,
    },
  ]);
  const life = spans()[1];
  equal(ms(life!.endTime) - ms(life!.startTime), 500);
  await close();
});

test("openTelemetry() creates spans whose parent is the active span of the caller", async () => {
  const { clock, handler, server, spans, tracer, close } = setUp();
  const manager = new AsyncLocalStorageContextManager().enable();
  context.setGlobalContextManager(manager);
  try {
    const run = (name: string, call: () => Promise<unknown>) =>
      tracer.startActiveSpan(name, (span) => call().finally(() => span.end()));
    const sync = (wait: number) =>
      handler(
        new Request("http://localhost/reality/sync", {
          method: "POST",
          headers: { "content-type": "application/json" },
          body: JSON.stringify({ known: { a: 1 }, wait }),
        }),
      );
    await run("first change", () => server.updateNode("a", "1"));
    // A waiting request is woken from another context, and another request runs at the same time.
    const waiting = run("waiting", () => sync(10_000));
    await settle();
    await run("beside", () => sync(0));
    await run("second change", () => server.updateNode("a", "2"));
    await waiting;
    await clock.advance(0);
    const byId = new Map(spans().map((span) => [span.spanContext().spanId, span.name]));
    const parents = spans().filter(({ name }) => name.startsWith("reality."))
      .map((span) => [span.name, byId.get(span.parentSpanContext?.spanId ?? "")]);
    deepEqual(parents, [
      ["reality.change", "first change"],
      ["reality.sync", "beside"],
      ["reality.request", "beside"],
      ["reality.change", "second change"],
      ["reality.sync", "waiting"],
      ["reality.request", "waiting"],
    ]);
    const traces = new Set(spans().map((span) => span.spanContext().traceId));
    equal(traces.size, 4);
  } finally {
    context.disable();
    manager.disable();
    await close();
  }
});

test("openTelemetry() records metrics without keys in their attributes", async () => {
  const { clock, handler, server, storage, numbers, close } = setUp();
  await server.updateMany([{ key: "a", hash: "1" }, { key: "b", hash: "1" }]);
  await server.handleSync({ known: { a: 0, b: 0 } });
  const wait = server.handleSync({ known: { a: 1 }, wait: 1_000 });
  await settle();
  await clock.advance(1_000);
  await wait;
  await handler(new Request("http://localhost/reality/nope"));
  storage.failure = new Error("away");
  await server.getNode("a").catch(() => {});
  const found = await numbers();
  equal(found["reality.changes"], 2);
  equal(found["reality.sync.changed"], 2);
  equal(found["reality.syncs answered"], 1);
  equal(found["reality.syncs timeout"], 1);
  equal(found["reality.refusals ERR_REALITY_NOT_FOUND"], 1);
  equal(found["reality.down storage"], 1);
  deepEqual((found["reality.wait.duration timeout"] as { count: number; sum: number }).sum, 1);
  ok("reality.request.duration none 404" in found);
  storage.failure = undefined;
  await server.getNode("a");
  equal((await numbers())["reality.down storage"], 0);
  await close();
});

test("openTelemetry() does nothing without an SDK, and starts when one is registered", async () => {
  const onEvent = openTelemetry();
  const server = new RealityServer({ storage: new HeldStorage(), clock: new FakeClock(), onEvent });
  await server.updateNode("a", "1");
  const exporter = new TestExporter();
  const spans = new BasicTracerProvider({ spanProcessors: [new SimpleSpanProcessor(exporter)] });
  const reader = new TestReader();
  const numbers = new MeterProvider({ readers: [reader] });
  trace.setGlobalTracerProvider(spans);
  metrics.setGlobalMeterProvider(numbers);
  try {
    await server.updateNode("a", "2");
    deepEqual(exporter.spans.map(({ name }) => name), ["reality.change"]);
    const { resourceMetrics } = await reader.collect();
    const [scope] = resourceMetrics.scopeMetrics;
    equal(scope?.scope.name, "@rootlodge/reality-server");
    const changes = scope.metrics.find(({ descriptor }) => descriptor.name === "reality.changes");
    deepEqual(changes?.dataPoints.map(({ value }) => value), [1]);
  } finally {
    trace.disable();
    metrics.disable();
    await server.close();
    await spans.shutdown();
    await numbers.shutdown();
  }
});
