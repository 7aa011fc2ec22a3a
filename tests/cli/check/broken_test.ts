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
  /** What the server does wrong, as a test name. */
  readonly does: string;
  /** The numbers of all rules that it breaks. */
  readonly breaks: readonly string[];
  readonly options?: Partial<RealityServerOptions>;
  readonly handler?: HandlerOptions;
  /** Answers a request. `ask` gives the answer of a correct server. */
  answer(request: Request, ask: Handler): Promise<Response>;
}

/** A rule that a server breaks, and what shows it. */
interface Finding {
  readonly number: string;
  readonly sentence: string;
  readonly found: string | undefined;
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

const broken: readonly BrokenServer[] = [
  {
    does: "answers a body that is not JSON with 500",
    breaks: ["2.1"],
    answer: (request, ask) =>
      readJSON(request, ask, (body) => body === undefined && new Response("", { status: 500 })),
  },
  {
    does: "accepts a body of any media type",
    breaks: ["2.1"],
    answer: async (request, ask) => {
      if (request.method !== "POST") return await ask(request);
      const copy = withBody(request, await request.text());
      copy.headers.set("content-type", "application/json");
      return await ask(copy);
    },
  },
  {
    does: "refuses unknown fields",
    breaks: ["2.2"],
    answer: onSync(({ body }) =>
      Object.hasOwn(body, "reality-check") ? refuse(400, "BAD_REQUEST", "What is this?") : undefined
    ),
  },
  {
    does: "ignores a wait that is not a number",
    breaks: ["2.2"],
    answer: onSync(({ body, ask }) => typeof body.wait === "string" ? ask({ ...body, wait: 0 }) : undefined),
  },
  {
    does: "does not name the invalid field",
    breaks: ["2.2"],
    answer: async (request, ask) => {
      const response = await ask(request);
      if (response.status !== 400) return response;
      await response.body?.cancel();
      return refuse(400, "BAD_REQUEST", "Something is wrong with maxKeyBytes");
    },
  },
  {
    does: "loses keys that are names of Object.prototype",
    breaks: ["2.3"],
    answer: onAnswer(({ answer }) => {
      for (const key of ["__proto__", "constructor"]) delete answer.changed[key];
    }),
  },
  {
    does: "sends refusals as plain text",
    breaks: ["2.4", "3.5"],
    answer: async (request, ask) => {
      const response = await ask(request);
      if (response.status < 400 || request.method !== "POST") return response;
      const { error } = await response.json();
      return new Response(error.message, { status: response.status, headers: response.headers });
    },
  },
  {
    does: "sends stack traces",
    breaks: ["2.4"],
    answer: async (request, ask) => {
      const response = await ask(request);
      if (response.status !== 400) return response;
      const { error } = await response.json();
      return refuse(400, "BAD_REQUEST", `${error.message}\n    at parse (file:///app/src/parse.ts:7:9)`);
    },
  },
  {
    does: "allows caches to store answers",
    breaks: ["2.5"],
    answer: async (request, ask) =>
      request.method === "POST"
        ? withHeaders(await ask(request), { "cache-control": null })
        : await ask(request),
  },
  {
    does: "answers unknown paths with 200",
    breaks: ["2.6"],
    answer: async (request, ask) => {
      const response = await ask(request);
      if (response.status !== 404) return response;
      await response.body?.cancel();
      return Response.json({});
    },
  },
  {
    does: "sends 405 without Allow",
    breaks: ["2.6"],
    answer: async (request, ask) => withHeaders(await ask(request), { allow: null }),
  },
  {
    does: "drops keys above a limit silently",
    breaks: ["2.7"],
    answer: onSync(({ body, ask }) => {
      const keys = Object.entries(body.known);
      return keys.length > 1000 ? ask({ known: Object.fromEntries(keys.slice(0, 1000)) }) : undefined;
    }),
  },
  {
    does: "does not name the limit in a 413",
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
    does: "refuses the requests of 1.x clients",
    breaks: ["3.1", "3.2", "3.3"],
    answer: onSync(({ body }) =>
      body.timestamp === undefined ? undefined : refuse(400, "BAD_REQUEST", 'Cannot read "timestamp"')
    ),
  },
  {
    does: "sends no serverTime",
    breaks: ["3.2"],
    answer: onAnswer(({ answer }) => delete answer.serverTime),
  },
  {
    does: "sends a key that was not requested",
    breaks: ["3.2"],
    answer: onAnswer(({ answer }) => answer.changed.other = { key: "other", version: 7 }),
  },
  {
    does: "sends the URLs of its peers",
    breaks: ["3.2"],
    answer: onAnswer(({ answer, body }) => {
      if (body.hint === undefined) answer.mesh.peers = ["http://10.0.0.7:3000"];
    }),
  },
  {
    does: "sends 1.x clients a list of peers",
    breaks: ["3.3"],
    answer: onAnswer(({ answer }) => answer.mesh.peers = []),
  },
  {
    does: "raises serverVersion to a client's version",
    breaks: ["3.4"],
    answer: answerWithClientVersions(),
  },
  {
    does: "answers gossip without authentication",
    breaks: ["3.5", "11.1"],
    answer: onSync(({ body }) => body.gossip === undefined ? undefined : Response.json({ gossip: {} })),
  },
  {
    does: "ignores the epoch",
    breaks: ["4.1"],
    answer: onSync(({ body, ask }) =>
      typeof body.epoch === "string" ? ask({ ...body, epoch: undefined }) : undefined
    ),
  },
  {
    does: "sends missing keys as deleted after a change of epoch",
    breaks: ["4.1"],
    answer: onAnswer(({ answer, body }) => {
      if (!/nobody/.test(String(body.epoch))) return;
      for (const key of Object.keys(body.known)) answer.changed[key] ??= gone(key);
    }),
  },
  {
    does: "sends a change for a key without a node at version 0",
    breaks: ["3.4", "4.2", "4.3", "7.5"],
    answer: onAnswer(({ answer, body }) => {
      if (body.wait !== undefined || body.epoch !== undefined) return;
      const [key, ...others] = Object.keys(body.known);
      if (key === undefined || others.length > 0 || body.known[key] !== 0) return;
      answer.changed[key] ??= { key, version: 0 };
    }),
  },
  {
    does: "does not send deletions",
    breaks: ["2.3", "4.3", "5.2"],
    answer: onAnswer(({ answer }) => {
      for (const [key, meta] of Object.entries(answer.changed)) if (meta.deleted) delete answer.changed[key];
    }),
  },
  {
    does: "sends new nodes only, and no newer versions",
    breaks: ["4.4", "5.2"],
    answer: onAnswer(({ answer, body }) => {
      for (const [key, { version }] of Object.entries(answer.changed)) {
        if (version > (body.known[key] ?? 0) && body.known[key] !== 0) delete answer.changed[key];
      }
    }),
  },
  {
    does: "sends versions that the client already has",
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
    does: "sends nothing when the client's version is ahead",
    breaks: ["4.1", "4.6"],
    answer: onAnswer(({ answer, body }) => {
      for (const [key, meta] of Object.entries(answer.changed)) {
        if (!meta.deleted && meta.version < (body.known[key] ?? 0)) delete answer.changed[key];
      }
    }),
  },
  {
    does: "sends no pause when it refuses to wait",
    breaks: ["5.8"],
    answer: onAnswer(({ answer }) => delete answer.pause),
  },
  {
    does: "sends a change only at the deadline",
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
    does: "misses a change between reading and waiting",
    breaks: ["5.1", "5.2"],
    answer: onSync(async ({ body, ask }) => {
      if (!Number(body.wait) || Object.keys(body.known).length === 0) return undefined;
      const response = await ask({ ...body, wait: 0 });
      await new Promise((resolve) => setTimeout(resolve, Number(body.wait)));
      return response;
    }),
  },
  {
    does: "waits although no key is requested",
    breaks: ["5.6"],
    answer: onSync(async ({ body }) => {
      if (Object.keys(body.known).length > 0) return undefined;
      await new Promise((resolve) => setTimeout(resolve, Number(body.wait) > 0 ? Number(body.wait) : 0));
      return undefined;
    }),
  },
  {
    does: "streams changes under another event name",
    breaks: ["6.1", "6.2", "6.3", "6.4"],
    answer: onStream((text) => text.replaceAll("event: update", "event: change")),
  },
  {
    does: "streams no id while no key has a node",
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
    does: "ignores Last-Event-ID and resumes from now",
    breaks: ["6.4"],
    answer: async (request, ask) => {
      if (!request.headers.has("last-event-id")) return await ask(request);
      return await onStream((text) => text.replaceAll(/event: .*\ndata: .*\n/g, ""))(request, ask);
    },
  },
  {
    does: "allows proxies to buffer the stream",
    breaks: ["6.7"],
    answer: async (request, ask) => withHeaders(await ask(request), { "x-accel-buffering": null }),
  },
  {
    does: "allows writes without a token",
    breaks: ["7.1"],
    answer: async (request, ask) => {
      const response = await ask(request);
      if (response.status !== 401) return response;
      await response.body?.cancel();
      return Response.json({ versions: {}, epoch: "" }, { headers: { "cache-control": "no-store" } });
    },
  },
  {
    does: "sends 401 without WWW-Authenticate",
    breaks: ["7.1"],
    answer: async (request, ask) => withHeaders(await ask(request), { "www-authenticate": null }),
  },
  {
    does: "applies only the first of several updates",
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
    does: "answers a repeated delete with 404",
    breaks: ["7.5"],
    answer: refuseSecondDelete(),
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
    does: "sends its server id in the health check",
    breaks: ["8"],
    answer: async (request, ask) =>
      request.url.endsWith("/health") && request.method === "GET"
        ? Response.json({ status: "ok", serverId: "server-1" })
        : await ask(request),
  },
  {
    does: "allows credentials for every origin",
    breaks: ["9"],
    handler: { cors: { origins: "*" } },
    answer: async (request, ask) =>
      withHeaders(await ask(request), { "access-control-allow-credentials": "true" }),
  },
  {
    does: "allows the same origin whatever the request's origin is",
    breaks: ["9"],
    answer: async (request, ask) =>
      withHeaders(await ask(request), { "access-control-allow-origin": "https://app.example" }),
  },
  {
    does: "sends no Vary: Origin",
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
    does: "says what is wrong with a gossip token",
    breaks: ["11.1"],
    options: { meshSecret: "a secret of the mesh" },
    answer: onSync(({ body }) => {
      const { token } = body.gossip as { token?: string } ?? {};
      return token === undefined ? undefined : refuse(401, "UNAUTHORIZED", "This token is not known");
    }),
  },
  {
    does: "describes a route that it does not have",
    breaks: ["12.1"],
    answer: async (request, ask) => {
      const response = await ask(request);
      if (!request.url.endsWith("/openapi.json") || request.method !== "GET") return response;
      const document = await response.json();
      return Response.json({ ...document, paths: { ...document.paths, "/versions": {} } });
    },
  },
  {
    does: "reads a compressed body as plain text",
    breaks: ["2.8"],
    answer: async (request, ask) => {
      if (!request.headers.has("content-encoding")) return await ask(request);
      const copy = withBody(request, await request.text());
      copy.headers.delete("content-encoding");
      return await ask(copy);
    },
  },
  {
    does: "sends another word than ready or not ready",
    breaks: ["14.1"],
    answer: async (request, ask) =>
      request.url.endsWith("/ready") && request.method === "GET"
        ? Response.json({ status: "up" })
        : await ask(request),
  },
  {
    does: "labels a metric with a key",
    breaks: ["15.2"],
    answer: countByKey(),
  },
  {
    does: "exposes metrics without its prefix",
    breaks: ["15.1"],
    answer: async (request, ask) => {
      const response = await ask(request);
      if (!request.url.endsWith("/metrics") || request.method !== "GET") return response;
      return new Response(`${await response.text()}http_requests_total 7\n`, { headers: response.headers });
    },
  },
  {
    does: "rate-limits the health check",
    breaks: ["16.3"],
    answer: async (request, ask) =>
      request.url.endsWith("/health")
        ? withHeaders(await ask(request), { "ratelimit": '"default";r=1;t=1' })
        : await ask(request),
  },
  {
    does: "sends a RateLimit header of another form",
    breaks: ["16.4"],
    answer: async (request, ask) =>
      request.url.endsWith("/sync")
        ? withHeaders(await ask(request), { "ratelimit": "limit=100, remaining=50, reset=30" })
        : await ask(request),
  },
];

/**
 * How many servers are checked at the same time. More would save little, and hold up each other's requests on a busy
 * machine: some rules have a time limit of a second.
 */
const GROUP_SIZE = 5;

/** The check waits for its time limits at servers that break rules of waiting and streaming: these come together. */
const makesWait = ({ breaks }: BrokenServer) => breaks.some((rule) => /^[56]\./.test(rule));
const ordered = [...broken.filter(makesWait), ...broken.filter((server) => !makesWait(server))];

for (let i = 0; i < ordered.length; i += GROUP_SIZE) {
  const group = ordered.slice(i, i + GROUP_SIZE);
  const found = new Map<BrokenServer, Finding[]>();
  test(`servers ${i + 1} to ${i + group.length} are checked at the same time, each in full`, async () => {
    await Promise.all(group.map(async (server) => found.set(server, await findBroken(server))));
  });
  for (const server of group) {
    test(`the check finds a server that ${server.does}, by rule ${server.breaks.join(", ")}`, async () => {
      // A filter can choose this test without the one before it.
      const findings = found.get(server) ?? await findBroken(server);
      const numbers = [...new Set(findings.map(({ number }) => number))];
      assert.deepEqual(numbers, server.breaks, JSON.stringify(findings, null, 2));
    });
  }
}

/**
 * Checks the rules at a server and returns the broken ones. Two rules take a second each at a good server: they are
 * checked only if the server breaks a rule with the same number.
 */
async function findBroken({ answer, breaks, options, handler }: BrokenServer): Promise<Finding[]> {
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

/** Parses the body and answers as `look` says. If `look` returns `false`, a correct server answers. */
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
    // The body stays `undefined`.
  }
  return look(body) || await ask(withBody(request, text));
}

