/**
 * Tests of connections that serve several requests, and of their end.
 *
 * @module
 */
import assert from "node:assert/strict";
import { type OnAdapter, syncHead } from "./adapter_client.ts";
import { RawClient } from "./client.ts";

/** Registers tests of several requests on one connection. */
export function testKeepAlive(onAdapter: OnAdapter): void {
  onAdapter("one connection serves many requests, refusals among them", "plain", async (client) => {
    const raw = await RawClient.connect(client.url(""));
    try {
      const ask = (body: string) => raw.send(syncHead(client, `Content-Length: ${body.length}`) + body);
      ask('{"known":{}}');
      assert.equal((await raw.receiveAnswer()).status, 200);
      ask('{"known":7}');
      assert.equal((await raw.receiveAnswer()).status, 400);
      ask('{"known":{}}');
      const { status, head, body } = await raw.receiveAnswer();
      assert.equal(status, 200);
      assert.equal(Number(/content-length: *(\d+)/i.exec(head)?.[1]), body.length);
      assert.doesNotMatch(head, /transfer-encoding|connection: *close/i);
    } finally {
      await raw.close();
    }
  });
}

/** Registers tests of connections to a server that closes. */
export function testConnections(onAdapter: OnAdapter): void {
  onAdapter(
    "a server that closes tells with each answer to leave the connection",
    "plain",
    async (client) => {
      const connect = () => RawClient.connect(client.url(""));
      const [waiting, late] = [await connect(), await connect()];
      const ask = (raw: RawClient, body: string) =>
        raw.send(`${syncHead(client, `Content-Length: ${body.length}`)}${body}`);
      const isAnswered = (text: string) => text.includes("\r\n\r\n");
      try {
        ask(waiting, '{"known":{"a":0},"wait":20000}');
        await client.hasWaiters(1);
        await client.operate({ do: "close" });
        assert.match(
          await waiting.receive(isAnswered),
          /^HTTP\/1\.1 200 [\s\S]*\r\nconnection: close\r\n/i,
        );
        ask(late, '{"known":{}}');
        assert.match(await late.receive(isAnswered), /^HTTP\/1\.1 503 [\s\S]*\r\nconnection: close\r\n/i);
      } finally {
        await waiting.close();
        await late.close();
      }
    },
  );
}
