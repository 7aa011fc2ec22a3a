/**
 * Tests of request bodies: large, in pieces, broken off or broken.
 *
 * @module
 */
import assert from "node:assert/strict";
import type { Adapter } from "./adapter.ts";
import { type OnAdapter, syncHead } from "./adapter_client.ts";
import { RawClient } from "./client.ts";

/** Registers tests of the encoding of bodies. */
export function testEncoding(onAdapter: OnAdapter, adapter: Adapter): void {
  if (!adapter.parsesBodies) {
    onAdapter("bytes that are not UTF-8 are refused", "plain", async (client) => {
      const response = await client.post("/sync", new Uint8Array([0x7b, 0x22, 0xff, 0x22, 0x7d]));
      assert.equal(response.status, 400);
      assert.match(await response.text(), /UTF-8/);
    });
  }
}

/** Registers tests of bodies that arrive in pieces, are cut off or malformed. */
export function testBodies(onAdapter: OnAdapter): void {
  onAdapter("a body in small pieces is read like any other", "small", async (client) => {
    const raw = await RawClient.connect(client.url(""));
    try {
      raw.send(syncHead(client, "Transfer-Encoding: chunked"));
      for (const character of '{"known":{}}') raw.send(`1\r\n${character}\r\n`);
      raw.send("0\r\n\r\n");
      const received = await raw.receive((text) => text.includes("serverTime"));
      assert.match(received, /^HTTP\/1\.1 200 /);
    } finally {
      await raw.close();
    }
  });

  onAdapter("a client that disconnects within its body does no harm", "plain", async (client) => {
    for (const header of ["Content-Length: 1000", "Transfer-Encoding: chunked"]) {
      const raw = await RawClient.connect(client.url(""));
      raw.send(`${syncHead(client, header)}5\r\n{"kno`);
      await client.isWell();
      await raw.close();
    }
    await client.isWell();
    assert.deepEqual(await client.reports(), []);
  });

  onAdapter("broken framing is refused or cut off, and does no harm", "plain", async (client) => {
    for (
      const rubbish of [`${syncHead(client, "Transfer-Encoding: chunked")}zz\r\n`, "\x00\x01\x02\r\n\r\n"]
    ) {
      const raw = await RawClient.connect(client.url(""));
      raw.send(rubbish);
      const received = await raw.receive((text) => text.includes("\r\n\r\n"));
      assert.match(received, /^(HTTP\/1\.1 (4|501)|$)/);
      await raw.close();
    }
    await client.isWell();
  });
}

/** Registers tests of bodies that must not be read to their end. */
export function testLargeBodies(onAdapter: OnAdapter): void {
  onAdapter("a body that says it is too large is refused before it comes", "small", async (client) => {
    const raw = await RawClient.connect(client.url(""));
    try {
      raw.send(syncHead(client, "Content-Length: 100000000"));
      const received = await raw.receive((text) => text.includes("\r\n\r\n"));
      assert.match(received, /^HTTP\/1\.1 413 /);
    } finally {
      await raw.close();
    }
    await client.isWell();
  });

  onAdapter("a body that does not say how large it is, is counted", "small", async (client) => {
    const raw = await RawClient.connect(client.url(""));
    try {
      raw.send(syncHead(client, "Transfer-Encoding: chunked"));
      const chunk = `3e8\r\n${"x".repeat(1000)}\r\n`;
      raw.send(chunk + chunk + chunk);
      // The body never ends: only a server that counts bytes can answer.
      const received = await raw.receive((text) => text.includes("maxBodyBytes (2000)"));
      assert.match(received, /^HTTP\/1\.1 413 /);
    } finally {
      await raw.close();
    }
    await client.isWell();
  });
}
