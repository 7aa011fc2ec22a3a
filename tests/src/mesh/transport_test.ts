import { deepEqual, equal, ok, rejects } from "node:assert/strict";
import { createServer, type RequestListener } from "node:http";
import type { AddressInfo } from "node:net";
import { systemClock } from "../../../src/clock.ts";
import { PeerError } from "../../../src/errors.ts";
import { SecretProof } from "../../../src/mesh/secret_proof.ts";
import { Transport } from "../../../src/mesh/transport.ts";
import { statusOf } from "../../../src/mesh/http_client.ts";
import { settle } from "../../clock.ts";
import { test } from "../../harness.ts";
import { Line, say, urlOf } from "./line.ts";

const secrets = ["a secret that only our servers have"];

function setUp() {
  const line = new Line();
  return { line, a: line.start("a", { secrets }), b: line.start("b", { secrets }) };
}

/** A body that gives chunks for ever, and tells whether it was cancelled. */
function endless(chunk: Uint8Array<ArrayBuffer>) {
  const seen = { bytes: 0, cancelled: false };
  const body = new ReadableStream<Uint8Array<ArrayBuffer>>({
    pull(controller) {
      seen.bytes += chunk.byteLength;
      controller.enqueue(chunk);
    },
    cancel() {
      seen.cancelled = true;
    },
  });
  return { seen, body };
}

const json = { "content-type": "application/json" };
const unreachable = { code: "ERR_REALITY_PEER_UNREACHABLE", peer: urlOf("b") };
const refused = { code: "ERR_REALITY_PEER_REFUSED", peer: urlOf("b") };
const reply = { code: "ERR_REALITY_PEER_REPLY", peer: urlOf("b") };

test("Transport posts JSON beside an empty known, and counts the bytes both ways", async () => {
  const { line, a } = setUp();
  const [sent, received]: [string[], string[]] = [[], []];
  const fetch = line.fetch.bind(line);
  line.fetch = async (request) => {
    equal(request.method, "POST");
    equal(request.headers.get("content-type"), "application/json");
    equal(request.redirect, "manual");
    sent.push(await request.clone().text());
    const response = await fetch(request);
    received.push(await response.clone().text());
    return response;
  };
  const answer = await a.transport.send(urlOf("b"), "grüße");
  const count = (texts: string[]) => new TextEncoder().encode(texts.join("")).byteLength;
  deepEqual(answer, { message: "b: grüße", sentBytes: count(sent), receivedBytes: count(received) });
  equal(sent.length, 2);
  ok(sent.every((text) => text.startsWith('{"known":{},"gossip":{"form":1,')));
});

test("Transport follows no redirect", async () => {
  for (const status of [301, 302, 303, 307, 308]) {
    const { line, a } = setUp();
    line.before = ({ url }) =>
      url === urlOf("b")
        ? new Response("elsewhere", { status, headers: { location: urlOf("c") } })
        : undefined;
    line.start("c", { secrets });
    await rejects(say(a, "b", "one"), refused);
    equal(line.heard.length, 1);
  }
});

test("Transport distinguishes a peer that fails, one that refuses, and one that accepts smaller messages only", async () => {
  const found: [number, object][] = [[201, refused], [400, refused], [403, refused], [404, refused], [
    405,
    refused,
  ]];
  found.push([413, refused], [429, refused], [500, unreachable], [502, unreachable], [503, unreachable]);
  for (const [status, expected] of found) {
    const { line, a } = setUp();
    await say(a, "b", "one");
    const { seen, body } = endless(new Uint8Array(1000));
    line.before = () => new Response(body, { status, headers: json });
    await rejects(say(a, "b", "two"), (error) => statusOf(error) === status);
    line.before = () => new Response("{}", { status, headers: json });
    await rejects(say(a, "b", "three"), expected);
    ok(seen.cancelled && seen.bytes < 10_000, `${status} is not read`);
  }
});

test("Transport repeats the hello only after an answer that makes its credential doubtful", async () => {
  const doubtful: [number, boolean][] = [[400, true], [404, true], [500, true], [413, false], [503, false]];
  for (const [status, again] of doubtful) {
    const { line, a } = setUp();
    await say(a, "b", "one");
    line.before = () => new Response("{}", { status, headers: json });
    await rejects(say(a, "b", "two"));
    line.before = () => undefined;
    equal(await say(a, "b", "three"), "b: three");
    equal(line.count("hello"), again ? 2 : 1, String(status));
  }
  const { line, a } = setUp();
  await say(a, "b", "one");
  line.before = () => Promise.reject(new TypeError("Connection reset"));
  await rejects(say(a, "b", "two"), unreachable);
  line.before = () => undefined;
  equal(await say(a, "b", "three"), "b: three");
  equal(line.count("hello"), 1);
});

