/**
 * The routes as an OpenAPI 3.1 document. `src/openapi.json` is the document for the default base path. This module is
 * loaded only when the document is requested.
 *
 * @module
 */
import type { ErrorCode } from "../errors.ts";
import { VERSION } from "../version.ts";

/** A part of the document. */
type Part = Readonly<Record<string, unknown>>;

/** The description of a refusal, and the headers that other refusals do not have. */
interface RefusalPart {
  readonly description: string;
  readonly messages: Readonly<Partial<Record<ErrorCode, string>>>;
  readonly headers?: readonly HeaderName[];
}

type HeaderName = keyof typeof headers;

const KEY = "chat:room:general";
const NODE = { key: KEY, version: 6, hash: "abc123", updatedAt: 1699876543210 };
const EPOCH = "0lqx1k2p3-x1y2z3w4";

const headers = {
  "Cache-Control": { description: "No cache keeps the answer.", schema: { const: "no-store" } },
  "Retry-After": {
    description: "Seconds to stay away, spread by chance so that clients do not come back together.",
    schema: { type: "integer", minimum: 1 },
  },
  "Allow": { description: "The methods that the path has.", schema: { type: "string" } },
  "RateLimit-Policy": {
    description: "Where requests are limited by `rateLimit`: how many in how many seconds.",
    schema: { type: "string" },
    example: '"default";q=600;w=60',
  },
  "RateLimit": {
    description: "How many of them are left, and in how many seconds there are more.",
    schema: { type: "string" },
    example: '"default";r=599;t=1',
  },
  "Accept-Encoding": {
    description: "Where the body was compressed: it must not be.",
    schema: { const: "identity" },
  },
  "WWW-Authenticate": { description: "How to say who writes.", schema: { const: "Bearer" } },
  "Connection": { description: "With HTTP/1.1: the connection ends here.", schema: { const: "close" } },
};

/** The headers of every route with a rate limit. */
const LIMITED = ["RateLimit-Policy", "RateLimit"] as const;

