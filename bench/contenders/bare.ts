/**
 * The limit of the sync benches with additions, to find what each of them costs: `bare`, or `bare+bytes+headers`.
 *
 * @module
 */
import { Limit } from "./limit.ts";
import { readText, type Served } from "./served.ts";

/** What a bare handler may do in addition. */
export const ADDITIONS = {
  "no-store": "answers with two headers in place of one",
  json: "reads the body by `request.json()`",
  bytes: "reads the body as bytes and decodes them",
  stream: "reads the body from its stream",
  head: "reads URL and method",
  headers: "reads three headers",
  signal: "reads the signal",
  promises: "passes the answer through five more promises",
} as const;

const DECODER = new TextDecoder();
const JSON_ONLY = { "content-type": "application/json" };
const NO_STORE = { "content-type": "application/json", "cache-control": "no-store" };

/**
 * A bare handler with some additions.
 *
 * @param name `bare`, then a plus sign and a name of {@linkcode ADDITIONS} for each.
 * @param nodes How many nodes it keeps.
 */
export function serveBare(name: string, nodes: number): Served {
  const wanted = new Set(name.split("+").slice(1));
  for (const addition of wanted) {
    if (!Object.hasOwn(ADDITIONS, addition)) {
      throw new Error(`Cannot add ${addition}: expected ${Object.keys(ADDITIONS)}`);
    }
  }
  const limit = new Limit(nodes);
  const init = { headers: wanted.has("no-store") ? NO_STORE : JSON_ONLY };
  const [head, headers, signal, promises] = ["head", "headers", "signal", "promises"].map((one) =>
    wanted.has(one)
  );
  const read = wanted.has("json")
    ? readParsed
    : wanted.has("bytes")
    ? readBytes
    : wanted.has("stream")
    ? readStream
    : readWhole;
  return {
    async fetch(request) {
      if (head && (request.method !== "POST" || !request.url.endsWith("/reality/sync"))) {
        throw new Error("Not found");
      }
      if (headers) {
        const { headers } = request;
        if (headers.get("content-type") === null || headers.get("content-length") === null) {
          throw new Error("No type");
        }
        if (headers.get("content-encoding") !== null) throw new Error("An encoding");
      }
      if (signal && request.signal.aborted) throw new Error("Gone");
      let body = await read(request);
      if (promises) { for (let i = 0; i < 5; i++) body = await pass(body); }
      return new Response(limit.answer(body), init);
    },
    async listener(request, response) {
      const body = limit.answer(await readText(request));
      response.writeHead(200, init.headers);
      response.end(body);
    },
    change: () => {},
    watch: () => Promise.resolve({ waiting: 0, reads: 0 }),
  };
}

function readWhole(request: Request): Promise<string> {
  return request.text();
}

async function readBytes(request: Request): Promise<string> {
  return DECODER.decode(await request.arrayBuffer());
}

/** The limit parses a text, so this stringifies what was parsed: its cost has to be taken off. */
async function readParsed(request: Request): Promise<string> {
  return JSON.stringify(await request.json());
}

async function readStream(request: Request): Promise<string> {
  const reader = request.body!.getReader();
  let text = "";
  for (let read = await reader.read(); !read.done; read = await reader.read()) {
    text += DECODER.decode(read.value);
  }
  return text;
}

async function pass<T>(value: T): Promise<T> {
  return await value;
}
