/**
 * What an event stream needs of the request it answers: where to resume, and when the client is gone.
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
 * A request that an event stream can answer: a `Request`, that of `node:http` or Express, or what Fastify and Hono have
 * made of either.
 */
export type EventSourceRequest =
  | Request
  | NodeRequest
  | { readonly raw: NodeRequest }
  | { readonly req: { readonly raw: Request } };

/** What a stream needs of the request that it answers. */
export interface StreamRequest {
  /** The cursor that the client came back with, in its header or in the query; `null` for a new one. */
  readonly lastEventId: string | null;
  /** The request itself, of one of two shapes. */
  readonly request: Request | NodeRequest;
  /** Where it comes from, where that can be told. */
  readonly locatable?: Locatable;
  /**
   * Calls back when the client goes away.
   *
   * @returns A function that stops listening.
   */
  onDisconnect(listener: () => void): () => void;
}

/**
 * Looks at a request of whatever host.
 *
 * @throws {TypeError} For what is no request; names what it is.
 */
export function toStreamRequest(given: EventSourceRequest): StreamRequest {
  const { raw, req } = (given ?? {}) as { raw?: unknown; req?: { raw?: unknown } };
  for (const request of [given, raw, req?.raw]) {
    if (isWebRequest(request)) {
      return {
        lastEventId: request.headers.get("last-event-id") ?? idInQuery(request.url),
        request,
        onDisconnect: (listener) => onAbort(signalOf(request), listener),
      };
    }
    if (isNodeRequest(request)) {
      const { headers, url, socket } = request;
      const header = (name: string) => headers[name] === undefined ? null : String(headers[name]);
      return {
        lastEventId: header("last-event-id") ?? idInQuery(url),
        request,
        locatable: { header, remoteAddress: () => socketAddress(socket), connection: () => socket },
        onDisconnect: (listener) => onClose(socket, listener),
      };
    }
  }
  throw new TypeError(
    `Cannot open a stream: expected a Request, or that of node:http, Express, Fastify or Hono, got ${
      nameShape(given)
    }`,
  );
}

function idInQuery(url = ""): string | null {
  const [, query] = /\?([^#]*)/.exec(url) ?? [];
  return new URLSearchParams(query).get("lastEventId");
}