const schemas = {
  Key: {
    type: "string",
    minLength: 1,
    description: "A node's name: 1 to 512 bytes of UTF-8 (`maxKeyBytes`), no control characters, no lone " +
      "surrogates. Compared byte for byte.",
    examples: [KEY],
  },
  Version: {
    type: "integer",
    minimum: 0,
    maximum: Number.MAX_SAFE_INTEGER,
    description: "Larger is newer; 0 stands for none.",
  },
  Hash: {
    type: "string",
    description: "The application's fingerprint of the node's state: up to 256 bytes of UTF-8 " +
      "(`maxHashBytes`) without control characters. Compared, never interpreted.",
  },
  Epoch: {
    type: "string",
    maxLength: 128,
    description: "Names one life of the data set: in another, versions mean nothing. Empty for none.",
    examples: [EPOCH],
  },
  Node: object(["key", "version", "hash", "updatedAt"], {
    key: ref("schemas", "Key"),
    version: ref("schemas", "Version"),
    hash: ref("schemas", "Hash"),
    updatedAt: { type: "integer", minimum: 0, description: "Milliseconds since 1970; it orders nothing." },
    deleted: {
      const: true,
      description: "The node is gone; then version and updatedAt are 0, hash is empty.",
    },
  }, "All that is kept and told about a node, never its data."),
  Versions: {
    type: "object",
    additionalProperties: ref("schemas", "Version"),
    description: "Key → version.",
  },
  SyncRequest: object(["known"], {
    known: { ...ref("schemas", "Versions"), description: "What the client holds; 0 for none." },
    epoch: { ...ref("schemas", "Epoch"), description: "The epoch that those versions came from." },
    wait: {
      type: "number",
      minimum: 0,
      description: "Milliseconds to wait for a change; more than `maxWait` (25000) is shortened.",
    },
    clientId: { type: "string", maxLength: 256, description: "Sent by clients of the 1.x line." },
    mode: { type: "string", maxLength: 256, description: "Sent by clients of the 1.x line." },
    hint: { type: "string", maxLength: 256, description: "Sent by clients of the 1.x line." },
    timestamp: { type: "number", description: "Sent by clients of the 1.x line; not used." },
    gossip: { type: "object", description: "For servers only, which prove who they are." },
  }),
  SyncResponse: object(["changed", "mesh", "epoch", "serverTime"], {
    changed: {
      type: "object",
      additionalProperties: ref("schemas", "Node"),
      description: "What the client should fetch again; empty for nothing.",
    },
    mesh: object(["peers", "serverVersion"], {
      peers: {
        description: "Ids of other servers, never URLs: a list, or for clients of the 1.x line an object.",
        oneOf: [
          { type: "array", items: { type: "string" } },
          {
            type: "object",
            additionalProperties: { enum: ["healthy", "degraded", "unhealthy", "unknown"] },
          },
        ],
      },
      serverVersion: { ...ref("schemas", "Version"), description: "The highest version in the storage." },
    }),
    epoch: ref("schemas", "Epoch"),
    serverTime: { type: "integer", description: "The server's clock, in milliseconds since 1970." },
    pause: {
      type: "integer",
      minimum: 1,
      description:
        "Milliseconds to stay away before the next sync, where one that wanted to wait is answered sooner " +
        "and there is nothing to tell.",
    },
  }),
  ExchangeResponse: object(["gossip"], { gossip: { type: "object" } }, "The answer to another server."),
  Update: object(["key", "hash"], { key: ref("schemas", "Key"), hash: ref("schemas", "Hash") }),
  UpdateRequest: {
    anyOf: [
      ref("schemas", "Update"),
      object(["updates"], { updates: { type: "array", items: ref("schemas", "Update") } }),
    ],
  },
  InvalidateRequest: object(["keys"], { keys: { type: "array", items: ref("schemas", "Key") } }),
  WriteResponse: object(["versions", "epoch"], {
    versions: ref("schemas", "Versions"),
    epoch: ref("schemas", "Epoch"),
  }, "Sent once the storage has the changes."),
  EventStream: {
    type: "string",
    description: "Server-sent events. `update`: `data` is a Node. `resync`: `data` is a Resync, and an " +
      "`update` for each key follows. Ids are opaque; heartbeats are comments and have none. `retry` says how " +
      "long to stay away when the stream ends.",
  },
  Resync: object(
    ["epoch"],
    { epoch: ref("schemas", "Epoch") },
    "The id of `Last-Event-ID` was not honoured.",
  ),
  Health: object(["status"], { status: { const: "ok" } }),
  Ready: object(["status"], { status: { const: "ready" } }),
  NotReady: object(["status"], {
    status: {
      enum: ["starting", "storage", "closing"],
      description: "The peers have not been asked yet for what they have, the storage is not well, or the " +
        "server is being closed.",
    },
  }),
};

