import assert from "node:assert/strict";
import { RULES } from "../../../cli/check/rules.ts";
import { checkRule, type Rule } from "../../../cli/check/rule.ts";
import { CheckedServer } from "../../../cli/check/server.ts";
import {
  createFetchHandler,
  type HandlerOptions,
  MemoryStorage,
  RealityServer,
  type RealityServerOptions,
} from "../../../mod.ts";
import { test } from "../../harness.ts";
import { listenFetch } from "../../runtimes/fetch.ts";

const TOKEN = "token-of-the-check-01";
const JSON_TYPE = { "content-type": "application/json" };

type Handler = (request: Request) => Promise<Response>;

/** A server that breaks a rule. */
interface BrokenServer {
  /** What it does. */
  readonly does: string;
  /** The numbers of all rules that it breaks. */
  readonly breaks: readonly string[];
  readonly options?: Partial<RealityServerOptions>;
  readonly handler?: HandlerOptions;
  /** Answers in place of a good server, which it may ask. */
  answer(request: Request, ask: Handler): Promise<Response>;
}

/** A sync request's fields. */
interface SyncBody {
  known: Record<string, number>;
  [name: string]: unknown;
}

/** A sync answer's fields. */
interface SyncAnswer {
  changed: Record<string, { key: string; version: number; deleted?: true }>;
  mesh: { peers: unknown; serverVersion: number };
  [name: string]: unknown;
}

/** Whatever version anybody has claimed, and the key that was asked for last. */
let highest = 0;
let asked = "";

