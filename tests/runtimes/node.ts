/**
 * Listens with `node:http`, on whichever runtime; for fetch handlers, too, as bridges on Node do it.
 *
 * @module
 */
import {
  createServer,
  type IncomingMessage,
  type RequestListener,
  type ServerOptions,
  type ServerResponse,
} from "node:http";
import {
  createServer as createHttp2Server,
  type Http2ServerRequest,
  type Http2ServerResponse,
  type Http2Session,
} from "node:http2";
import type { AddressInfo } from "node:net";
import { Readable } from "node:stream";
import type { ReadableStream as NodeReadableStream } from "node:stream/web";

/** A server that listens. */
export interface Listening {
  /** Its address without a path: `http://127.0.0.1:1234`. */
  readonly origin: string;
  /** Closes it with all its connections. */
  close(): Promise<void>;
}

/** Listens with `node:http`, within limits of its own if there are any. */
export async function listenNode(listener: RequestListener, limits: ServerOptions = {}): Promise<Listening> {
  const server = createServer(limits, listener);
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return {
    origin: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    async close() {
      const closed = new Promise((resolve) => server.close(resolve));
      server.closeAllConnections();
      await closed;
    },
  };
}

/** Listens with `node:http2`, without TLS. */
export async function listenHttp2(
  listener: (request: Http2ServerRequest, response: Http2ServerResponse) => void,
): Promise<Listening> {
  const server = createHttp2Server(listener);
  const sessions = new Set<Http2Session>();
  server.on("session", (session) => {
    sessions.add(session);
    session.once("close", () => sessions.delete(session));
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return {
    origin: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    async close() {
      const closed = new Promise((resolve) => server.close(resolve));
      for (const session of sessions) session.destroy();
      await closed;
    },
  };
}

/** Listens with `node:http` for a handler of the Web's shapes. */
export function listenFetchOnNode(
  handler: (request: Request, host: unknown) => Promise<Response>,
): Promise<Listening> {
  return listenNode((incoming, outgoing) => void bridge(handler, incoming, outgoing));
}

async function bridge(
  handler: (request: Request, host: unknown) => Promise<Response>,
  incoming: IncomingMessage,
  outgoing: ServerResponse,
): Promise<void> {
  const controller = new AbortController();
  outgoing.once("close", () => controller.abort());
  const { method = "GET", url = "/" } = incoming;
  const headers = new Headers();
  for (const [name, value] of Object.entries(incoming.headers)) headers.set(name, String(value));
  const hasBody = method !== "GET" && method !== "HEAD";
  let request: Request;
  try {
    request = new Request(`http://${incoming.headers.host}${url}`, {
      method,
      headers,
      signal: controller.signal,
      ...(hasBody ? { body: Readable.toWeb(incoming) as ReadableStream, duplex: "half" } : {}),
    });
  } catch {
    outgoing.statusCode = 400;
    return void outgoing.end();
  }
  const response = await handler(request, { incoming, outgoing });
  outgoing.statusCode = response.status;
  for (const [name, value] of response.headers) outgoing.setHeader(name, value);
  if (response.body === null || method === "HEAD") return void outgoing.end();
  if (response.headers.get("content-type") !== "text/event-stream") {
    return void outgoing.end(await response.bytes());
  }
  const body = Readable.fromWeb(response.body as NodeReadableStream);
  body.on("error", () => outgoing.destroy());
  outgoing.once("close", () => body.destroy());
  body.pipe(outgoing);
}