const refusals: Readonly<Record<number, RefusalPart>> = {
  400: {
    description: "Not JSON, a field of the wrong shape, a key or a hash that is none.",
    messages: {
      ERR_REALITY_BAD_REQUEST: 'Cannot read "known": expected an object, got an array',
    },
  },
  401: {
    description:
      "A write without a right bearer token, a reading by nobody known, or a `gossip` that does not prove who sent it.",
    messages: { ERR_REALITY_UNAUTHORIZED: "Cannot write: no bearer token" },
    headers: ["WWW-Authenticate"],
  },
  403: {
    description: "Nobody may do this here, or not this client.",
    messages: { ERR_REALITY_FORBIDDEN: "Cannot write: authorizeWrite did not allow it" },
  },
  404: {
    description: "Nothing is at this path.",
    messages: {
      ERR_REALITY_NOT_FOUND:
        'Nothing is at this path: expected one under basePath "/reality", such as /reality/sync',
    },
  },
  405: {
    description: "The path has other methods.",
    messages: { ERR_REALITY_METHOD: "Cannot GET here: allowed is POST" },
    headers: ["Allow"],
  },
  408: {
    description: "The body took longer than `bodyTimeout` to arrive.",
    messages: {
      ERR_REALITY_TIMEOUT: "Cannot read the body: it was not there after bodyTimeout (10000 ms)",
    },
    headers: ["Connection"],
  },
  413: {
    description: "A limit is exceeded; the message has its name.",
    messages: {
      ERR_REALITY_BODY_TOO_LARGE: "Cannot read the body: larger than maxBodyBytes (1048576)",
      ERR_REALITY_TOO_MANY_KEYS: "Cannot take 10001 keys in one request: more than maxKeys (10000)",
    },
    headers: ["Connection"],
  },
  415: {
    description: "The body is not declared as JSON, or is compressed.",
    messages: { ERR_REALITY_MEDIA_TYPE: 'Cannot read the body: expected application/json, got "text/plain"' },
    headers: ["Accept-Encoding"],
  },
  429: {
    description: "This client asks more often than `rateLimit` allows.",
    messages: { ERR_REALITY_RATE_LIMITED: "Cannot take the request: rateLimit is used up, try again in 7 s" },
    headers: ["Retry-After"],
  },
  500: {
    description: "A fault of the server or of a hook.",
    messages: { ERR_REALITY_INTERNAL: "The server failed at this request" },
  },
  503: {
    description:
      "The storage fails, a hook takes too long, the server has too much to do, or it is stopping.",
    messages: {
      ERR_REALITY_STORAGE: "The storage does not answer",
      ERR_REALITY_HOOK: "The server took too long to check the request",
      ERR_REALITY_OVERLOADED: "Cannot take the request: maxRequests (10000) are being answered",
      ERR_REALITY_CLOSED: "The server is closed",
    },
    headers: ["Retry-After", "Connection"],
  },
};

/**
 * Creates the document of one base path.
 *
 * @param basePath The path that all routes start with; `""` for the root.
 */
export function createOpenAPI(basePath: string): Part {
  return {
    openapi: "3.1.0",
    info: {
      title: "Reality",
      version: VERSION,
      summary: "Live data over plain HTTP: clients ask what changed, or wait until something does.",
      description:
        "The rules behind this are in `src/PROTOCOL.md`. A path that is not here is answered with " +
        "404, another method with 405. Limits are options of the server; the ones named here are the defaults. " +
        "Where pages of other origins may read, answers have `Access-Control-Allow-Origin` and `Vary`, and " +
        "`OPTIONS` is answered with 204.",
      license: { name: "MIT", identifier: "MIT" },
    },
    servers: [{ url: basePath === "" ? "/" : basePath }],
    tags: [
      { name: "read", description: "For clients." },
      { name: "write", description: "For back ends. Closed unless the server was told who may write." },
      { name: "operate", description: "For those who run the server." },
    ],
    paths: {
      "/sync": { post: sync },
      "/events": { get: events },
      "/update": { post: update },
      "/invalidate": { post: invalidate },
      "/nodes/{key}": { delete: deleteNode },
      ...readable("/health", "getHealth", {
        tags: ["operate"],
        summary: "Whether the process answers. Asks nothing of the storage.",
        responses: { 200: answer("It does.", "Health", { status: "ok" }) },
      }),
      ...readable("/ready", "getReady", {
        tags: ["operate"],
        summary: "Whether the server should be sent requests. Asks the storage, and begins to ask the peers.",
        responses: {
          200: answer("It should.", "Ready", { status: "ready" }),
          503: answer("It should not, at the moment.", "NotReady", { status: "storage" }),
        },
      }),
      ...readable("/metrics", "getMetrics", {
        tags: ["operate"],
        summary:
          "The server's numbers in Prometheus' text format; not there with the option `metrics: false`.",
        responses: {
          200: {
            description: "No key, URL or name of a server is in it.",
            headers: pick(["Cache-Control"]),
            content: {
              "text/plain; version=0.0.4; charset=utf-8": {
                schema: { type: "string" },
                example: "# HELP reality_syncs_total Sync requests of clients.\n" +
                  "# TYPE reality_syncs_total counter\nreality_syncs_total 12\n",
              },
            },
          },
          ...refuse(403, 500),
        },
      }),
      ...readable("/openapi.json", "getOpenAPI", {
        tags: ["operate"],
        summary: "This document.",
        responses: {
          200: {
            description: "OpenAPI 3.1.",
            headers: pick(["Cache-Control"]),
            content: { "application/json": { schema: { type: "object" } } },
          },
        },
      }),
    },
    components: {
      schemas,
      headers,
      responses: Object.fromEntries(
        Object.entries(refusals).map(([status, refusal]) => [`Refusal${status}`, describeRefusal(refusal)]),
      ),
      securitySchemes: {
        writeToken: { type: "http", scheme: "bearer", description: "One of the server's `writeTokens`." },
        authorizeWrite: {
          type: "apiKey",
          in: "header",
          name: "Authorization",
          description: "Whatever the application's own hook asks for.",
        },
      },
    },
  };
}