test("Transport retries once after a 401, and not again", async () => {
  const { line, a } = setUp();
  const no = () => new Response("{}", { status: 401, headers: json });
  line.before = no;
  await rejects(say(a, "b", "one"), refused);
  equal(line.heard.length, 1);
  line.before = () => undefined;
  await say(a, "b", "two");
  line.heard.length = 0;
  line.before = ({ gossip }) => "message" in gossip ? no() : undefined;
  await rejects(say(a, "b", "three"), { ...refused, message: /It answered 401: it has another meshSecret/ });
  deepEqual(line.heard.map(({ gossip }) => Object.keys(gossip)[1]), ["to", "hello", "to"]);
});

test("Transport accepts only JSON with gossip", async () => {
  const answers = [
    new Response("{}", { headers: json }),
    new Response("[]", { headers: json }),
    new Response("null", { headers: json }),
    new Response('{"gossip"', { headers: json }),
    new Response("", { headers: json }),
    new Response(null, { headers: json }),
    new Response('{"__proto__":{"gossip":{"form":1}}}', { headers: json }),
    new Response('{"gossip":{"form":1}}', { headers: { "content-type": "text/html" } }),
    new Response('{"gossip":{"form":1}}', { headers: { "content-type": "application/jsonp" } }),
    new Response("[".repeat(90_000), { headers: json }),
  ];
  for (const answer of answers) {
    const { line, a } = setUp();
    line.before = () => answer;
    await rejects(say(a, "b", "one"), reply);
  }
});

test("Transport accepts only valid UTF-8", async () => {
  // A byte that is never part of UTF-8, and a character that is cut off.
  for (const bytes of [[0x22, 0xff, 0x22], [0x31, 0xe2, 0x82]]) {
    const { line, a } = setUp();
    line.before = () => new Response(new Uint8Array(bytes), { headers: json });
    await rejects(say(a, "b", "one"), { ...reply, message: /The answer is not UTF-8$/ });
  }
});

test("Transport reads an answer that arrives in chunks of any length", async () => {
  const { line, a } = setUp();
  const fetch = line.fetch.bind(line);
  line.fetch = async (request) => {
    const bytes = new Uint8Array(await (await fetch(request)).arrayBuffer());
    let at = 0;
    const body = new ReadableStream<Uint8Array<ArrayBuffer>>({
      pull(controller) {
        if (at === bytes.length) controller.close();
        else controller.enqueue(bytes.slice(at, ++at));
      },
    });
    return new Response(body, { headers: { "content-type": "application/json; charset=utf-8" } });
  };
  equal(await say(a, "b", "grüße €"), "b: grüße €");
});

test("Transport reads no more than maxBytes", async () => {
  const { line, a } = setUp();
  const { seen, body } = endless(new Uint8Array(1000).fill(0x20));
  line.before = () => new Response(body, { headers: json });
  await rejects(say(a, "b", "one"), { ...reply, message: /larger than 100000 bytes$/ });
  ok(seen.cancelled && seen.bytes < 110_000, `${seen.bytes} bytes were made`);
  const announced = endless(new Uint8Array(1000));
  line.before = () => new Response(announced.body, { headers: { ...json, "content-length": "100001" } });
  await rejects(say(a, "b", "two"), reply);
  ok(announced.seen.cancelled && announced.seen.bytes < 10_000, "not read at all");
  equal(line.clock.timers, 0);
});

test("Transport gives up at the deadline if no answer arrives, whatever fetch does, and discards a late one", async () => {
  const { line, a } = setUp();
  await say(a, "b", "one");
  let signal: AbortSignal | undefined;
  let answer: (response: Response) => void = () => {};
  line.before = (_, request) => {
    signal = request.signal;
    return new Promise((resolve) => answer = resolve);
  };
  const sending = rejects(say(a, "b", "two"), { ...unreachable, message: /No answer within 2000 ms$/ });
  await line.sent(3);
  await line.clock.advance(1999);
  equal(signal?.aborted, false);
  await line.clock.advance(1);
  await sending;
  equal(signal?.aborted, true);
  const late = endless(new Uint8Array(10));
  answer(new Response(late.body, { headers: json }));
  await settle();
  equal(late.seen.cancelled, true);
  equal(line.clock.timers, 0);
});

test("Transport gives up at the deadline on a body that stalls or arrives too slowly", async () => {
  const { line, a } = setUp();
  let cancelled = false;
  line.before = () =>
    new Response(
      new ReadableStream({
        start: (controller) => controller.enqueue(new TextEncoder().encode('{"gossip":')),
        cancel: () => void (cancelled = true),
      }),
      { headers: json },
    );
  const sending = rejects(say(a, "b", "one"), unreachable);
  await line.sent(1);
  await line.clock.advance(2000);
  await sending;
  equal(cancelled, true);
  let drops = 0;
  line.before = () =>
    new Response(
      new ReadableStream({
        pull: (controller) =>
          new Promise<void>((resolve) =>
            line.clock.after(300, () => {
              drops++;
              controller.enqueue(new Uint8Array([0x20]));
              resolve();
            })
          ),
      }),
      { headers: json },
    );
  const dripping = rejects(say(a, "b", "two"), unreachable);
  await line.sent(2);
  await line.clock.advance(2000);
  await dripping;
  equal(drops, 6);
});

