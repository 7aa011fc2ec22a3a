/**
 * The OpenAPI document as tests read it, requests for each of its statuses, and a checker of answers.
 *
 * @module
 */
import assert from "node:assert/strict";
import { Ajv2020 } from "ajv/dist/2020.js";
import { createFetchHandler, type HandlerOptions, MemoryStorage, RealityServer } from "../../../mod.ts";
import { createOpenAPI } from "../../../src/http/openapi.ts";
import { createScene, type SceneName, SMALL, TOKENS } from "../../http/scenes.ts";
import { listenFetch } from "../../runtimes/fetch.ts";

/** The part of the document that the tests read. */
export interface Document {
  openapi: string;
  info: { version: string };
  servers: { url: string }[];
  paths: Record<string, Record<string, Operation>>;
  components: {
    responses: Record<string, Answer>;
    headers: Record<string, Header>;
    schemas: Record<string, unknown>;
  };
}

export interface Operation {
  operationId: string;
  requestBody?: { content: Record<string, Content> };
  responses: Record<string, Answer>;
}

export interface Answer {
  $ref?: string;
  headers?: Record<string, Header>;
  content?: Record<string, Content>;
}

export interface Content {
  example?: unknown;
  examples?: Record<string, { value: unknown }>;
}

export interface Header {
  $ref?: string;
}

/** A request, and the status of its answer. */
export interface Exchange {
  readonly scene: SceneName | OwnScene;
  /** Method and path as in the document. */
  readonly operation: string;
  /** The path with values for its parameters. */
  readonly url?: string;
  readonly headers?: Record<string, string>;
  readonly body?: unknown;
  readonly status: number;
}

/** Servers that only these tests need: a closed one, and hooks that fail or refuse. */
export type OwnScene = "closing" | "unreadable" | "guarded";

export const METHODS: readonly string[] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"];
export const document = copy() as unknown as Document;
export const JSON_TYPE: Readonly<Record<string, string>> = { "content-type": "application/json" };
export const TOKEN: Readonly<Record<string, string>> = { authorization: `Bearer ${TOKENS[0]}` };
export const GOSSIP: object = { known: {}, gossip: { form: 1, hello: { nonce: "x".repeat(24) } } };
export const BIG: object = { known: {}, more: "x".repeat(SMALL.maxBodyBytes) };
export const FOUR: object = { known: { a: 0, b: 0, c: 0, d: 0 } };