const sync: Part = {
  tags: ["read"],
  operationId: "sync",
  summary: "Says which of the client's versions are old; with `wait`, as soon as one of them is.",
  requestBody: jsonBody("SyncRequest", {
    ask: { known: { [KEY]: 5, "user:123": 2 }, epoch: EPOCH },
    wait: { known: { [KEY]: 6 }, epoch: EPOCH, wait: 20000 },
    legacy: { known: {}, clientId: "c1", mode: "native", hint: "focus", timestamp: 1699876543210 },
  }),
  responses: {
    200: {
      description: "What changed; to another server, what it lacks.",
      headers: pick(["Cache-Control", "Retry-After", ...LIMITED]),
      content: {
        "application/json": {
          schema: { oneOf: [ref("schemas", "SyncResponse"), ref("schemas", "ExchangeResponse")] },
          examples: examples({
            changed: {
              changed: { [KEY]: NODE },
              mesh: { peers: ["server-2", "server-3"], serverVersion: 6 },
              epoch: EPOCH,
              serverTime: 1699876543300,
            },
            gone: {
              changed: { [KEY]: { key: KEY, version: 0, hash: "", updatedAt: 0, deleted: true } },
              mesh: { peers: [], serverVersion: 6 },
              epoch: EPOCH,
              serverTime: 1699876543300,
            },
            "sooner than asked": {
              changed: {},
              mesh: { peers: [], serverVersion: 6 },
              epoch: EPOCH,
              serverTime: 1699876543300,
              pause: 1750,
            },
            legacy: {
              changed: {},
              mesh: { peers: { "server-2": "healthy" }, serverVersion: 6 },
              epoch: EPOCH,
              serverTime: 1699876543300,
            },
          }),
        },
      },
    },
    ...refuse(400, 401, 403, 408, 413, 415, 429, 500, 503),
  },
};

const events: Part = {
  tags: ["read"],
  operationId: "events",
  summary: "Streams what changes, for clients that use `EventSource`.",
  parameters: [
    {
      name: "keys",
      in: "query",
      required: true,
      description: "The keys to follow, each in a parameter of its own.",
      schema: { type: "array", minItems: 1, items: ref("schemas", "Key") },
      example: [KEY, "user:123"],
    },
    {
      name: "Last-Event-ID",
      in: "header",
      description: "Where a stream that broke had come to.",
      schema: { type: "string" },
    },
    {
      name: "lastEventId",
      in: "query",
      description: "The same, for clients that cannot send the header.",
      schema: { type: "string" },
    },
  ],
  responses: {
    200: {
      description:
        "A stream that lasts until either side ends it. One that finds too much to do, a client that has asked too " +
        "often, or a server that stops, ends at once and says when to come back: an `EventSource` never does from a refusal.",
      headers: {
        "Cache-Control": {
          description: "No cache keeps it, no proxy holds it back.",
          schema: { const: "no-store, no-transform" },
        },
        "X-Accel-Buffering": { description: "The same, for nginx.", schema: { const: "no" } },
        ...pick(LIMITED),
      },
      content: {
        "text/event-stream": {
          schema: ref("schemas", "EventStream"),
          example: `retry: 500\n\nevent: update\ndata: ${
            JSON.stringify(NODE)
          }\nid: ${EPOCH}:6\n\n: heartbeat\n\n`,
        },
      },
    },
    ...refuse(400, 401, 403, 413),
  },
};