test("Transport has one deadline for the hello and the message", async () => {
  const { line, a } = setUp();
  line.before = (heard) =>
    new Promise((resolve) => line.clock.after(1200, () => resolve(line.deliver(heard))));
  const sending = rejects(say(a, "b", "one"), unreachable);
  await line.sent(1);
  await line.clock.advance(1200);
  await line.sent(2);
  await line.clock.advance(800);
  await sending;
});

test("Transport ends at once when it is aborted, and reports a body that ends early", async () => {
  const { line, a } = setUp();
  line.before = () => new Promise(() => {});
  const controller = new AbortController();
  const sending = rejects(a.transport.send(urlOf("b"), "one", controller.signal), {
    ...unreachable,
    message: /The server is closing$/,
  });
  await line.sent(1);
  controller.abort(new Error("The server is closing"));
  await sending;
  await rejects(a.transport.send(urlOf("b"), "two", controller.signal), unreachable);
  equal(line.heard.length, 1);
  equal(line.clock.timers, 0);
  line.before = () =>
    new Response(
      new ReadableStream({ pull: (controller) => controller.error(new TypeError("Connection reset")) }),
      { headers: json },
    );
  await rejects(say(a, "b", "three"), { ...unreachable, message: /Connection reset$/ });
});

test("Transport shares one hello among concurrent requests, and the next request retries it if it fails", async () => {
  const { line, a } = setUp();
  const answers = await Promise.all(["one", "two", "three"].map((message) => say(a, "b", message)));
  deepEqual(answers, ["b: one", "b: two", "b: three"]);
  equal(line.count("hello"), 1);

  const second = setUp();
  let failures = 1;
  second.line.before = () => failures-- > 0 ? new Response(null, { status: 503 }) : undefined;
  const results = await Promise.allSettled(["one", "two"].map((message) => say(second.a, "b", message)));
  deepEqual(results.map(({ status }) => status), ["rejected", "fulfilled"]);
  equal(second.line.count("hello"), 2);
});

test("Transport lets a request whose shared hello failed send its own, within its own deadline", async () => {
  const { line, a } = setUp();
  line.before = () => new Promise(() => {});
  const first = rejects(say(a, "b", "one"), unreachable);
  await line.sent(1);
  await line.clock.advance(1000);
  const second = rejects(say(a, "b", "two"), unreachable);
  await line.clock.advance(1000);
  await first;
  await line.sent(2);
  await line.clock.advance(1000);
  await second;
  equal(line.clock.timers, 0);
});

test("Transport treats an invalid URL as an unreachable peer", async () => {
  const { a } = setUp();
  // What names the peer has no password.
  const urls = { "no URL": "no URL", "http://user:password@b/reality/sync": "http://b/reality/sync", "": "" };
  for (const [url, peer] of Object.entries(urls)) {
    await rejects(a.transport.send(url, "one"), (error) => error instanceof PeerError && error.peer === peer);
  }
});

test("Transport keeps its limits on real sockets: redirects, silence, floods, dead ports", async () => {
  const listeners: Record<string, RequestListener> = {
    "/redirect": (_, response) => response.writeHead(307, { location: "/silence" }).end(),
    "/silence": () => {},
    "/endless": (_, response) => {
      response.writeHead(200, json);
      const write = () => {
        while (!response.destroyed && response.write(" ".repeat(10_000)));
      };
      response.on("drain", write).on("error", () => {});
      write();
    },
    "/stops": (_, response) => void response.writeHead(200, { ...json, "content-length": "10" }).write("{"),
    "/resets": (_, response) => void response.socket?.destroy(),
    "/small": (_, response) => response.writeHead(413, json).end("{}"),
  };
  const server = createServer((request, response) => {
    request.resume().on("end", () => listeners[request.url!]!(request, response));
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const base = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const transport = new Transport({
    clock: systemClock,
    proof: new SecretProof({ secrets, clock: systemClock }),
    fetch: (request) => fetch(request),
    timeout: 300,
    maxBytes: 100_000,
  });
  const found: Record<string, unknown> = {};
  for (const path of Object.keys(listeners)) {
    found[path] = await transport.send(base + path, "one").catch((error) =>
      error.code + (statusOf(error) ?? "")
    );
  }
  server.closeAllConnections();
  await new Promise((resolve) => server.close(resolve));
  found.dead = await transport.send(`${base}/small`, "one").catch((error) =>
    error.code + (statusOf(error) ?? "")
  );
  deepEqual(found, {
    "/redirect": "ERR_REALITY_PEER_REFUSED",
    "/silence": "ERR_REALITY_PEER_UNREACHABLE",
    "/endless": "ERR_REALITY_PEER_REPLY",
    "/stops": "ERR_REALITY_PEER_UNREACHABLE",
    "/resets": "ERR_REALITY_PEER_UNREACHABLE",
    "/small": "ERR_REALITY_PEER_REFUSED413",
    dead: "ERR_REALITY_PEER_UNREACHABLE",
  });
});
