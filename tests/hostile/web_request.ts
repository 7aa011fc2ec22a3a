/**
 * Hostile requests as the Web's class, for fetch handlers in this very process.
 *
 * @module
 */
import type { HostileRequest } from "./corpus.ts";

/**
 * Creates the `Request`; `null` if the Web's classes refuse it, since it reaches no fetch handler then.
 *
 * @param hostile What it is created from.
 * @param isDeclared Whether the length of the body is declared, as by most clients. Small bodies are then read in one piece.
 */
export function toRequest(
  { method, target, headers, body }: HostileRequest,
  isDeclared: boolean,
): Request | null {
  const sent = method === "GET" || method === "HEAD" ? undefined : body;
  try {
    const request = new Request(new URL(target, "http://localhost"), {
      method,
      headers: headers.map(([name, value]): [string, string] => [name, value]),
      ...(sent === undefined ? {} : { body: sent }),
    });
    if (isDeclared && sent !== undefined) {
      const { length } = typeof sent === "string" ? new TextEncoder().encode(sent) : sent;
      request.headers.set("content-length", String(length));
    }
    return request;
  } catch {
    return null;
  }
}
