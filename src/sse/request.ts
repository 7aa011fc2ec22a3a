/**
 * What an event stream needs of the request it answers: where to resume, and when the client is gone.
 *
 * @module
 */

import type { Locatable } from "../admission.ts";
import type { HangUp } from "../hang_up.ts";

/** The request object of `node:http`, Express and their like, as far as it is looked at. */
export interface NodeRequest {
  /** The headers, with lower-case names. */
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
  /** Path and query. */
  readonly url?: string | undefined;
  /** The connection; its end is the client's. */
  readonly socket: {
    readonly remoteAddress?: string | undefined;
    once(event: "close", listener: () => void): unknown;
    off(event: "close", listener: () => void): unknown;
  };
}

/** A request that an event stream can answer. */
export type EventSourceRequest = Request | NodeRequest;

/** The cursor that the client came back with, in its header or in the query; `null` for a new one. */
export function getLastEventId(request: EventSourceRequest): string | null {
  const header = request.headers instanceof Headers
    ? request.headers.get("last-event-id")
    : (request as NodeRequest).headers["last-event-id"];
  if (typeof header === "string") return header;
  const [, query] = /\?([^#]*)/.exec(request.url ?? "") ?? [];
  return new URLSearchParams(query).get("lastEventId");
}

/** As much of a request of `node:http` as is looked at to tell where it comes from. */
export function viewOf({ headers, socket }: NodeRequest): Locatable {
  return {
    header(name) {
      const value = headers[name];
      return Array.isArray(value) ? value.join(", ") : value ?? null;
    },
    remoteAddress: () => socket.remoteAddress ?? null,
    connection: () => socket,
  };
}

/**
 * Calls back when the client goes away.
 *
 * @returns A function that stops listening.
 */
export function onHangUp(request: EventSourceRequest, listener: () => void): () => void {
  if (request.headers instanceof Headers) {
    return onAbort((request as Request).signal, listener);
  }
  const { socket } = request as NodeRequest;
  socket.once("close", listener);
  return () => socket.off("close", listener);
}

/**
 * Calls back when a signal aborts.
 *
 * @returns A function that stops listening.
 */
export function onAbort(signal: HangUp, listener: () => void): () => void {
  signal.addEventListener("abort", listener);
  return () => signal.removeEventListener("abort", listener);
}
