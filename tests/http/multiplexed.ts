/**
 * What every adapter for HTTP/2 must do: clients reset one stream of a connection and continue with others, or reset all
 * of them at once. Without TLS.
 *
 * @module
 */
import assert from "node:assert/strict";
import { type ClientHttp2Session, type ClientHttp2Stream, connect, constants } from "node:http2";
import type { Test } from "../harness.ts";
import { soon, until } from "./client.ts";
import { type Adapter, type OpenAdapter, statsOf } from "./adapter.ts";

/** How many streams are open at once. Servers allow 100 and more. */
const STREAMS = 60;

/** How many are reset right after their head: of more, `Deno.serve` breaks off the connection. */
const EARLY = 18;

/** What a stream asks, and whether its request is whole. */
const KINDS = ["sync", "half a sync", "events"] as const;

/** Registers the tests of an adapter that speaks HTTP/2. */
export function testMultiplexed(
  test: Test,
  adapter: Pick<Adapter, "name" | "open" | "missesEarlyResets">,
): void {
  const onAdapter = (title: string, run: (client: MultiplexedClient) => Promise<void>) =>
    test(`${adapter.name}: ${title}`, async () => {
      const open = await adapter.open("plain");
      const client = new MultiplexedClient(open);
      try {
        await run(client);
        await client.isLeft();
        assert.deepEqual(await open.operate({ do: "reports" }), []);
      } finally {
        await client.close();
        await open.close();
      }
    });

  onAdapter("streams of HTTP/2 that are reset give their places back", async (client) => {
    const streams = Array.from({ length: STREAMS }, (_, i) => client.ask(i % 2 === 0 ? "sync" : "events"));
    await client.hasWaiters(STREAMS);
    for (const stream of streams) stream.close(constants.NGHTTP2_CANCEL);
    await client.isLeft();
    await client.isServed();
  });

  onAdapter("streams of HTTP/2 that are reset right after their head take no place", async (client) => {
    await client.isServed();
    for (let i = 0; i < EARLY; i++) {
      // The reset goes out together with what it follows.
      client.ask(KINDS[i % KINDS.length]!).close(constants.NGHTTP2_CANCEL);
    }
    await client.isServed();
    if (adapter.missesEarlyResets) client.destroy();
  });

  onAdapter(
    "a connection of HTTP/2 that is lost gives back the places of all its streams",
    async (client) => {
      for (let i = 0; i < STREAMS; i++) client.ask(KINDS[i % KINDS.length]!);
      await client.hasWaiters(STREAMS * 2 / KINDS.length);
      client.destroy();
    },
  );
}

/** Asks by one connection of HTTP/2. */
class MultiplexedClient {
  readonly #adapter: OpenAdapter;
  readonly #session: ClientHttp2Session;
  readonly #closed: Promise<void>;

  constructor(adapter: OpenAdapter) {
    this.#adapter = adapter;
    this.#session = connect(new URL(adapter.url("")).origin);
    this.#session.on("error", () => {});
    this.#closed = new Promise((resolve) => this.#session.once("close", resolve));
  }

  /** Sends a request that waits. */
  ask(kind: typeof KINDS[number]): ClientHttp2Stream {
    const path = new URL(this.#adapter.url(kind === "events" ? "/events?keys=a" : "/sync"));
    const stream = this.#session.request({
      ":method": kind === "events" ? "GET" : "POST",
      ":path": path.pathname + path.search,
      ...(kind === "events" ? {} : { "content-type": "application/json" }),
    });
    stream.on("error", () => {});
    stream.resume();
    if (kind === "events") stream.end();
    if (kind === "sync") stream.end('{"known":{"a":0},"wait":20000}');
    if (kind === "half a sync") stream.write('{"known');
    return stream;
  }

  /** Checks that another request of the connection is answered. */
  async isServed(): Promise<void> {
    const stream = this.#session.request({ ":path": new URL(this.#adapter.url("/health")).pathname });
    const status = new Promise((resolve, reject) => {
      stream.once("response", (headers) => resolve(headers[":status"]));
      stream.once("error", reject);
    });
    stream.resume().end();
    assert.equal(await soon(status, "an answer"), 200);
  }

  async hasWaiters(count: number): Promise<void> {
    await until(async () => (await statsOf(this.#adapter)).waiters === count, `${count} wait`);
  }

  /** Waits until no request waits. */
  async isLeft(): Promise<void> {
    await until(async () => {
      const { waiters, streams } = await statsOf(this.#adapter);
      return waiters + streams === 0;
    }, "no request waits");
  }

  /** Breaks the connection. */
  destroy(): void {
    this.#session.destroy();
  }

  async close(): Promise<void> {
    this.#session.destroy();
    await this.#closed;
  }
}
