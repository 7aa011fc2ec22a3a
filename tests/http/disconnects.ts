/**
 * Tests of clients that disconnect while the server has nothing to send.
 *
 * @module
 */
import assert from "node:assert/strict";
import { DEFAULT_LIMITS } from "../../src/server_limits.ts";
import type { Adapter } from "./adapter.ts";
import { type OnAdapter, syncHead } from "./adapter_client.ts";
import { RawClient } from "./client.ts";

/** Registers tests of disconnects while the server has nothing to send. */
export function testHangingUp(onAdapter: OnAdapter, adapter: Adapter): void {
  onAdapter("a client that disconnects while it waits frees its slot", "plain", async (client) => {
    const controller = new AbortController();
    const waiting = client.sync({ known: { a: 0 }, wait: 20_000 }, controller.signal).catch(() => "hung up");
    const raw = await RawClient.connect(client.url(""));
    const body = '{"known":{"a":0},"wait":20000}';
    raw.send(syncHead(client, `Content-Length: ${body.length}`) + body);
    await client.hasWaiters(2);
    controller.abort();
    assert.equal(await waiting, "hung up");
    await client.hasWaiters(1);
    await raw.close();
    await client.hasWaiters(0);
    assert.deepEqual(await client.reports(), []);
  });

  if (!adapter.leavesBodies) {
    onAdapter(
      "a client that disconnects within the body of a stream request",
      "plain",
      async (client) => {
        const raw = await RawClient.connect(client.url(""));
        const { pathname } = new URL(client.url("/events"));
        raw.send(`GET ${pathname}?keys=a HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n`);
        raw.send("x".repeat(300_000));
        await client.hasStreams(1);
        await raw.close();
        await client.isLeft("a");
      },
    );
  }

  for (const kind of ["sync", "stream"] as const) {
    const title = `a connection that closes frees the slots of all its pipelined requests: ${kind}`;
    onAdapter(title, "plain", async (client) => {
      const body = '{"known":{"a":0},"wait":20000}';
      const request = kind === "sync"
        ? syncHead(client, `Content-Length: ${body.length}`) + body
        : `GET ${new URL(client.url("/events")).pathname}?keys=a HTTP/1.1\r\nHost: a\r\n\r\n`;
      const raw = await RawClient.connect(client.url(""));
      raw.send(request.repeat(400));
      if (!adapter.losesPipelined) {
        await client.hasWaiters(adapter.answersInTurn ? 1 : DEFAULT_LIMITS.maxWaitersPerConnection);
      }
      await raw.close();
      await client.hasWaiters(0);
      await client.hasStreams(0);
      assert.deepEqual(await client.reports(), []);
    });
  }
}
