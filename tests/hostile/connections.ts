/**
 * Sends hostile requests over real connections to `node:http` and `node:http2`: many at once on one connection, reset,
 * not read by the client, held up by hooks that do not answer. Prints what is left after each part. Started by
 * `connections_test.ts` in a process of its own, with the seed and the number of requests as its arguments.
 *
 * @module
 */
import { type ClientHttp2Stream, connect, constants } from "node:http2";
import process from "node:process";
import { createNodeHandler } from "../../adapters/node.ts";
import type { RealityServerOptions } from "../../mod.ts";
import { SeededRandom } from "../random.ts";
import { RawClient, until } from "../http/client.ts";
import { runtime } from "../runtimes/child.ts";
import { listenHttp2, listenNode } from "../runtimes/node.ts";
import { REQUESTS, TOKEN } from "./corpus.ts";
import { sync, writeRequest } from "./adapters.ts";
import { HostileScene } from "./scene.ts";
import { measureMemory } from "./memory.ts";

/** How many clients there are at once. */
const CROWD = 16;

/** How many times it is looked at what is left. The first part warms everything up. */
const PARTS = 4;

/** Keys of responses that are larger than what a connection holds by itself. */
const LARGE = Array.from({ length: 600 }, (_, i) => `large:${i}`.padEnd(512, "k"));

const [seed = 0, total = 0] = process.argv.slice(2).map(Number);
const random = new SeededRandom(seed);
const scene = await HostileScene.open({ ...stallingHooks(), limits: shortLimits() }, { hooksStall: true });
await scene.server.updateMany(LARGE.map((key) => ({ key, hash: "h".repeat(250) })));
const handler = createNodeHandler(scene.server, scene.handler);
const [http1, http2] = [await listenNode(handler), await listenHttp2(handler)];

/** Requests of HTTP/1 as they go over the line. Who may write may fill the storage, which is not what is tried. */
const corpus = REQUESTS.filter(({ body, headers }) =>
  (body?.length ?? 0) < 5_000 && !headers.some(([, value]) => value.includes(TOKEN))
).map(writeRequest);
const large = JSON.stringify({ known: Object.fromEntries(LARGE.map((key) => [key, 0])) });
const WAIT = '{"known":{"quiet":0},"wait":60000}';
const STALLS = ["authorize", "authorizeWrite", "key"] as const;

/** What a client does; gives how many requests it has sent. */
const deeds: readonly [weight: number, deed: () => Promise<number>][] = [
  [16, pipeline],
  // Deno's own client of HTTP/2 ends the process when many of its sessions are destroyed.
  [runtime === "deno" ? 0 : 10, multiplex],
  [1, readSlowly],
  [4, stall],
];

/** What holds the process: before anything is sent, the two servers. Deno and Bun do not tell. */
const countHandles = () => runtime === "node" ? process.getActiveResourcesInfo().length : 0;
const idle = countHandles();

let sent = 0;
let failures = 0;
for (let part = 1; part <= PARTS; part++) {
  const goal = Math.ceil(total * part / PARTS);
  await Promise.all(Array.from({ length: CROWD }, async () => {
    while (sent < goal) sent += await pickDeed()();
  }));
  await until(async () => {
    const { waiters, streams, pendingResponses } = await scene.server.getStats();
    return waiters + streams + pendingResponses === 0 && countHandles() <= idle;
  }, "no request waits, nothing is pending, and no handle is left");
  console.log(`after ${sent}: ${await measureMemory()} bytes`);
}
await scene.assertUnharmed((body) => sync(http1.origin, body));
await scene.close();
await Promise.all([http1.close(), http2.close()]);
console.log(`end: ${failures} failures`);

/** Many requests on one connection, whatever they are, which is then lost at some moment. */
async function pipeline(): Promise<number> {
  const raw = await RawClient.connect(http1.origin);
  const count = random.between(1, 100);
  // Mostly a waiting sync, so that later requests are queued.
  if (random.happens(0.7)) raw.send(request("POST", "sync", WAIT));
  for (let i = 1; i < count; i++) raw.send(random.happens(0.5) ? random.pick(corpus) : anyRequest());
  await moment();
  return await leave(raw, count);
}

