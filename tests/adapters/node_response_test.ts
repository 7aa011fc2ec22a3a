/**
 * How the adapter of `node:http` writes responses, shown by a fake response.
 *
 * @module
 */
import assert from "node:assert/strict";
import { EventEmitter } from "node:events";
import { createNodeHandler, type NodeIncoming, type NodeOutgoing } from "../../adapters/node.ts";
import { MemoryStorage, RealityServer } from "../../mod.ts";
import { FakeClock, settle } from "../clock.ts";
import { test } from "../harness.ts";
import { soon } from "../http/client.ts";

test("createNodeHandler() adds no further listener to a connection when a hook is called again", async () => {
  const seen: Request[] = [];
  const authorize = (request: Request) => seen.push(request) > 0;
  const server = new RealityServer({ storage: new MemoryStorage(), authorize });
  const response = new FakeResponse();
  createNodeHandler(server)(fakeRequest("GET", "/reality/events?keys=a"), response);
  await response.wrote(1);
  const before = response.listenerCount("close");
  for (let i = 1; i < 100; i++) {
    await server.updateNode("a", `${i}`);
    await response.wrote(1 + i);
  }
  assert.ok(seen.length >= 100);
  assert.equal(response.listenerCount("close"), before);
  response.destroyed = true;
  response.emit("close");
  assert.equal(seen.at(-1)?.signal.aborted, true);
  await server.close();
});

test("createNodeHandler() writes no more of a stream until the client has read the previous part", async () => {
  const server = new RealityServer({ storage: new MemoryStorage() });
  await server.updateNode("a", "1");
  const response = new FakeResponse();
  response.keepsUp = false;
  createNodeHandler(server)(fakeRequest("GET", "/reality/events?keys=a"), response);
  await response.wrote(1);
  for (const hash of ["2", "3", "4"]) await server.updateNode("a", hash);
  assert.equal(response.chunks.length, 1);
  response.emit("drain");
  await response.wrote(2);
  assert.match(response.chunks[1] ?? "", /"hash":"4"/);
  await server.updateNode("a", "5");
  assert.equal(response.chunks.length, 2);
  response.break();
  assert.equal((await server.getStats()).waiters, 0);
  await server.close();
});

test("createNodeHandler() creates no Web stream for an event stream, because one takes kilobytes", async () => {
  const server = new RealityServer({ storage: new MemoryStorage() });
  const response = new FakeResponse();
  const { ReadableStream } = globalThis;
  let created = 0;
  globalThis.ReadableStream = new Proxy(ReadableStream, {
    construct(target, given) {
      created++;
      return Reflect.construct(target, given);
    },
  });
  try {
    createNodeHandler(server)(fakeRequest("GET", "/reality/events?keys=a"), response);
    await response.wrote(1);
    await server.updateNode("a", "1");
    await response.wrote(2);
  } finally {
    globalThis.ReadableStream = ReadableStream;
  }
  assert.equal(created, 0);
  response.break();
  await server.close();
});

test("createNodeHandler() cuts off a client that stalls, and ends the stream of one that reads", async () => {
  const clock = new FakeClock();
  const server = new RealityServer({
    storage: new MemoryStorage(),
    clock,
    limits: { stallTimeout: 1000 },
  });
  const [stalled, reading] = [new FakeResponse(), new FakeResponse()];
  stalled.keepsUp = false;
  for (const response of [stalled, reading]) {
    createNodeHandler(server)(fakeRequest("GET", "/reality/events?keys=a"), response);
    await response.wrote(1);
  }
  await clock.advance(999);
  assert.deepEqual([stalled.destroyed, (await server.getStats()).streams], [false, 2]);
  await clock.advance(1);
  assert.deepEqual([stalled.destroyed, (await server.getStats()).streams], [true, 1]);
  await server.close();
  await reading.wrote(2);
  await settle();
  assert.match(reading.chunks[1] ?? "", /^retry: \d+\n\n$/);
  assert.deepEqual([reading.destroyed, reading.ends, stalled.chunks.length], [false, 1, 1]);
  for (const response of [stalled, reading]) assert.equal(response.listenerCount("drain"), 0);
});

