/**
 * Changes requests to a correct server and its answers, so that it breaks a rule.
 *
 * @module
 */
import type { BrokenServer, Handler } from "./broken_server.ts";

/** A sync request's fields. */
export interface SyncBody {
  known: Record<string, number>;
  [name: string]: unknown;
}

/** A sync answer's fields. */
export interface SyncAnswer {
  changed: Record<string, { key: string; version: number; deleted?: true }>;
  mesh: { peers: unknown; serverVersion: number };
  [name: string]: unknown;
}

/** Parses the body and answers as `look` says. If `look` returns `false`, a correct server answers. */
export async function readJSON(
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
export function onSync(
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
export function onAnswer(
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
export function onUpdates(
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
export function onStream(change: (text: string) => string): BrokenServer["answer"] {
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

/** Returns the same request with another body. */
export function withBody(request: Request, body: string, url: string = request.url): Request {
  const headers = new Headers(request.headers);
  headers.delete("content-length");
  return new Request(url, { method: request.method, headers, body, signal: request.signal });
}

/** Returns the same response with other headers. `null` removes a header. */
export function withHeaders(response: Response, changes: Record<string, string | null>): Response {
  const headers = new Headers(response.headers);
  for (const [name, value] of Object.entries(changes)) {
    if (value === null) headers.delete(name);
    else headers.set(name, value);
  }
  return new Response(response.body, { status: response.status, headers });
}

/** Returns an error response of the protocol. */
export function refuse(status: number, code: string, message: string): Response {
  return Response.json({ error: { code: `ERR_REALITY_${code}`, message } }, {
    status,
    headers: {
      "content-type": "application/json",
      "cache-control": "no-store",
      "www-authenticate": "Bearer",
    },
  });
}

/** Returns the entry of a deleted key in a sync answer. */
export function gone(key: string): { key: string; version: number; deleted: true } {
  return { key, version: 0, deleted: true };
}