/** At least one request for every status of every operation. */
export const exchanges: readonly Exchange[] = [
  ...[
    { scene: "plain", body: { known: { a: 0, b: 9 } }, status: 200 },
    { scene: "plain", body: { known: {}, clientId: "c", mode: "native", hint: "focus" }, status: 200 },
    { scene: "plain", body: { known: [] }, status: 400 },
    { scene: "plain", body: GOSSIP, status: 403 },
    { scene: "small", body: BIG, status: 413 },
    { scene: "small", body: FOUR, status: 413 },
    { scene: "plain", body: {}, headers: { "content-type": "text/plain" }, status: 415 },
    { scene: "plain", body: {}, headers: { "content-encoding": "gzip" }, status: 415 },
    { scene: "unreadable", body: { known: { a: 0 } }, status: 500 },
    { scene: "broken", body: { known: { a: 0 } }, status: 503 },
    { scene: "closing", body: { known: { a: 0 } }, status: 503 },
  ].map((exchange) => ({ operation: "POST /sync", ...exchange }) as Exchange),
  ...["GET", "HEAD"].flatMap((method) =>
    [
      { scene: "cached", status: 200, url: "/sync?k=a:0" },
      { scene: "cached", status: 304, url: "/sync?k=a:0", headers: { "if-none-match": "*" } },
      { scene: "cached", status: 400, url: "/sync" },
      { scene: "cached", status: 403, url: "/sync?k=private:a:0" },
      { scene: "plain", status: 405, url: "/sync?k=a:0" },
      {
        scene: "cached",
        status: 413,
        url: `/sync?${Array.from({ length: 21 }, (_, i) => `k=${i}:0`).join("&")}`,
      },
      { scene: "cached", status: 500, url: "/sync?k=broken:a:0" },
      { scene: "closing", status: 503, url: "/sync?k=a:0" },
    ].map((exchange) => ({ operation: `${method} /sync`, ...exchange }) as Exchange)
  ),
  { scene: "plain", operation: "GET /events", url: "/events?keys=a", status: 200 },
  { scene: "plain", operation: "GET /events", url: "/events", status: 400 },
  ...([["stranger", 401], ["banned", 403]] as const).map(([user, status]): Exchange => (
    { scene: "readers", operation: "GET /events", url: "/events?keys=a", headers: { "x-user": user }, status }
  )),
  { scene: "small", operation: "GET /events", url: "/events?keys=a&keys=b&keys=c&keys=d", status: 413 },
  ...([["update", { key: "a", hash: "1" }], ["invalidate", { keys: ["POST:a"] }]] as const).flatMap((
    [route, body],
  ) =>
    [
      { scene: "plain", body, headers: TOKEN, status: 200 },
      { scene: "plain", body: {}, headers: TOKEN, status: 400 },
      { scene: "plain", body, status: 401 },
      { scene: "closed", body, status: 403 },
      { scene: "small", body: BIG, headers: TOKEN, status: 413 },
      { scene: "plain", body, headers: { ...TOKEN, "content-type": "text/plain" }, status: 415 },
      { scene: "hook", body, headers: { "x-user": "broken" }, status: 500 },
      { scene: "closing", body, headers: TOKEN, status: 503 },
    ].map((exchange) => ({ operation: `POST /${route}`, ...exchange }) as Exchange)
  ),
  ...[
    { scene: "plain", url: "/nodes/a%2Fb", headers: TOKEN, status: 204 },
    { scene: "plain", url: "/nodes/%00", headers: TOKEN, status: 400 },
    { scene: "plain", status: 401 },
    { scene: "closed", status: 403 },
    { scene: "hook", headers: { "x-user": "broken" }, status: 500 },
    { scene: "closing", headers: TOKEN, status: 503 },
  ].map((exchange) => ({ operation: "DELETE /nodes/{key}", url: "/nodes/a", ...exchange }) as Exchange),
  ...["GET", "HEAD"].flatMap((method) => [
    { scene: "closing", operation: `${method} /ready`, status: 503 } as const,
    { scene: "guarded", operation: `${method} /metrics`, status: 403 } as const,
    { scene: "guarded", operation: `${method} /metrics`, url: "/metrics?broken", status: 500 } as const,
  ]),
  ...["GET", "HEAD"].flatMap((method) =>
    ["health", "ready", "metrics", "openapi.json"].map((route) => (
      { scene: "plain", operation: `${method} /${route}`, status: 200 } as const
    ))
  ),
];

/** Runs with the address of a server of a scene. */
export async function withScene(
  name: SceneName | OwnScene,
  run: (origin: string) => Promise<unknown>,
): Promise<void> {
  const { server, handler } = createOwnScene(name);
  if (name === "closing") await server.close();
  const { origin, close } = await listenFetch(createFetchHandler(server, handler));
  try {
    await run(origin);
  } finally {
    await server.close();
    await close();
  }
}

export function createOwnScene(
  name: SceneName | OwnScene,
): { server: RealityServer; handler: HandlerOptions } {
  if (name !== "closing" && name !== "unreadable" && name !== "guarded") return createScene(name);
  const authorize = () => {
    throw new Error("password=secret");
  };
  const server = new RealityServer({
    storage: new MemoryStorage(),
    writeTokens: TOKENS,
    public: () => true,
    ...(name === "unreadable" ? { authorize } : {}),
  });
  const metrics = (request: Request) => request.url.endsWith("?broken") && authorize();
  return { server, handler: name === "guarded" ? { metrics } : {} };
}

