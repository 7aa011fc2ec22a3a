/**
 * The door of the Web's own shapes: `Request` in, `Response` out.
 *
 * @module
 */
import {
  type BodyOptions,
  brokenOff,
  checkEncoding,
  declaredLength,
  parseJSON,
  readBytes,
  tooLarge,
} from "./body.ts";
import type { BodyRoom, Desk, IncomingRequest, Reply } from "./exchange.ts";
import { createRequest } from "./target.ts";

/** A context that holds the request, as Hono hands it to its handlers. */
export interface RequestContext {
  /** The framework's request. */
  readonly req: {
    /** The request itself. */
    readonly raw: Request;
  };
  /** What the runtime handed to the framework beside the request. */
  readonly env?: unknown;
}

/**
 * Answers a request; never rejects.
 *
 * @param request The request, or Hono's context around it.
 * @param host What the runtime hands over beside it: the second argument of `Deno.serve`'s handler, or Bun's server.
 *   It tells the address that connected, for `rateLimit`; and Bun's server is told not to close the connection of a
 *   client that waits. Anything else is ignored.
 */
export type FetchHandler = (request: Request | RequestContext, host?: unknown) => Promise<Response>;

/** Bun's server: it closes what was silent for 10 s, unless told otherwise for a request. */
interface PatientHost {
  timeout(request: Request, seconds: number): void;
}

/** What a connection may be silent for, in seconds: Bun's own default, without end, and past any heartbeat. */
const USUAL_SILENCE = 10;
const ENDLESS_SILENCE = 0;
const STREAM_SILENCE = 120;

/** A handler that passes requests to a desk. */
export function toFetchHandler(desk: Desk): FetchHandler {
  return (given, host) => {
    const request = "req" in given ? given.req.raw : given;
    const connection = "req" in given ? given.env : host;
    const view = new RequestView(request, connection);
    if (!isPatient(host)) return desk(view).then(toResponse);
    view.onWait = () => host.timeout(request, ENDLESS_SILENCE);
    return desk(view).then((reply) => {
      if (view.waits) host.timeout(request, USUAL_SILENCE);
      if (typeof reply.body === "object" && reply.body !== null) host.timeout(request, STREAM_SILENCE);
      return toResponse(reply);
    });
  };
}

function isPatient(host: unknown): host is PatientHost {
  return typeof host === "object" && host !== null && "timeout" in host && typeof host.timeout === "function";
}

/** A request as the desk sees it. */
class RequestView implements IncomingRequest {
  readonly method: string;
  readonly url: string;
  /** Called when it is to wait. */
  onWait: (() => void) | undefined = undefined;
  /** Whether it was to wait. */
  waits = false;
  readonly #request: Request;
  readonly #connection: unknown;

  /**
   * @param request The request.
   * @param connection What may know who connected.
   */
  constructor(request: Request, connection: unknown) {
    this.method = request.method;
    this.url = request.url;
    this.#request = request;
    this.#connection = connection;
  }

  header(name: string): string | null {
    return this.#request.headers.get(name);
  }

  readJSON(maxBytes: number, bodies: BodyRoom): Promise<unknown> {
    const request = this.#request;
    if (request.bodyUsed) throw new Error("The body was read before it came here");
    const declared = declaredLength(this.header("content-length"), maxBytes);
    checkEncoding(this.header("content-encoding"));
    return readBody(request, { maxBytes, declared, bodies });
  }

  remoteAddress(): string | null {
    return findAddress(this.#request, this.#connection);
  }

  connection(): object | undefined {
    return bridgedSocket(this.#connection);
  }

  getSignal(): AbortSignal {
    this.waits = true;
    this.onWait?.();
    return this.#request.signal;
  }

  toRequest(): Request {
    // A hook that reads the body gets an error from it: the desk has read it.
    // Deno and Bun hand out a URL as the client wrote it, which may be none.
    return URL.canParse(this.url) ? this.#request : createRequest(this.#request);
  }
}

/** A reply in the Web's own shape. */
export function toResponse({ status, headers, body }: Reply): Response {
  return new Response(body, { status, headers });
}

/**
 * The socket in the request of `node:http` that a bridge for Node keeps. Other hosts bound by themselves how many
 * requests a connection brings at once.
 */
function bridgedSocket(connection: unknown): { readonly remoteAddress?: unknown } | undefined {
  if (typeof connection !== "object" || connection === null) return undefined;
  const { incoming } = connection as { incoming?: { socket?: object | null } | null };
  return incoming?.socket ?? undefined;
}

/**
 * The address that connected: in what `Deno.serve` hands over, by Bun's server, or in the request of `node:http` that
 * a bridge for Node keeps. Whatever else is there, such as the bindings of a Worker, tells none.
 */
function findAddress(request: Request, connection: unknown): string | null {
  if (typeof connection !== "object" || connection === null) return null;
  const { remoteAddr, requestIP, incoming } = connection as {
    remoteAddr?: { hostname?: unknown } | null;
    requestIP?: unknown;
    incoming?: { socket?: { remoteAddress?: unknown } | null } | null;
  };
  try {
    const address = typeof requestIP === "function"
      ? requestIP.call(connection, request)?.address
      : remoteAddr?.hostname ?? incoming?.socket?.remoteAddress;
    return typeof address === "string" ? address : null;
  } catch {
    // Something else of that name.
    return null;
  }
}

/** Reads the body: in one piece, which is quicker, where it is small and the server that took it in keeps it to that. */
function readBody(request: Request, options: BodyOptions): Promise<unknown> {
  const { maxBytes, declared, bodies } = options;
  // HTTP holds a body to the length that it declares.
  const isSmall = declared > 0 && declared <= Math.min(maxBytes, bodies.share);
  if (isSmall) return readAtOnce(request, options);
  const bytes = request.body === null ? Promise.resolve(new Uint8Array()) : readBytes(request.body, options);
  return bytes.then(parseJSON);
}

/** One promise and one step, since every request passes here. */
function readAtOnce(request: Request, { maxBytes, declared, bodies }: BodyOptions): Promise<unknown> {
  return new Promise((resolve, reject) => {
    const reading = bodies.begin(declared, reject);
    reading.take(declared);
    request.arrayBuffer().then((bytes) => {
      reading.end();
      try {
        if (bytes.byteLength > maxBytes) throw tooLarge(maxBytes);
        resolve(parseJSON(bytes));
      } catch (refusal) {
        reject(refusal);
      }
    }, (cause) => {
      reading.end();
      reject(brokenOff(cause));
    });
  });
}