/** Many streams of one connection of HTTP/2, reset at once or later, or lost with the connection. */
async function multiplex(): Promise<number> {
  const session = connect(http2.origin);
  session.on("error", () => {});
  const closed = new Promise<void>((resolve) => session.once("close", resolve));
  await new Promise<void>((resolve) => session.once("connect", resolve));
  const count = random.between(1, 40);
  const streams: ClientHttp2Stream[] = [];
  for (let i = 0; i < count && !session.destroyed; i++) {
    const isPost = random.happens(0.6);
    const stream = session.request({
      ":method": isPost ? "POST" : "GET",
      ":path": isPost ? "/reality/sync" : "/reality/events?keys=quiet",
      ...(isPost ? { "content-type": "application/json" } : {}),
      ...(random.happens(0.1) ? { "x-stall": random.pick(STALLS) } : {}),
    });
    stream.on("error", () => {});
    stream.on("response", (headers) => {
      if (headers[":status"] === 500) failures++;
    });
    if (!isPost) stream.end();
    else if (random.happens(0.2)) stream.write('{"known');
    else stream.end(random.happens(0.01) ? large : WAIT);
    if (random.happens(0.4)) stream.close(constants.NGHTTP2_CANCEL);
    else if (random.happens(0.5)) stream.resume();
    streams.push(stream);
  }
  await moment();
  for (const stream of streams) if (random.happens(0.3)) stream.close(constants.NGHTTP2_CANCEL);
  await moment();
  session.destroy();
  await closed;
  return count;
}

/** Responses and a stream that are larger than the connection's buffers and are not read. */
async function readSlowly(): Promise<number> {
  const raw = await RawClient.connect(http1.origin);
  raw.pause();
  const count = random.between(1, 10);
  for (let i = 0; i < count; i++) raw.send(request("POST", "sync", large));
  await new Promise((resolve) => setTimeout(resolve, random.between(0, 500)));
  return await leave(raw, count);
}

/** Requests whose hooks do not answer, of which some are left alone and some are waited for. */
async function stall(): Promise<number> {
  const raw = await RawClient.connect(http1.origin);
  const count = random.between(1, 20);
  raw.send(request("POST", "sync", WAIT, "X-Stall: key\r\n"));
  for (let i = 1; i < count; i++) raw.send(anyRequest(random.pick(STALLS)));
  // A hook is given up after 300 ms.
  if (random.happens(0.2)) await new Promise((resolve) => setTimeout(resolve, 350));
  else await moment();
  return await leave(raw, count);
}

async function leave(raw: RawClient, count: number): Promise<number> {
  if (/^HTTP\/1\.1 500/m.test(raw.received)) failures++;
  await raw.close();
  return count;
}

function anyRequest(stalled?: string): string {
  const headers = stalled === undefined ? "" : `X-Stall: ${stalled}\r\n`;
  return random.pick([
    () => request("POST", "sync", WAIT, headers),
    () => request("POST", "sync", '{"known":{"quiet":0}}', headers),
    () => request("POST", "invalidate", '{"keys":["quiet"]}', headers),
    () => request("GET", "events?keys=quiet", "", headers),
    () => request("GET", "health", "", headers),
  ])();
}

function request(method: string, path: string, body: string, headers = ""): string {
  return `${method} /reality/${path} HTTP/1.1\r\nHost: a\r\n${headers}` +
    (body === "" ? "" : `Content-Type: application/json\r\nContent-Length: ${body.length}\r\n`) +
    `\r\n${body}`;
}

/** At once, or after the server had its turn a few times. */
async function moment(): Promise<void> {
  const ms = random.pick([0, 0, 1, 5, 30]);
  if (ms > 0) await new Promise((resolve) => setTimeout(resolve, ms));
}

function pickDeed(): () => Promise<number> {
  const sum = deeds.reduce((sum, [weight]) => sum + weight, 0);
  let left = random.between(1, sum);
  return deeds.find(([weight]) => (left -= weight) <= 0)![1];
}

/** Hooks that never answer a request that says so. */
function stallingHooks(): Partial<RealityServerOptions> {
  const orNever = <T>(hook: typeof STALLS[number], { headers }: Request, answer: T): T | Promise<T> =>
    headers.get("x-stall") === hook ? new Promise<T>(() => {}) : answer;
  return {
    hookTimeout: 300,
    authorize: (request) => orNever("authorize", request, true),
    authorizeWrite: (request) => orNever("authorizeWrite", request, false),
    rateLimit: { limit: 1, window: 1_000, key: (request) => orNever("key", request, null) },
  };
}

function shortLimits(): RealityServerOptions["limits"] {
  return { maxWait: 60_000, bodyTimeout: 300, responseTimeout: 300, stallTimeout: 300 };
}
