/**
 * Requests whose framing two servers could read differently, sent to `node:http` byte by byte: what follows the first
 * one is never taken for a second by us, and the server goes on serving.
 *
 * @module
 */
import assert from "node:assert/strict";
import { createNodeHandler } from "../../adapters/node.ts";
import { test } from "../harness.ts";
import { RawClient } from "../http/client.ts";
import { listenNode } from "../runtimes/node.ts";
import { TOKEN } from "./corpus.ts";
import { ADAPTERS, NODE_ADAPTER, sendBytes, sync } from "./adapters.ts";
import { HostileScene } from "./scene.ts";

/** The smuggled request: it would change a node that no client may change. */
const HIDDEN = "DELETE /reality/nodes/left-alone:1 HTTP/1.1\r\nHost: a\r\n" +
  `Authorization: Bearer ${TOKEN}\r\nContent-Length: 0\r\n\r\n`;

const POST = "POST /reality/sync HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n";
const BODY = '{"known":{}}';
const SIZE = BODY.length;
const CHUNKS = `${SIZE.toString(16)}\r\n${BODY}\r\n0\r\n\r\n`;

/** First requests by name. The hidden one follows each of them. */
const FIRST: ReadonlyMap<string, string> = new Map([
  ["a length, and chunks", `${POST}Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n${CHUNKS}`],
  ["chunks, and a length", `${POST}Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n${CHUNKS}`],
  [
    "chunks, and a length that takes in the next",
    `${POST}Transfer-Encoding: chunked\r\nContent-Length: 900\r\n\r\n0\r\n\r\n`,
  ],
  ["two lengths", `${POST}Content-Length: ${SIZE}\r\nContent-Length: ${SIZE + 5}\r\n\r\n${BODY}`],
  ["a list of lengths", `${POST}Content-Length: ${SIZE}, ${SIZE + 5}\r\n\r\n${BODY}`],
  ["a length with a sign", `${POST}Content-Length: +${SIZE}\r\n\r\n${BODY}`],
  ["a length below 0", `${POST}Content-Length: -1\r\n\r\n${BODY}`],
  ["a length in hexadecimal", `${POST}Content-Length: 0x${SIZE.toString(16)}\r\n\r\n${BODY}`],
  ["a length past 2^64", `${POST}Content-Length: 18446744073709551628\r\n\r\n${BODY}`],
  ["a length that is no number", `${POST}Content-Length: ${SIZE}a\r\n\r\n${BODY}`],
  ["a length with a space before the colon", `${POST}Content-Length : ${SIZE}\r\n\r\n${BODY}`],
  ["an unknown coding", `${POST}Transfer-Encoding: xchunked\r\n\r\n${CHUNKS}`],
  ["chunked, but not last", `${POST}Transfer-Encoding: chunked, identity\r\n\r\n${CHUNKS}`],
  [
    "chunked twice",
    `${POST}Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n${CHUNKS}`,
  ],
  ["a coding behind a vertical tab", `${POST}Transfer-Encoding: \vchunked\r\n\r\n${CHUNKS}`],
  ["a folded header", `${POST}X-A: b\r\n Content-Length: 3\r\nContent-Length: ${SIZE}\r\n\r\n${BODY}`],
  ["a folded coding", `${POST}Transfer-Encoding:\r\n chunked\r\nContent-Length: 3\r\n\r\n${CHUNKS}`],
  ["a header without a colon", `${POST}Content-Length\r\nContent-Length: ${SIZE}\r\n\r\n${BODY}`],
  ["a header behind a NUL", `${POST}X-A: b\0\r\nContent-Length: ${SIZE}\r\n\r\n${BODY}`],
  ["lines that end with LF alone", `${POST.replaceAll("\r\n", "\n")}Content-Length: ${SIZE}\n\n${BODY}`],
  [
    "a header that ends with CR alone",
    `${POST}X-A: b\rContent-Length: 3\r\nContent-Length: ${SIZE}\r\n\r\n${BODY}`,
  ],
  ["a chunk whose size is no number", `${POST}Transfer-Encoding: chunked\r\n\r\nx\r\n${BODY}\r\n0\r\n\r\n`],
  ["a chunk whose size is below 0", `${POST}Transfer-Encoding: chunked\r\n\r\n-1\r\n${BODY}\r\n0\r\n\r\n`],
  [
    "a chunk of more than 2^64",
    `${POST}Transfer-Encoding: chunked\r\n\r\n1000000000000000c\r\n${BODY}\r\n0\r\n\r\n`,
  ],
  ["a chunk longer than it says", `${POST}Transfer-Encoding: chunked\r\n\r\n3\r\n${BODY}\r\n0\r\n\r\n`],
  ["a chunk's extension with LF alone", `${POST}Transfer-Encoding: chunked\r\n\r\nc;a\n${BODY}\r\n0\r\n\r\n`],
  ["a line that ends nowhere", `POST /reality/sync HTTP/1.1 X\r\nContent-Length: ${SIZE}\r\n\r\n${BODY}`],
  [
    "an unknown version",
    `POST /reality/sync HTTP/9.9\r\nHost: a\r\nContent-Length: ${SIZE}\r\n\r\n${BODY}`,
  ],
  ["a preface of HTTP/2", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"],
  ["the first bytes of TLS", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"],
]);

/** What Deno's own server reads in the way that RFC 9112 (2.2) allows for: then it has one length, and no other. */
const LENIENT: readonly string[] = ["lines that end with LF alone"];

/** Requests that are as they should be, however odd: what follows them is a request of its own. */
const SOUND: ReadonlyMap<string, string> = new Map([
  ["chunks", `${POST}Transfer-Encoding: chunked\r\n\r\n${CHUNKS}`],
  [
    "chunks with extensions and trailers",
    `${POST}Transfer-Encoding: chunked\r\n\r\n` +
    `${SIZE.toString(16)};a="b";c\r\n${BODY}\r\n0\r\nX-A: b\r\n\r\n`,
  ],
  [
    "a body in a chunk for each byte",
    `${POST}Transfer-Encoding: chunked\r\n\r\n` +
    `${[...BODY].map((letter) => `1\r\n${letter}\r\n`).join("")}0\r\n\r\n`,
  ],
]);

for (const [name, first] of FIRST) {
  test(`createNodeHandler() finds no second request after ${name}`, async () => {
    await withNode(async (origin, methods) => {
      const raw = await RawClient.connect(origin);
      raw.send(toBytes(first + HIDDEN));
      const received = await raw.receive((text) => text.includes("\r\n\r\n"));
      await raw.closed();
      assert.match(received, /^HTTP\/1\.1 [45]\d\d |^$/);
      assert.ok(!methods.includes("DELETE"), methods.join());
    });
  });
}

for (const adapter of ADAPTERS.filter((adapter) => adapter !== NODE_ADAPTER)) {
  test(`${adapter.name} runs no request that is smuggled behind one of ambiguous length`, async () => {
    const scene = await HostileScene.open();
    const { origin, close } = await adapter.listen(scene);
    try {
      for (const [name, first] of FIRST) {
        if (adapter.name.endsWith("before Deno.serve") && LENIENT.includes(name)) continue;
        const status = await sendBytes(origin, toBytes(first + HIDDEN));
        assert.ok(status === 0 || status >= 400, `${name}: ${status}`);
      }
      await scene.assertUnharmed((body) => sync(origin, body));
    } finally {
      await scene.close();
      await close();
    }
  });
}

for (const [name, first] of SOUND) {
  test(`createNodeHandler() answers ${name}, and the next request on the same connection`, async () => {
    await withNode(async (origin) => {
      const raw = await RawClient.connect(origin);
      raw.send(`${first}GET /reality/health HTTP/1.1\r\nHost: a\r\n\r\n`);
      const { status, body } = await raw.receiveAnswer();
      assert.deepEqual([status, JSON.parse(body).changed], [200, {}]);
      assert.equal((await raw.receiveAnswer()).body, '{"status":"ok"}');
      await raw.close();
    });
  });
}

async function withNode(run: (origin: string, methods: string[]) => Promise<void>): Promise<void> {
  const scene = await HostileScene.open();
  const methods: string[] = [];
  const handler = createNodeHandler(scene.server, scene.handler);
  const { origin, close } = await listenNode((request, response) => {
    methods.push(request.method ?? "");
    handler(request, response);
  });
  try {
    await run(origin, methods);
    await scene.assertUnharmed((body) => sync(origin, body));
  } finally {
    await scene.close();
    await close();
  }
}

/** A byte for each character. */
function toBytes(text: string): Uint8Array {
  return Uint8Array.from(text, (letter) => letter.charCodeAt(0));
}
