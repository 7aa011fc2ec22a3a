/**
 * The headers, schemas and refusals of the OpenAPI document.
 *
 * @module
 */
import type { ErrorCode } from "../errors.ts";
import { DEFAULT_LIMITS } from "../server_limits.ts";
import { MAX_HASH_BYTES, MAX_KEY_BYTES } from "../store/node.ts";

/** A part of the document. */
export type Part = Readonly<Record<string, unknown>>;

/** The description of a refusal, and the headers that other refusals do not have. */
export interface RefusalPart {
  readonly description: string;
  readonly messages: Readonly<Partial<Record<ErrorCode, string>>>;
  readonly headers?: readonly HeaderName[];
}

/** The name of a header. */
export type HeaderName =
  | "Cache-Control"
  | "Reality-Time"
  | "ETag"
  | "Retry-After"
  | "Allow"
  | "RateLimit-Policy"
  | "RateLimit"
  | "Accept-Encoding"
  | "WWW-Authenticate"
  | "Connection";

/** The name of a schema. */
export type SchemaName =
  | "Key"
  | "Version"
  | "Hash"
  | "Epoch"
  | "Node"
  | "Versions"
  | "SyncRequest"
  | "SyncResponse"
  | "ExchangeResponse"
  | "Update"
  | "UpdateRequest"
  | "InvalidateRequest"
  | "WriteResponse"
  | "EventStream"
  | "Resync"
  | "Health"
  | "Ready"
  | "NotReady";

/** A key of the examples. */
export const KEY = "chat:room:general";
/** A node of the examples. */
export const NODE: Part = { key: KEY, version: 6, hash: "abc123", updatedAt: 1699876543210 };
/** An epoch of the examples. */
export const EPOCH = "0lqx1k2p3-x1y2z3w4";

/** Headers of answers. */
export const headers: Readonly<Record<HeaderName, Part>> = {
  "Cache-Control": { description: "No cache stores the answer.", schema: { const: "no-store" } },
  "Reality-Time": {
    description: "The server's clock, in milliseconds since 1970. A 304 has the time of the revalidation.",
    schema: { type: "integer" },
  },
  "ETag": { description: "Names the question, the epoch and the changes.", schema: { type: "string" } },
  "Retry-After": {
    description:
      "Seconds before the next request, randomized so that clients do not return at the same moment.",
    schema: { type: "integer", minimum: 1 },
  },
  "Allow": { description: "The allowed methods.", schema: { type: "string" } },
  "RateLimit-Policy": {
    description: "If `rateLimit` is set: the number of requests and the window in seconds.",
    schema: { type: "string" },
    example: '"default";q=600;w=60',
  },
  "RateLimit": {
    description: "The remaining requests, and the seconds until there are more.",
    schema: { type: "string" },
    example: '"default";r=599;t=1',
  },
  "Accept-Encoding": {
    description: "Sent if the body was compressed, which is not accepted.",
    schema: { const: "identity" },
  },
  "WWW-Authenticate": { description: "The authentication scheme of writes.", schema: { const: "Bearer" } },
  "Connection": { description: "With HTTP/1.1: the connection is closed.", schema: { const: "close" } },
};

/** The headers of every route with a rate limit. */
export const LIMITED: readonly HeaderName[] = ["RateLimit-Policy", "RateLimit"];