const update: Part = {
  tags: ["write"],
  operationId: "update",
  summary: "Says that nodes are now in the states that hashes stand for.",
  security: [{ writeToken: [] }, { authorizeWrite: [] }],
  requestBody: jsonBody("UpdateRequest", {
    one: { key: KEY, hash: "abc123" },
    several: { updates: [{ key: KEY, hash: "abc123" }, { key: "user:123", hash: "rev-2" }] },
  }),
  responses: written({ versions: { [KEY]: 6 }, epoch: EPOCH }),
};

const invalidate: Part = {
  tags: ["write"],
  operationId: "invalidate",
  summary: "Says that nodes changed, where there is no hash to give.",
  security: [{ writeToken: [] }, { authorizeWrite: [] }],
  requestBody: jsonBody("InvalidateRequest", { several: { keys: [KEY, "user:123"] } }),
  responses: written({ versions: { [KEY]: 6, "user:123": 7 }, epoch: EPOCH }),
};

const deleteNode: Part = {
  tags: ["write"],
  operationId: "deleteNode",
  summary: "Takes a node away. Clients that hold a version of it are told that it is gone.",
  security: [{ writeToken: [] }, { authorizeWrite: [] }],
  parameters: [{
    name: "key",
    in: "path",
    required: true,
    description: "The key, percent-encoded.",
    schema: ref("schemas", "Key"),
    example: KEY,
  }],
  responses: {
    204: { description: "It is gone, or was never there.", headers: pick(["Cache-Control", ...LIMITED]) },
    ...refuse(400, 401, 403, 429, 500, 503),
  },
};

/** A path with `GET` and `HEAD`. */
function readable(path: string, operationId: string, operation: Part): Part {
  const { responses, ...rest } = operation;
  const heads = Object.entries(responses as Record<string, Part>).map(([status, response]) => {
    const { description, headers } = response;
    return [status, headers === undefined ? response : { description, headers }];
  });
  return {
    [path]: {
      get: { ...operation, operationId },
      head: {
        ...rest,
        operationId: operationId.replace("get", "head"),
        summary: "The same without a body.",
        responses: Object.fromEntries(heads),
      },
    },
  };
}

function written(example: unknown): Part {
  return {
    200: answer("Done; these are the new versions.", "WriteResponse", example, LIMITED),
    ...refuse(400, 401, 403, 408, 413, 415, 429, 500, 503),
  };
}

function jsonBody(schema: keyof typeof schemas, values: Part): Part {
  const content = { "application/json": { schema: ref("schemas", schema), examples: examples(values) } };
  return { required: true, content };
}

function answer(
  description: string,
  schema: keyof typeof schemas,
  example: unknown,
  headers: readonly HeaderName[] = [],
): Part {
  const content = { "application/json": { schema: ref("schemas", schema), example } };
  return { description, headers: pick(["Cache-Control", ...headers]), content };
}

function refuse(...statuses: number[]): Part {
  return Object.fromEntries(statuses.map((status) => [status, ref("responses", `Refusal${status}`)]));
}

function describeRefusal({ description, messages, headers = [] }: RefusalPart): Part {
  const values = Object.fromEntries(
    Object.entries(messages).map(([code, message]) => [code, { error: { code, message } }]),
  );
  const schema = object(["error"], {
    error: object(["code", "message"], {
      code: { enum: Object.keys(messages), description: "For programs." },
      message: { type: "string", description: "For people." },
    }),
  });
  return {
    description,
    headers: pick(["Cache-Control", ...headers, ...LIMITED]),
    content: { "application/json": { schema, examples: examples(values) } },
  };
}

function object(required: readonly string[], properties: Part, description?: string): Part {
  return { type: "object", ...(description === undefined ? {} : { description }), required, properties };
}

function examples(values: Part): Part {
  return Object.fromEntries(Object.entries(values).map(([name, value]) => [name, { value }]));
}

function pick(names: readonly HeaderName[]): Part {
  return Object.fromEntries(names.map((name) => [name, ref("headers", name)]));
}

function ref(kind: "schemas" | "headers" | "responses", name: string): Part {
  return { $ref: `#/components/${kind}/${name}` };
}
