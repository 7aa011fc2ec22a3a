/**
 * Reads what an event stream needs of its request: the cursor to resume from, and when the client disconnects.
 *
 * @module
 */

import type { Locatable } from "../limits/client_limit.ts";
import { onAbort, onClose } from "../abort_signal.ts";
import {
  isNodeRequest,
  isWebRequest,
  nameShape,
  type NodeRequest,
  signalOf,
  socketAddress,
} from "../http/request_shape.ts";

/**
 * A request that an event stream can answer: a `Request`, a request of `node:http` or Express, or a request or
 * context of Fastify or Hono around one of them.
 */
export type EventSourceRequest =
  | Request
  | NodeRequest
  | { readonly raw: NodeRequest }
  | { readonly req: { readonly raw: Request } };

/** What a stream needs of its request. */
export interface StreamRequest {
  /** The cursor of a client that reconnects, from its header or query; `null` for a new client. */
  readonly lastEventId: string | null;
  /** The request itself. */
  readonly request: Request | NodeRequest;
  /** Locates the client, if the request has an address. */
  readonly locatable?: Locatable;
  /**
   * Calls back when the client disconnects.
   *
   * @returns A function that stops listening.
   */
  onDisconnect(listener: () => void): () => void;
}

/**
 * Reads a request of any supported host.
 *
 * @throws {TypeError} When the value is not a request. The message describes it.
 */
export function toStreamRequest(given: EventSourceRequest): StreamRequest {
  const { raw, req } = (given ?? {}) as { raw?: unknown; req?: { raw?: unknown } };
  for (const request of [given, raw, req?.raw]) {
    if (isWebRequest(request)) {
      return {
        lastEventId: request.headers.get("last-event-id") || idInQuery(request.url),
        request,
        onDisconnect: (listener) => onAbort(signalOf(request), listener),
      };
    }
    if (isNodeRequest(request)) {
      const { headers, url, socket } = request;
      const header = (name: string) => headers[name] === undefined ? null : String(headers[name]);
      return {
        lastEventId: header("last-event-id") || idInQuery(url),
        request,
        locatable: { header, remoteAddress: () => socketAddress(socket), connection: () => socket },
        onDisconnect: (listener) => onClose(socket, listener),
      };
    }
  }
  throw new TypeError(
    `Cannot open a stream: expected a Request, or a request of node:http, Express, Fastify or Hono, got ${
      nameShape(given)
    }`,
  );
}

function idInQuery(url = ""): string | null {
  const [, query] = /\?([^#]*)/.exec(url) ?? [];
  return new URLSearchParams(query).get("lastEventId");
}
