/**
 * The door of the Web's own shapes: `Request` in, `Response` out.
 *
 * @module
 */
import { parseJSON, readBytes } from "./body.ts";
import type { Desk, IncomingRequest, Reply } from "./exchange.ts";

/** Answers a request; never rejects. */
export type FetchHandler = (request: Request) => Promise<Response>;

/** A handler that passes requests to a desk. */
export function toFetchHandler(desk: Desk): FetchHandler {
  return async (request) => toResponse(await desk(fromRequest(request)));
}

/** A request as the desk sees it. */
export function fromRequest(request: Request): IncomingRequest {
  return {
    method: request.method,
    url: request.url,
    header: (name) => request.headers.get(name),
    async readJSON(maxBytes) {
      return parseJSON(
        request.body === null ? new Uint8Array() : await readBytes(chunks(request.body), maxBytes),
      );
    },
    getSignal: () => request.signal,
    // A hook that reads the body gets an error from it: the desk has read it.
    toRequest: () => request,
  };
}

/** A reply in the Web's own shape. */
export function toResponse({ status, headers, body }: Reply): Response {
  return new Response(body, { status, headers });
}

/** A stream's chunks; by hand, since not every runtime's streams iterate. Cancels it when left early. */
async function* chunks(body: ReadableStream<Uint8Array>): AsyncGenerator<Uint8Array, void, undefined> {
  const reader = body.getReader();
  let done = false;
  try {
    while (true) {
      const result = await reader.read();
      done = result.done;
      if (result.done) return;
      yield result.value;
    }
  } finally {
    // Not waited for: a runtime may settle it only when the client has sent the rest.
    if (!done) reader.cancel().catch(() => {});
  }
}