/** Answers well-formed syncs as `look` says. If `look` returns `undefined`, a correct server answers. */
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
      // The correct server refuses it.
    }
    const known: unknown = body?.known;
    const isSync = typeof known === "object" && known !== null && !Array.isArray(known);
    const other = isSync && body !== undefined && request.headers.get("content-type")?.includes("json")
      ? await look({ body, ask: async (changed) => await ask(withBody(request, JSON.stringify(changed))) })
      : undefined;
    return other ?? await ask(withBody(request, text));
  };
}

/** Changes the answer to a sync. */
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

/** Changes the updates of a write request. */
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

/** Changes the text of an event stream. */
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

/** Raises `serverVersion` to the highest version that a client has sent. */
function answerWithClientVersions(): BrokenServer["answer"] {
  let highest = 0;
  return onAnswer(({ answer, body }) => {
    highest = Math.max(highest, ...Object.values(body.known));
    answer.mesh.serverVersion = Math.max(highest, answer.mesh.serverVersion);
  });
}

/** Refuses to delete a key that it has deleted before. */
function refuseSecondDelete(): BrokenServer["answer"] {
  const deleted = new Set<string>();
  return async (request, ask) => {
    const key = request.method === "DELETE" ? decodeURIComponent(new URL(request.url).pathname) : "";
    if (request.headers.get("authorization") === `Bearer ${TOKEN}` && deleted.has(key)) {
      return refuse(404, "NOT_FOUND", "No such node");
    }
    const response = await ask(request);
    if (response.status === 204 && key !== "") deleted.add(key);
    return response;
  };
}

/** Adds a metric that has the last requested key as a label. */
function countByKey(): BrokenServer["answer"] {
  let lastKey = "";
  return async (request, ask) => {
    if (request.method === "POST") {
      const text = await request.text();
      lastKey = /reality-check:[^"]*/.exec(text)?.[0] ?? lastKey;
      return await ask(withBody(request, text));
    }
    const response = await ask(request);
    if (!request.url.endsWith("/metrics") || request.method !== "GET") return response;
    const name = "reality_syncs_by_key_total";
    const lines = `# TYPE ${name} counter\n${name}{key="${lastKey}"} 1\n`;
    return new Response(await response.text() + lines, { headers: response.headers });
  };
}

/** Returns the same request with another body. */
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