test("createNodeHandler() does not write to a response that was already answered or closed", async () => {
  const server = new RealityServer({ storage: new MemoryStorage() });
  const handler = createNodeHandler(server);
  for (const state of ["headersSent", "destroyed", "writableEnded"] as const) {
    for (const url of ["/reality/health", "/reality/events?keys=a"]) {
      const response = new FakeResponse();
      response[state] = true;
      handler(fakeRequest("GET", url), response);
      await new Promise((resolve) => setTimeout(resolve));
      assert.deepEqual([response.chunks, response.ends], [[], 0]);
    }
  }
  assert.equal((await server.getStats()).streams, 0);
  await server.close();
});

test("createNodeHandler() closes the connection if writing the response throws", async () => {
  const server = new RealityServer({ storage: new MemoryStorage() });
  for (const url of ["/reality/health", "/reality/events?keys=a"]) {
    const response = new FakeResponse();
    response.setHeader = () => {
      throw new TypeError("Invalid header");
    };
    createNodeHandler(server)(fakeRequest("GET", url), response);
    await soon(new Promise<void>((resolve) => response.once("close", resolve)), "the connection's end");
    assert.equal(response.destroyed, true);
  }
  assert.equal((await server.getStats()).streams, 0);
  await server.close();
});

test("createNodeHandler() closes only the connection of a large answer that the client does not read", async () => {
  const clock = new FakeClock();
  const server = new RealityServer({ storage: new MemoryStorage(), clock });
  const keys = Array.from({ length: 600 }, (_, i) => `${i}`.padEnd(100, "k"));
  await server.updateMany(keys.map((key) => ({ key, hash: "h" })));
  for (const [count, pending, leaves] of [[600, 1, false], [1, 0, false], [600, 1, true]] as const) {
    const response = new FakeResponse();
    const request = fakeRequest("POST", "/reality/sync", { "content-type": "application/json" });
    Object.assign(request, {
      body: { known: Object.fromEntries(keys.slice(0, count).map((key) => [key, 0])) },
    });
    createNodeHandler(server)(request, response);
    await response.wrote(1);
    assert.equal((await server.getStats()).pendingResponses, pending);
    if (leaves) {
      response.break();
      assert.equal((await server.getStats()).pendingResponses, 0);
      continue;
    }
    await clock.advance(59_999);
    assert.equal(response.destroyed, false);
    await clock.advance(1);
    assert.equal(response.destroyed, pending > 0);
    assert.equal((await server.getStats()).pendingResponses, 0);
  }
  await server.close();
});

/** A response that records what is written. */
class FakeResponse extends EventEmitter implements NodeOutgoing {
  statusCode = 0;
  headersSent = false;
  writableEnded = false;
  destroyed = false;
  /** Whether the client reads what is written. */
  keepsUp = true;
  chunks: string[] = [];
  ends = 0;

  setHeader(_name: string, _value: string): void {}

  write(chunk: string | Uint8Array): boolean {
    this.chunks.push(typeof chunk === "string" ? chunk : new TextDecoder().decode(chunk));
    this.emit("wrote");
    return this.keepsUp;
  }

  end(chunk?: string): void {
    if (chunk !== undefined) this.write(chunk);
    this.ends++;
  }

  destroy(): void {
    this.break();
  }

  /** The client goes away. */
  break(): void {
    this.destroyed = true;
    this.emit("close");
  }

  /** Waits until so many chunks were written. */
  async wrote(count: number): Promise<void> {
    while (this.chunks.length < count) {
      await soon(new Promise<void>((resolve) => this.once("wrote", resolve)), "a chunk");
    }
  }
}

function fakeRequest(method: string, url: string, headers: Record<string, string> = {}): NodeIncoming {
  return Object.assign(new EventEmitter(), {
    method,
    url,
    headers,
    readableEnded: true,
    destroyed: false,
    pause() {},
    resume() {},
  });
}