const broken: readonly BrokenServer[] = [
  {
    does: "fails at a body that is no JSON",
    breaks: ["2.1"],
    answer: (request, ask) =>
      readJSON(request, ask, (body) => body === undefined && new Response("", { status: 500 })),
  },
  {
    does: "takes a body of any type",
    breaks: ["2.1"],
    answer: async (request, ask) => {
      if (request.method !== "POST") return await ask(request);
      const copy = withBody(request, await request.text());
      copy.headers.set("content-type", "application/json");
      return await ask(copy);
    },
  },
  {
    does: "refuses fields that it does not know",
    breaks: ["2.2"],
    answer: onSync(({ body }) =>
      Object.hasOwn(body, "reality-check") ? refuse(400, "BAD_REQUEST", "What is this?") : undefined
    ),
  },
  {
    does: "takes a wait that is none for none",
    breaks: ["2.2"],
    answer: onSync(({ body, ask }) => typeof body.wait === "string" ? ask({ ...body, wait: 0 }) : undefined),
  },
  {
    does: "does not say which field is wrong",
    breaks: ["2.2"],
    answer: async (request, ask) => {
      const response = await ask(request);
      if (response.status !== 400) return response;
      await response.body?.cancel();
      return refuse(400, "BAD_REQUEST", "Something is wrong with maxKeyBytes");
    },
  },
  {
    does: "loses keys that have a meaning in JavaScript",
    breaks: ["2.3"],
    answer: onAnswer(({ answer }) => {
      for (const key of ["__proto__", "constructor"]) delete answer.changed[key];
    }),
  },
  {
    does: "refuses with a text",
    breaks: ["2.4", "3.5"],
    answer: async (request, ask) => {
      const response = await ask(request);
      if (response.status < 400 || request.method !== "POST") return response;
      const { error } = await response.json();
      return new Response(error.message, { status: response.status, headers: response.headers });
    },
  },
  {
    does: "sends stacks",
    breaks: ["2.4"],
    answer: async (request, ask) => {
      const response = await ask(request);
      if (response.status !== 400) return response;
      const { error } = await response.json();
      return refuse(400, "BAD_REQUEST", `${error.message}\n    at parse (file:///app/src/parse.ts:7:9)`);
    },
  },
  {
    does: "lets caches keep answers",
    breaks: ["2.5"],
    answer: async (request, ask) =>
      request.method === "POST"
        ? withHeaders(await ask(request), { "cache-control": null })
        : await ask(request),
  },
  {
    does: "answers every path",
    breaks: ["2.6"],
    answer: async (request, ask) => {
      const response = await ask(request);
      if (response.status !== 404) return response;
      await response.body?.cancel();
      return Response.json({});
    },
  },
  {
    does: "does not say which methods there are",
    breaks: ["2.6"],
    answer: async (request, ask) => withHeaders(await ask(request), { allow: null }),
  },
  {
    does: "looks at the first keys only",
    breaks: ["2.7"],
    answer: onSync(({ body, ask }) => {
      const keys = Object.entries(body.known);
      return keys.length > 1000 ? ask({ known: Object.fromEntries(keys.slice(0, 1000)) }) : undefined;
    }),
  },
  {
    does: "does not name limits",
    breaks: ["2.7"],
    answer: async (request, ask) => {
      const response = await ask(request);
      if (response.status !== 413) return response;
      const { error } = await response.json();
      const { status, headers } = response;
      return Response.json({ error: { ...error, message: "Too much" } }, { status, headers });
    },
  },
  {
    does: "refuses what clients of the 1.x line send",
    breaks: ["3.1", "3.2", "3.3"],
    answer: onSync(({ body }) =>
      body.timestamp === undefined ? undefined : refuse(400, "BAD_REQUEST", 'Cannot read "timestamp"')
    ),
  },
  {
    does: "does not tell its time",
    breaks: ["3.2"],
    answer: onAnswer(({ answer }) => delete answer.serverTime),
  },
  {
    does: "tells what nobody asked for",
    breaks: ["3.2"],
    answer: onAnswer(({ answer }) => answer.changed.other = { key: "other", version: 7 }),
  },
  {
    does: "tells where its peers are",
    breaks: ["3.2"],
    answer: onAnswer(({ answer, body }) => {
      if (body.hint === undefined) answer.mesh.peers = ["http://10.0.0.7:3000"];
    }),
  },
  {
    does: "gives clients of the 1.x line a list",
    breaks: ["3.3"],
    answer: onAnswer(({ answer }) => answer.mesh.peers = []),
  },
  {
    does: "believes a client's version",
    breaks: ["3.4"],
    answer: onAnswer(({ answer, body }) => {
      highest = Math.max(highest, ...Object.values(body.known));
      answer.mesh.serverVersion = Math.max(highest, answer.mesh.serverVersion);
    }),
  },
  {
    does: "answers gossip of anybody",
    breaks: ["3.5", "11.1"],
    answer: onSync(({ body }) => body.gossip === undefined ? undefined : Response.json({ gossip: {} })),
  },
  {
    does: "does not look at the epoch",
    breaks: ["4.1"],
    answer: onSync(({ body, ask }) =>
      typeof body.epoch === "string" ? ask({ ...body, epoch: undefined }) : undefined
    ),
  },
  {
    does: "tells of everything in another epoch, though there is nothing",
    breaks: ["4.1"],
    answer: onAnswer(({ answer, body }) => {
      if (!/nobody/.test(String(body.epoch))) return;
      for (const key of Object.keys(body.known)) answer.changed[key] ??= gone(key);
    }),
  },
  {
    does: "tells of a key that is not there to who asks for it",
    breaks: ["3.4", "4.2", "4.3", "7.5"],
    answer: onAnswer(({ answer, body }) => {
      if (body.wait !== undefined || body.epoch !== undefined) return;
      const [key, ...others] = Object.keys(body.known);
      if (key === undefined || others.length > 0 || body.known[key] !== 0) return;
      answer.changed[key] ??= { key, version: 0 };
    }),
  },
  {
    does: "does not tell that a node is gone",
    breaks: ["2.3", "4.3", "5.2"],
    answer: onAnswer(({ answer }) => {
      for (const [key, meta] of Object.entries(answer.changed)) if (meta.deleted) delete answer.changed[key];
    }),
  },
  {
    does: "tells of nodes that are new, and of no newer ones",
    breaks: ["4.4", "5.2"],
    answer: onAnswer(({ answer, body }) => {
      for (const [key, { version }] of Object.entries(answer.changed)) {
        if (version > (body.known[key] ?? 0) && body.known[key] !== 0) delete answer.changed[key];
      }
    }),
  },
  {
    does: "tells what the client has already",
    breaks: ["4.5"],
    answer: onSync(({ body, ask }) => {
      if (body.wait !== undefined) return undefined;
      const older = Object.entries(body.known).map(([key, version]) =>
        [key, Number.isSafeInteger(version) && version > 1 ? version - 1 : version] as const
      );
      return ask({ ...body, known: Object.fromEntries(older) });
    }),
  },
  {
    does: "is quiet when the client is ahead",
    breaks: ["4.1", "4.6"],
    answer: onAnswer(({ answer, body }) => {
      for (const [key, meta] of Object.entries(answer.changed)) {
        if (!meta.deleted && meta.version < (body.known[key] ?? 0)) delete answer.changed[key];
      }
    }),
  },
  {
    does: "does not say how long to stay away where it does not let anybody wait",
    breaks: ["5.8"],
    answer: onAnswer(({ answer }) => delete answer.pause),
  },
  {
    does: "tells of a change only at the deadline",
    breaks: ["5.1", "5.2"],
    answer: onSync(async ({ body, ask }) => {
      if (!Number(body.wait) || Object.keys(body.known).length === 0) return undefined;
      const response = await ask({ ...body, wait: 0 });
      const { changed } = await response.clone().json();
      if (Object.keys(changed).length > 0) return response;
      await response.body?.cancel();
      await new Promise((resolve) => setTimeout(resolve, Number(body.wait)));
      return await ask({ ...body, wait: 0 });
    }),
  },
  {
    does: "misses a change between its reading and its waiting, and does not look again",
    breaks: ["5.1", "5.2"],
    answer: onSync(async ({ body, ask }) => {
      if (!Number(body.wait) || Object.keys(body.known).length === 0) return undefined;
      const response = await ask({ ...body, wait: 0 });
      await new Promise((resolve) => setTimeout(resolve, Number(body.wait)));
      return response;
    }),
  },
  {
    does: "waits for no key",
    breaks: ["5.6"],
    answer: onSync(async ({ body }) => {
      if (Object.keys(body.known).length > 0) return undefined;
      await new Promise((resolve) => setTimeout(resolve, Number(body.wait) > 0 ? Number(body.wait) : 0));
      return undefined;
    }),
  },
  {
    does: "streams changes under another name",
    breaks: ["6.1", "6.2", "6.3", "6.4"],
    answer: onStream((text) => text.replaceAll("event: update", "event: change")),
  },
  {
    does: "streams no id before there is a node",
    breaks: ["6.1", "6.2"],
    answer: onStream((text) => text.includes("event:") ? text : text.replaceAll(/^id: .*\n/gm, "")),
  },
  {
    does: "streams an id with every event",
    breaks: ["6.2", "6.3", "6.4"],
    answer: onStream((text) => text.replaceAll(/^(data: .*\n)\n/gm, "$1id: x:1\n\n")),
  },
  {
    does: "streams heartbeats with an id",
    breaks: ["6.3"],
    answer: async (request, ask) => {
      const response = await ask(request);
      if (response.headers.get("content-type") !== "text/event-stream") return response;
      let timer: ReturnType<typeof setTimeout>;
      const heartbeat = new TextEncoder().encode(": heartbeat\nid: x:1\n\n");
      const body = response.body!.pipeThrough(
        new TransformStream<Uint8Array, Uint8Array>({
          start(controller) {
            timer = setTimeout(() => controller.enqueue(heartbeat), 200);
            request.signal.addEventListener("abort", () => clearTimeout(timer));
          },
          flush: () => clearTimeout(timer),
        }),
      );
      return new Response(body, { headers: response.headers });
    },
  },
  {
    does: "goes on from now, whatever the client has seen",
    breaks: ["6.4"],
    answer: async (request, ask) => {
      if (!request.headers.has("last-event-id")) return await ask(request);
      return await onStream((text) => text.replaceAll(/event: .*\ndata: .*\n/g, ""))(request, ask);
    },
  },
  {
    does: "lets proxies hold back the stream",
    breaks: ["6.7"],
    answer: async (request, ask) => withHeaders(await ask(request), { "x-accel-buffering": null }),
  },
  {
    does: "lets everybody write",
    breaks: ["7.1"],
    answer: async (request, ask) => {
      const response = await ask(request);
      if (response.status !== 401) return response;
      await response.body?.cancel();
      return Response.json({ versions: {}, epoch: "" }, { headers: { "cache-control": "no-store" } });
    },
  },
  {
    does: "does not say how to say who writes",
    breaks: ["7.1"],
    answer: async (request, ask) => withHeaders(await ask(request), { "www-authenticate": null }),
  },
  {
    does: "takes the first of a list of updates",
    breaks: ["6.2", "6.3", "6.4", "7.2"],
    answer: onUpdates((updates) => updates.slice(0, new Set(updates.map(({ key }) => key)).size > 1 ? 1 : 9)),
  },
  {
    does: "writes the same hash at each invalidation",
    breaks: ["7.3"],
    answer: async (request, ask) => {
      const isWrite = request.headers.get("authorization") === `Bearer ${TOKEN}` && request.method === "POST";
      if (!isWrite || !request.url.endsWith("/invalidate")) return await ask(request);
      const { keys } = await request.json();
      const body = JSON.stringify({ updates: keys.map((key: string) => ({ key, hash: "same" })) });
      return await ask(withBody(request, body, request.url.replace("/invalidate", "/update")));
    },
  },
  {
    does: "answers a write without the epoch",
    breaks: ["7.4"],
    answer: async (request, ask) => {
      const response = await ask(request);
      if (!/\/(update|invalidate)$/.test(request.url) || response.status !== 200) return response;
      const { versions } = await response.json();
      return Response.json({ versions });
    },
  },
  {
    does: "does not delete what is not there",
    breaks: ["7.5"],
    answer: async (request, ask) => {
      const key = request.method === "DELETE" ? decodeURIComponent(new URL(request.url).pathname) : "";
      if (request.headers.get("authorization") === `Bearer ${TOKEN}` && deleted.has(key)) {
        return refuse(404, "NOT_FOUND", "No such node");
      }
      const response = await ask(request);
      if (response.status === 204 && key !== "") deleted.add(key);
      return response;
    },
  },
  {
    does: "does not decode the key in the path",
    breaks: ["7.5"],
    answer: async (request, ask) => {
      if (request.method !== "DELETE" || !request.url.includes("%20")) return await ask(request);
      const url = request.url.replaceAll("%", "%25");
      return await ask(new Request(url, { method: "DELETE", headers: request.headers }));
    },
  },
  {
    does: "keeps the first of several changes of a key",
    breaks: ["7.6"],
    answer: onUpdates((updates) => [
      ...new Map(updates.toReversed().map((update) => [update.key, update])).values(),
    ]),
  },
  {
    does: "tells its name when asked for its health",
    breaks: ["8"],
    answer: async (request, ask) =>
      request.url.endsWith("/health") && request.method === "GET"
        ? Response.json({ status: "ok", serverId: "server-1" })
        : await ask(request),
  },
  {
    does: "lets every origin read with credentials",
    breaks: ["9"],
    handler: { cors: { origins: "*" } },
    answer: async (request, ask) =>
      withHeaders(await ask(request), { "access-control-allow-credentials": "true" }),
  },
  {
    does: "names the first origin of its list to everybody",
    breaks: ["9"],
    answer: async (request, ask) =>
      withHeaders(await ask(request), { "access-control-allow-origin": "https://app.example" }),
  },
  {
    does: "does not tell caches that it depends on the origin",
    breaks: ["9"],
    handler: { cors: { origins: () => true } },
    answer: async (request, ask) => withHeaders(await ask(request), { vary: null }),
  },
  {
    does: "answers a preflight with 200",
    breaks: ["9"],
    handler: { cors: { origins: "*" } },
    answer: async (request, ask) => {
      const response = await ask(request);
      return request.method === "OPTIONS" ? new Response("", { headers: response.headers }) : response;
    },
  },
  {
    does: "tells what is wrong with a proof",
    breaks: ["11.1"],
    options: { meshSecret: "a secret of the mesh" },
    answer: onSync(({ body }) => {
      const { token } = body.gossip as { token?: string } ?? {};
      return token === undefined ? undefined : refuse(401, "UNAUTHORIZED", "This token is not known");
    }),
  },
  {
    does: "describes another base path, and a route that is not there",
    breaks: ["12.1"],
    answer: async (request, ask) => {
      const response = await ask(request);
      if (!request.url.endsWith("/openapi.json") || request.method !== "GET") return response;
      const document = await response.json();
      return Response.json({ ...document, paths: { ...document.paths, "/versions": {} } });
    },
  },
  {
    does: "takes a compressed body for a plain one",
    breaks: ["2.8"],
    answer: async (request, ask) => {
      if (!request.headers.has("content-encoding")) return await ask(request);
      const copy = withBody(request, await request.text());
      copy.headers.delete("content-encoding");
      return await ask(copy);
    },
  },
  {
    does: "says of itself that it is up",
    breaks: ["14.1"],
    answer: async (request, ask) =>
      request.url.endsWith("/ready") && request.method === "GET"
        ? Response.json({ status: "up" })
        : await ask(request),
  },
  {
    does: "counts by key",
    breaks: ["15.2"],
    answer: async (request, ask) => {
      if (request.method === "POST") {
        const text = await request.text();
        asked = /reality-check:[^"]*/.exec(text)?.[0] ?? asked;
        return await ask(withBody(request, text));
      }
      const response = await ask(request);
      if (!request.url.endsWith("/metrics") || request.method !== "GET") return response;
      const name = "reality_syncs_by_key_total";
      const lines = `# TYPE ${name} counter\n${name}{key="${asked}"} 1\n`;
      return new Response(await response.text() + lines, { headers: response.headers });
    },
  },
  {
    does: "counts under names of others",
    breaks: ["15.1"],
    answer: async (request, ask) => {
      const response = await ask(request);
      if (!request.url.endsWith("/metrics") || request.method !== "GET") return response;
      return new Response(`${await response.text()}http_requests_total 7\n`, { headers: response.headers });
    },
  },
  {
    does: "counts those who ask for its health",
    breaks: ["16.3"],
    answer: async (request, ask) =>
      request.url.endsWith("/health")
        ? withHeaders(await ask(request), { "ratelimit": '"default";r=1;t=1' })
        : await ask(request),
  },
  {
    does: "tells its limit in another form",
    breaks: ["16.4"],
    answer: async (request, ask) =>
      request.url.endsWith("/sync")
        ? withHeaders(await ask(request), { "ratelimit": "limit=100, remaining=50, reset=30" })
        : await ask(request),
  },
];

const deleted = new Set<string>();

for (const server of broken) {
  test(`the check finds a server that ${server.does}, by rule ${server.breaks.join(", ")}`, async () => {
    const results = await findBroken(server);
    const numbers = [...new Set(results.map(({ number }) => number))];
    assert.deepEqual(numbers, server.breaks, JSON.stringify(results, null, 2));
  });
}

/** The rules that a server breaks, and how. Those that take a second to hold are asked only where they matter. */
async function findBroken(
  { answer, breaks, options, handler }: BrokenServer,
): Promise<{ number: string; sentence: string; found: string | undefined }[]> {
  const server = new RealityServer({ storage: new MemoryStorage(), writeTokens: [TOKEN], ...options });
  const ask = createFetchHandler(server, handler);
  const { origin, close } = await listenFetch((request) => answer(request, ask));
  const isSlow = ({ number, sentence }: Rule) => number === "5.3" || sentence.startsWith("Heartbeats");
  const rules = RULES.filter((rule) => !isSlow(rule) || breaks.includes(rule.number));
  try {
    const checked = new CheckedServer(`${origin}/reality`, {
      writeToken: TOKEN,
      headers: {},
      timeout: 3_000,
    });
    const found = [];
    for (const rule of rules) {
      const { outcome, found: what } = await checkRule(rule, checked);
      if (outcome === "failed") found.push({ number: rule.number, sentence: rule.sentence, found: what });
    }
    return found;
  } finally {
    await server.close();
    await close();
  }
}

/** Answers by what a body is as JSON: with something else, or as a good server does. */
async function readJSON(
  request: Request,
  ask: Handler,
  look: (body: unknown) => Response | false,
): Promise<Response> {
  if (request.method !== "POST") return await ask(request);
  const text = await request.text();
  let body: unknown;
  try {
    body = JSON.parse(text);
  } catch {
    // Then it is none.
  }
  return look(body) || await ask(withBody(request, text));
}

/** Answers syncs of the right shape in another way, where there is one. */
function onSync(
  look: (
    sync: { body: SyncBody; ask: (body: unknown) => Promise<Response> },
  ) => Response | undefined | Promise<Response | undefined>,
): BrokenServer["answer"] {
  return async (request, ask) => {
    if (request.method !== "POST" || !request.url.endsWith("/sync")) return await ask(request);
    const text = await request.text();
    let body: SyncBody | undefined;
    try {
      body = JSON.parse(text);
    } catch {
      // Refused below.
    }
    const known: unknown = body?.known;
    const isSync = typeof known === "object" && known !== null && !Array.isArray(known);
    const other = isSync && body !== undefined && request.headers.get("content-type")?.includes("json")
      ? await look({ body, ask: async (changed) => await ask(withBody(request, JSON.stringify(changed))) })
      : undefined;
    return other ?? await ask(withBody(request, text));
  };
}

/** Changes what a sync is answered. */
function onAnswer(
  change: (sync: { answer: SyncAnswer; body: SyncBody }) => unknown,
): BrokenServer["answer"] {
  return onSync(async ({ body, ask }) => {
    const response = await ask(body);
    if (response.status !== 200) return response;
    const answer: SyncAnswer = await response.json();
    change({ answer, body });
    return Response.json(answer, { headers: response.headers });
  });
}

/** Changes which updates a write asks for. */
function onUpdates(
  change: (updates: readonly { key: string; hash: string }[]) => unknown[],
): BrokenServer["answer"] {
  return async (request, ask) => {
    if (request.method !== "POST" || !request.url.endsWith("/update")) return await ask(request);
    const body = await request.json();
    const updates = Array.isArray(body.updates) ? change(body.updates) : undefined;
    return await ask(withBody(request, JSON.stringify({ ...body, updates })));
  };
}

/** Changes what is streamed. */
function onStream(change: (text: string) => string): BrokenServer["answer"] {
  return async (request, ask) => {
    const response = await ask(request);
    if (response.body === null || response.headers.get("content-type") !== "text/event-stream") {
      return response;
    }
    const changed = response.body.pipeThrough(new TextDecoderStream()).pipeThrough(
      new TransformStream<string, string>({
        transform: (text, controller) => controller.enqueue(change(text)),
      }),
    ).pipeThrough(new TextEncoderStream());
    return new Response(changed, { headers: response.headers });
  };
}

/** The same request with another body. */
function withBody(request: Request, body: string, url: string = request.url): Request {
  const headers = new Headers(request.headers);
  headers.delete("content-length");
  return new Request(url, { method: request.method, headers, body, signal: request.signal });
}

function withHeaders(response: Response, changes: Record<string, string | null>): Response {
  const headers = new Headers(response.headers);
  for (const [name, value] of Object.entries(changes)) {
    if (value === null) headers.delete(name);
    else headers.set(name, value);
  }
  return new Response(response.body, { status: response.status, headers });
}

function refuse(status: number, code: string, message: string): Response {
  return Response.json({ error: { code: `ERR_REALITY_${code}`, message } }, {
    status,
    headers: { ...JSON_TYPE, "cache-control": "no-store", "www-authenticate": "Bearer" },
  });
}

function gone(key: string): { key: string; version: number; deleted: true } {
  return { key, version: 0, deleted: true };
}