export async function checkExchange(
  origin: string,
  { operation, url, headers, body, status }: Exchange,
  check: Check,
): Promise<Headers> {
  const [method = "", path = ""] = operation.split(" ");
  const response = await fetch(`${origin}/reality${url ?? path}`, {
    method,
    headers: { ...(body === undefined ? {} : JSON_TYPE), ...headers },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  });
  const where = `#/paths/${escape(path)}/${method.toLowerCase()}/responses/${status}`;
  assert.equal(response.status, status, `${operation} ${status}: ${JSON.stringify(body)}`);
  await checkAnswer(response, where, check);
  return response.headers;
}

/** Compares an answer with the part of the document that a pointer names. */
export async function checkAnswer(response: Response, pointer: string, check: Check): Promise<void> {
  const given: Answer = follow(pointer);
  const where = given.$ref ?? pointer;
  const { headers = {}, content } = follow<Answer>(where);
  const what = `${pointer}: ${JSON.stringify([...response.headers])}`;
  // Headers of HTTP, the runtime's server and CORS.
  const usual = /^(content-(type|length)|date|keep-alive|transfer-encoding|vary|connection)$/;
  const documented = Object.keys(headers).map((name) => name.toLowerCase());
  const unknown = [...response.headers.keys()].filter((name) =>
    !usual.test(name) && !documented.includes(name)
  );
  assert.deepEqual(unknown, [], what);
  for (const [name, header] of Object.entries(headers)) {
    const text = response.headers.get(name);
    if (text === null || /^connection$/i.test(name)) continue;
    check(`${header.$ref ?? `${where}/headers/${name}`}/schema`, /^\d+$/.test(text) ? Number(text) : text);
  }
  if (content === undefined || response.headers.get("content-type") === "text/event-stream") {
    await response.body?.cancel();
    return;
  }
  const [type = ""] = Object.keys(content);
  assert.equal(response.headers.get("content-type"), type, what);
  const text = await response.text();
  // The answer to HEAD has no body and may share the description of a refusal.
  if (text === "") return;
  check(`${where}/content/${escape(type)}/schema`, type === "application/json" ? JSON.parse(text) : text);
}

export type Check = (pointer: string, value: unknown) => void;

/** Checks values against the document. Properties that are not named there are not allowed. */
export function createChecker(): Check {
  const { validate } = createValidator(closed(copy()));
  return (pointer, value) => {
    assert.equal(validate(pointer, value), "", `${JSON.stringify(value)} at ${pointer}`);
  };
}

export function createValidator(schema: object): { validate(pointer: string, value: unknown): string } {
  const ajv = new Ajv2020({ strict: false, validateSchema: false });
  ajv.addSchema(schema, "document");
  return {
    validate(pointer, value) {
      const fits = ajv.compile({ $ref: `document${encodeURI(pointer)}` });
      return fits(value) ? "" : ajv.errorsText(fits.errors);
    },
  };
}

/** The same schema without additional properties in any of its objects. */
export function closed<T>(value: T): T {
  if (typeof value !== "object" || value === null) return value;
  if (Array.isArray(value)) return value.map(closed) as T;
  const parts = Object.fromEntries(Object.entries(value).map(([name, part]) => [name, closed(part)]));
  return ("properties" in value ? { ...parts, additionalProperties: false } : parts) as T;
}

export function copy(): Record<string, unknown> {
  return JSON.parse(JSON.stringify(createOpenAPI("/reality")));
}

export function follow<T>(pointer: string): T {
  const names = pointer.slice(2).split("/").map((name) => name.replaceAll("~1", "/").replaceAll("~0", "~"));
  const found = names.reduce<unknown>((part, name) => (part as Record<string, unknown>)?.[name], document);
  return (found ?? assert.fail(`Nothing is at ${pointer}`)) as T;
}

export function escape(name: string): string {
  return name.replaceAll("~", "~0").replaceAll("/", "~1");
}
