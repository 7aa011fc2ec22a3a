/**
 * Sends 100,000 hostile requests to the fetch handler of one server, and prints how much memory stays in use, and the
 * first answers with a status of 500 or more. Started by `memory_test.ts` in a process of its own. Prints its seed; with that
 * seed as its argument, the same requests are sent again.
 *
 * @module
 */
import fc from "fast-check";
import process from "node:process";
import { SeededRandom } from "../random.ts";
import type { HostileRequest } from "./corpus.ts";
import { REQUESTS, TOKEN } from "./corpus.ts";
import { requests } from "./inputs.ts";
import { HostileScene } from "./scene.ts";
import { measureMemory } from "./memory.ts";
import { toRequest } from "./web_request.ts";

/** How many requests there are in all, between two lines that tell of it, and at once. */
const TOTAL = 100_000;
const STRIDE = 2_500;
const AT_ONCE = 500;

/** After how many of them it is looked at what is in use, which takes long. */
const LOOKS: readonly number[] = [15_000, 20_000, 90_000, 95_000, 100_000];

/** Bodies above this many bytes come once in so many requests: they say no more each time, and take long. */
const LARGE = 5_000;
const SELDOM = 1_000;

/** How many of the failures are described, and how many characters of a target, a header, a body and an answer. */
const MAX_DESCRIBED = 20;
const MAX_PRINTED = 300;

const seed = Number(process.argv[2] ?? Math.floor(Math.random() * 2 ** 31));
console.log(`seed: ${seed}`);
const random = new SeededRandom(seed);
const isLarge = ({ body }: HostileRequest) => body !== undefined && body.length > LARGE;
const made = fc.sample(requests, { seed, numRuns: 2_000 }).map(withoutToken);
const [small, large] = [[...REQUESTS.filter((one) => !isLarge(one)), ...made], REQUESTS.filter(isLarge)];

const scene = await HostileScene.open({
  limits: { maxWait: 1 },
  meshSecret: "a secret of thirty-two characters",
  meshPeers: ["http://b:3000"],
  mesh: { fetch: () => Promise.reject(new TypeError("connection refused")) },
});
const handler = scene.server.getFetchHandler(scene.handler);
let failures = 0;

for (let count = 0; count < TOTAL;) {
  await Promise.all(Array.from({ length: AT_ONCE }, () => ask(next())));
  count += AT_ONCE;
  if (LOOKS.includes(count)) console.log(`in use after ${count}: ${await measureMemory()}`);
  if (count % STRIDE === 0) console.log(`after ${count}`);
}

await scene.assertUnharmed(async (body) => {
  const headers = { "content-type": "application/json" };
  const response = await handler(
    new Request("http://localhost/reality/sync", { method: "POST", headers, body }),
  );
  return { status: response.status, body: await response.text() };
});
await scene.close();
console.log(`end: ${failures} failures`);

/** A request of the corpus, or one at random with something in it changed. */
function next(): HostileRequest {
  if (random.happens(1 / SELDOM)) return random.pick(large);
  const request = random.pick(small);
  const { body } = request;
  if (body === undefined || body.length === 0 || random.happens(0.3)) return request;
  const bytes = typeof body === "string" ? new TextEncoder().encode(body) : body.slice();
  for (let i = random.between(1, 3); i > 0; i--) {
    bytes[random.between(0, bytes.length - 1)] = random.between(0, 255);
  }
  return { ...withoutToken(request), body: bytes };
}

/** Who may write may fill the storage, which is not what is measured. */
function withoutToken(request: HostileRequest): HostileRequest {
  return { ...request, headers: request.headers.filter(([, value]) => !value.includes(TOKEN)) };
}

async function ask(hostile: HostileRequest): Promise<void> {
  const request = toRequest(hostile, random.happens(0.5));
  if (request === null) return;
  const response = await handler(request);
  if (response.status >= 500) {
    if (++failures <= MAX_DESCRIBED) console.log(`failure: ${await describeFailure(hostile, response)}`);
    return;
  }
  const reader = response.body?.getReader();
  await reader?.read();
  await reader?.cancel();
}

/** What was asked and answered, shortened. A body of bytes has one character for each byte. */
async function describeFailure(
  { name, method, target, headers, body }: HostileRequest,
  response: Response,
): Promise<string> {
  const shorten = (text: string) => text.length > MAX_PRINTED ? `${text.slice(0, MAX_PRINTED)}…` : text;
  const sent = body instanceof Uint8Array
    ? Array.from(body, (byte) => String.fromCharCode(byte)).join("")
    : body;
  const found = {
    status: response.status,
    name,
    method,
    target,
    headers,
    body: sent,
    answer: await response.text(),
  };
  return JSON.stringify(found, (_, value) => typeof value === "string" ? shorten(value) : value);
}