/** The shapes of bodies. */
export const schemas: Readonly<Record<SchemaName, Part>> = {
  Key: {
    type: "string",
    minLength: 1,
    description:
      `A node's name: 1 to ${MAX_KEY_BYTES} bytes of UTF-8 (\`maxKeyBytes\`), no control characters, no lone ` +
      "surrogates. Compared byte for byte.",
    examples: [KEY],
  },
  Version: {
    type: "integer",
    minimum: 0,
    maximum: Number.MAX_SAFE_INTEGER,
    description: "Larger is newer; 0 means that there is no node.",
  },
  Hash: {
    type: "string",
    description: `The application's hash of the node's state: up to ${MAX_HASH_BYTES} bytes of UTF-8 ` +
      "(`maxHashBytes`) without control characters. Compared, never interpreted.",
  },
  Epoch: {
    type: "string",
    maxLength: 128,
    description:
      "Names one generation of the data. Versions of different epochs cannot be compared. Empty for none.",
    examples: [EPOCH],
  },
  Node: object(["key", "version", "hash", "updatedAt"], {
    key: ref("schemas", "Key"),
    version: ref("schemas", "Version"),
    hash: ref("schemas", "Hash"),
    updatedAt: {
      type: "integer",
      minimum: 0,
      description: "Milliseconds since 1970; not used for ordering.",
    },
    deleted: {
      const: true,
      description: "The node is deleted; version and updatedAt are 0, hash is empty.",
    },
  }, "All that is kept and told about a node, never its data."),
  Versions: {
    type: "object",
    additionalProperties: ref("schemas", "Version"),
    description: "Key → version.",
  },
  SyncRequest: object(["known"], {
    known: { ...ref("schemas", "Versions"), description: "The versions that the client holds; 0 for none." },
    epoch: { ...ref("schemas", "Epoch"), description: "The epoch of these versions." },
    wait: {
      type: "number",
      minimum: 0,
      description:
        `Milliseconds to wait for a change; values above \`maxWait\` (${DEFAULT_LIMITS.maxWait}) are reduced to it.`,
    },
    detail: { type: "boolean", description: "Whether to name the members of groups that changed." },
    clientId: { type: "string", maxLength: 256, description: "Sent by clients of the 1.x line." },
    mode: { type: "string", maxLength: 256, description: "Sent by clients of the 1.x line." },
    hint: { type: "string", maxLength: 256, description: "Sent by clients of the 1.x line." },
    timestamp: { type: "number", description: "Sent by clients of the 1.x line; not used." },
    gossip: { type: "object", description: "For servers only, which prove their identity." },
  }),
  SyncResponse: object(["changed", "mesh", "epoch", "serverTime"], {
    changed: {
      type: "object",
      additionalProperties: ref("schemas", "Node"),
      description: "The nodes that the client should fetch again; may be empty.",
    },
    mesh: object(["peers", "serverVersion"], {
      peers: {
        description: "Ids of other servers: a list, or an object for clients of the 1.x line.",
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
        "Milliseconds to wait before the next sync. Sent if a request with `wait` is answered early and without " +
        "changes.",
    },
    detail: {
      type: "object",
      additionalProperties: {
        oneOf: [{ const: "all" }, { type: "object", additionalProperties: ref("schemas", "Node") }],
      },
      description:
        "Changed group → the members that changed since the version of the request, or `all`. A changed group that is " +
        "not named counts as `all`.",
    },
    refused: {
      type: "object",
      additionalProperties: object(["code", "message"], {
        code: { const: "ERR_REALITY_NO_GROUP" },
        message: { type: "string" },
      }),
      description:
        "Key → why it can never change. Sent if a key contains `*`, has no node, and is no group of the server.",
    },
    asked: { type: "string", description: "The canonical query, in answers to `GET` and `HEAD`." },
  }),
  ExchangeResponse: object(["gossip"], { gossip: { type: "object" } }, "The answer to another server."),
  Update: object(["key", "hash"], {
    key: ref("schemas", "Key"),
    hash: ref("schemas", "Hash"),
    ifChanged: {
      type: "boolean",
      default: false,
      description: "Whether nothing is written, and no client is told, if the stored hash is the same.",
    },
  }),
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
    description:
      "Server-sent events. `update`: `data` is a Node. `refused`: `data` has `key`, `code` and `message`. " +
      "`resync`: `data` is a Resync, and an `update` for each key follows. Ids begin with the epoch; heartbeats are comments without an id. `retry` is the " +
      "delay before the client reconnects.",
  },
  Resync: object(
    ["epoch"],
    { epoch: ref("schemas", "Epoch") },
    "The id of `Last-Event-ID` is not valid here.",
  ),
  Health: object(["status"], { status: { const: "ok" } }),
  Ready: object(["status"], { status: { const: "ready" } }),
  NotReady: object(["status"], {
    status: {
      enum: ["starting", "storage", "closing"],
      description: "The peers have not been contacted yet, the storage fails, or the server is " +
        "closing.",
    },
  }),
};

/** Refusals, by status. */
export const refusals: Readonly<Record<number, RefusalPart>> = {
  400: {
    description: "Not JSON, a field of the wrong shape, an invalid key or hash.",
    messages: {
      ERR_REALITY_BAD_REQUEST: 'Cannot read "known": expected an object, got an array',
    },
  },
  401: {
    description:
      "A write without a valid bearer token, a read by an unknown client, or a `gossip` without a valid proof.",
    messages: { ERR_REALITY_UNAUTHORIZED: "Cannot write: no bearer token" },
    headers: ["WWW-Authenticate"],
  },
  403: {
    description: "This request is disabled, or not allowed for this client.",
    messages: { ERR_REALITY_FORBIDDEN: "Cannot write: authorizeWrite did not allow it" },
  },
  404: {
    description: "The path does not exist.",
    messages: {
      ERR_REALITY_NOT_FOUND:
        'Nothing is at this path: expected one under basePath "/reality", such as /reality/sync',
    },
  },
  405: {
    description: "The method is not allowed for this path.",
    messages: { ERR_REALITY_METHOD: "Cannot GET here: allowed is POST" },
    headers: ["Allow"],
  },
  408: {
    description: "The body took longer than `bodyTimeout` to arrive.",
    messages: {
      ERR_REALITY_TIMEOUT: "Cannot read the body: it did not arrive within bodyTimeout (10000 ms)",
    },
    headers: ["Connection"],
  },
  413: {
    description: "A limit is exceeded. The message names it.",
    messages: {
      ERR_REALITY_BODY_TOO_LARGE:
        `Cannot read the body: larger than maxBodyBytes (${DEFAULT_LIMITS.maxBodyBytes})`,
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
    description: "This client sends more requests than `rateLimit` allows.",
    messages: { ERR_REALITY_RATE_LIMITED: "Cannot take the request: rateLimit is used up, try again in 7 s" },
    headers: ["Retry-After"],
  },
  500: {
    description: "An error of the server or of a hook.",
    messages: { ERR_REALITY_INTERNAL: "The server failed at this request" },
  },
  503: {
    description: "The storage fails, a hook takes too long, the server is overloaded, or it is closing.",
    messages: {
      ERR_REALITY_STORAGE: "The storage does not answer",
      ERR_REALITY_HOOK: "The server took too long to check the request",
      ERR_REALITY_OVERLOADED: "Cannot take the request: maxRequests (10000) are being answered",
      ERR_REALITY_CLOSED: "The server is closed",
    },
    headers: ["Retry-After", "Connection"],
  },
};

/** A schema of an object. */
export function object(required: readonly string[], properties: Part, description?: string): Part {
  return { type: "object", ...(description === undefined ? {} : { description }), required, properties };
}

/** References to headers, by name. */
export function pick(names: readonly HeaderName[]): Part {
  return Object.fromEntries(names.map((name) => [name, ref("headers", name)]));
}

/** A reference to another part of the document. */
export function ref(kind: "schemas" | "headers" | "responses", name: string): Part {
  return { $ref: `#/components/${kind}/${name}` };
}
