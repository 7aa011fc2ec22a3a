/**
 * The routes as an OpenAPI 3.1 document. `src/openapi.json` is the document for the default base path. This module is
 * loaded only when the document is requested.
 *
 * @module
 */
import { VERSION } from "../version.ts";
import {
  EPOCH,
  type HeaderName,
  headers,
  KEY,
  LIMITED,
  NODE,
  object,
  type Part,
  pick,
  ref,
  type RefusalPart,
  refusals,
  type SchemaName,
  schemas,
} from "./openapi_parts.ts";

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
      summary: "Live data over plain HTTP: clients request changes, or wait for them.",
      description: "The protocol is described in `src/PROTOCOL.md`. Other paths are answered with " +
        "404, other methods with 405. Limits are options of the server; the ones named here are the defaults. " +
        "If pages of other origins may read, answers have `Access-Control-Allow-Origin` and `Vary`, and " +
        "`OPTIONS` is answered with 204.",
      license: { name: "MIT", identifier: "MIT" },
    },
    servers: [{ url: basePath === "" ? "/" : basePath }],
    tags: [
      { name: "read", description: "For clients." },
      {
        name: "write",
        description: "For back ends. Disabled unless the server has `writeTokens` or `authorizeWrite`.",
      },
      { name: "operate", description: "For operators." },
    ],
    paths: {
      "/sync": { ...readable("/sync", "getSync", cachedSync)["/sync"] as Part, post: sync },
      "/events": { get: events },
      "/update": { post: update },
      "/invalidate": { post: invalidate },
      "/nodes/{key}": { delete: deleteNode },
      ...readable("/health", "getHealth", {
        tags: ["operate"],
        summary: "Whether the process answers. Makes no storage call.",
        responses: { 200: answer("It does.", "Health", { status: "ok" }, ["Cache-Control"]) },
      }),
      ...readable("/ready", "getReady", {
        tags: ["operate"],
        summary:
          "Whether the server is ready for requests. Checks the storage, and starts to contact the peers.",
        responses: {
          200: answer("It should.", "Ready", { status: "ready" }, ["Cache-Control"]),
          503: answer("It is not ready now.", "NotReady", { status: "storage" }, ["Cache-Control"]),
        },
      }),
      ...readable("/metrics", "getMetrics", {
        tags: ["operate"],
        summary:
          "The metrics of the server in Prometheus' text format; disabled by the option `metrics: false`.",
        responses: {
          200: {
            description: "Contains no keys, URLs or server names.",
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
          description: "The credentials that the application's hook requires.",
        },
      },
    },
  };
}

const CACHED_HEADERS: Part = {
  "Cache-Control": {
    description: "Shared caches keep it for a second; for two if it only moves a client to newer versions.",
    schema: { type: "string", pattern: "^public, max-age=0, s-maxage=[12]$" },
  },
  ...pick(["ETag", "Reality-Time", "Retry-After"]),
};

const sync: Part = {
  tags: ["read"],
  operationId: "sync",
  summary: "Returns which of the client's versions are outdated; with `wait`, as soon as one of them is.",
  requestBody: jsonBody("SyncRequest", {
    ask: { known: { [KEY]: 5, "user:123": 2 }, epoch: EPOCH },
    wait: { known: { [KEY]: 6 }, epoch: EPOCH, wait: 20000 },
    legacy: { known: {}, clientId: "c1", mode: "native", hint: "focus", timestamp: 1699876543210 },
  }),
  responses: {
    200: {
      description: "The changes; for another server, the nodes that it lacks.",
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

const cachedSync: Part = {
  tags: ["read"],
  summary:
    "The same for keys that everybody may read, answered by HTTP caches. Disabled unless the server has `public`.",
  parameters: [
    {
      name: "e",
      in: "query",
      description: "The epoch of these versions.",
      schema: ref("schemas", "Epoch"),
      example: EPOCH,
    },
    {
      name: "k",
      in: "query",
      required: true,
      description: "A key, a colon and the version that the client holds, one parameter for each key.",
      schema: { type: "array", minItems: 1, items: { type: "string", pattern: ":(0|[1-9]\\d{0,15})$" } },
      example: [`${KEY}:5`],
    },
    {
      name: "w",
      in: "query",
      description: "Whole seconds to wait for a change; more than `maxWait` is reduced to it.",
      schema: { type: "integer", minimum: 1, maximum: 3600 },
      example: 20,
    },
    {
      name: "If-None-Match",
      in: "header",
      description: "The `ETag` of an answer that a cache holds.",
      schema: { type: "string" },
    },
  ],
  responses: {
    200: {
      description: "The changes. It depends on the query alone.",
      headers: CACHED_HEADERS,
      content: {
        "application/json": {
          schema: ref("schemas", "SyncResponse"),
          example: {
            changed: { [KEY]: NODE },
            mesh: { peers: [], serverVersion: 6 },
            epoch: EPOCH,
            serverTime: 1699876543300,
            asked: `e=${EPOCH}&k=${KEY}:5&w=20`,
          },
        },
      },
    },
    304: { description: "The cache holds this answer.", headers: CACHED_HEADERS },
    ...refuse(400, 403, 405, 413, 429, 500, 503),
  },
};

const events: Part = {
  tags: ["read"],
  operationId: "events",
  summary: "Streams changes, for clients that use `EventSource`.",
  parameters: [
    {
      name: "keys",
      in: "query",
      required: true,
      description: "The keys to follow, one parameter for each.",
      schema: { type: "array", minItems: 1, items: ref("schemas", "Key") },
      example: [KEY, "user:123"],
    },
    {
      name: "Last-Event-ID",
      in: "header",
      description: "The last event id of the previous stream.",
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
        "A stream that lasts until either side ends it. If the server is overloaded or closing, or the client has " +
        "used up its rate limit, it ends at once with a retry delay: an `EventSource` does not reconnect after a refusal.",
      headers: {
        "Cache-Control": {
          description: "No cache stores it and no proxy buffers it.",
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
  summary: "Publishes new hashes of nodes.",
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
  summary: "Publishes that nodes changed, without hashes.",
  security: [{ writeToken: [] }, { authorizeWrite: [] }],
  requestBody: jsonBody("InvalidateRequest", { several: { keys: [KEY, "user:123"] } }),
  responses: written({ versions: { [KEY]: 6, "user:123": 7 }, epoch: EPOCH }),
};

const deleteNode: Part = {
  tags: ["write"],
  operationId: "deleteNode",
  summary: "Deletes a node. Clients that hold a version of it receive the deletion.",
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
    204: { description: "It is deleted, or never existed.", headers: pick(["Cache-Control", ...LIMITED]) },
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

function jsonBody(schema: SchemaName, values: Part): Part {
  const content = { "application/json": { schema: ref("schemas", schema), examples: examples(values) } };
  return { required: true, content };
}

function answer(
  description: string,
  schema: SchemaName,
  example: unknown,
  headers: readonly HeaderName[] = [],
): Part {
  const content = { "application/json": { schema: ref("schemas", schema), example } };
  return { description, headers: pick(headers), content };
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

function examples(values: Part): Part {
  return Object.fromEntries(Object.entries(values).map(([name, value]) => [name, { value }]));
}
