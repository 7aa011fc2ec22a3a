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
} from "./read_body.ts";
import { isWebRequest, nameShape, signalOf } from "./request_shape.ts";
import type { AbortSignalLike, BodyBudget, IncomingRequest, Reply, RequestHandler } from "./exchange.ts";
import { bridgedSocket, findAddress, findBunServer } from "./connection.ts";
import { createRequest } from "./target.ts";

/** A context that holds the request, as Hono hands it to its handlers. */
export interface RequestContext {
  /** The framework's request. */
  readonly req: {
    /** The request itself. */
    readonly raw: Request;
    /** Gives the body, also when it was read before. */
    arrayBuffer?(): Promise<ArrayBuffer>;
  };
  /** What the runtime handed to the framework beside the request. */
  readonly env?: unknown;
}

/** What hooks get as `context` from a fetch handler that was given a `Request`. */
export interface FetchContext<Env = unknown, Execution = unknown> {
  /** The handler's second argument: the bindings of a Worker, the info of `Deno.serve`, Bun's server. */
  readonly env: Env;
  /** The handler's third argument: the execution context of a Worker. */
  readonly ctx: Execution;
}

/**
 * Answers a request; never rejects.
 *
 * @param request The request, or Hono's context around it.
 * @param env What the runtime hands over beside it: the second argument of `Deno.serve`'s handler, Bun's server, or the
 *   bindings of a Worker. It tells the address that connected, for `rateLimit`; and Bun's server is told not to close
 *   the connection of a client that waits. Hooks get it as `context.env`. Hono keeps it in its context.
 * @param ctx The third argument of a Worker's handler. Hooks get it as `context.ctx`.
 * @throws {TypeError} For a value that is no request, at once; names what it is.
 */
export type FetchHandler = (
  request: Request | RequestContext,
  env?: unknown,
  ctx?: unknown,
) => Promise<Response>;

/** What a connection may be silent for, in seconds: Bun's own default, without end, and past any heartbeat. */
const USUAL_SILENCE = 10;
const ENDLESS_SILENCE = 0;
const STREAM_SILENCE = 120;

/** A handler that passes requests to a desk. */
export function toFetchHandler(handler: RequestHandler): FetchHandler {
  return (given, env, ctx) => {
    const incoming = toIncomingRequest(given, env, ctx);
    const { request } = incoming;
    const bun = findBunServer(incoming.env);
    if (bun === null) return handler(incoming).then(toResponse);
    incoming.onWait = () => bun.timeout(request, ENDLESS_SILENCE);
    return handler(incoming).then((reply) => {
      if (incoming.waits) bun.timeout(request, USUAL_SILENCE);
      if (typeof reply.body === "object" && reply.body !== null) bun.timeout(request, STREAM_SILENCE);
      return toResponse(reply);
    });
  };
}

function toIncomingRequest(given: Request | RequestContext, env: unknown, ctx: unknown): FetchRequest {
  if (isWebRequest(given)) return new FetchRequest(given, { env, ctx });
  const raw: unknown = (given as Partial<RequestContext> | null | undefined)?.req?.raw;
  if (isWebRequest(raw)) return new FetchRequest(raw, given);
  throw new TypeError(`Cannot answer: expected a Request or Hono's context, got ${nameShape(given)}`);
}

/** A request as the desk sees it. */
class FetchRequest implements IncomingRequest {
  readonly method: string;
  readonly url: string;
  readonly request: Request;
  /** Called when it is to wait. */
  onWait: (() => void) | undefined = undefined;
  /** Whether it was to wait. */
  waits = false;
  readonly #context: RequestContext | FetchContext;

  /**
   * @param request The request.
   * @param context What it came with.
   */
  constructor(request: Request, context: RequestContext | FetchContext) {
    this.method = request.method;
    this.url = request.url;
    this.request = request;
    this.#context = context;
  }

  /** What the runtime handed over beside it. */
  get env(): unknown {
    return this.#context.env;
  }

  header(name: string): string | null {
    return this.request.headers.get(name);
  }

  readJSON(maxBytes: number, bodies: BodyBudget): Promise<unknown> {
    const { request } = this;
    const declared = declaredLength(this.header("content-length"), maxBytes);
    checkEncoding(this.header("content-encoding"));
    if (request.bodyUsed) return readBuffered(this.#context, maxBytes);
    return readBody(request, { maxBytes, declared, bodies });
  }

  remoteAddress(): string | null {
    return findAddress(this.request, this.env);
  }

  connection(): object | undefined {
    return bridgedSocket(this.env);
  }

  getSignal(): AbortSignalLike {
    this.waits = true;
    this.onWait?.();
    return signalOf(this.request);
  }

  getContext(): unknown {
    return this.#context;
  }

  toRequest(): Request {
    // A hook that reads the body gets an error from it: the desk has read it.
    // Deno and Bun hand out a URL as the client wrote it, which may be none.
    return URL.canParse(this.url) ? this.request : createRequest(this.request);
  }
}

/** A reply in the Web's own shape. */
export function toResponse({ status, headers, body }: Reply): Response {
  return new Response(body, { status, headers });
}

/** A body that was read before it came here, as far as the framework that read it has kept it. */
async function readBuffered(context: RequestContext | FetchContext, maxBytes: number): Promise<unknown> {
  let bytes: ArrayBuffer | undefined;
  try {
    if ("req" in context) bytes = await context.req.arrayBuffer?.();
  } catch {
    // It was read past the framework.
  }
  if (bytes === undefined) {
    throw new Error(
      "The body was read before it came here, and nobody has kept it: hand over a clone of the request, or Hono's context",
    );
  }
  if (bytes.byteLength > maxBytes) throw tooLarge(maxBytes);
  return parseJSON(bytes);
}

/** Reads the body: in one piece, which is quicker, where it is small and the server that took it in keeps it to that. */
function readBody(request: Request, options: BodyOptions): Promise<unknown> {
  const { maxBytes, declared, bodies } = options;
  // HTTP holds a body to the length that it declares.
  const isSmall = declared > 0 && declared <= Math.min(maxBytes, bodies.share);
  const { body } = request;
  // A `Request` of a library of its own may have a stream of its own, too.
  if (isSmall || body && typeof body.getReader !== "function") return readAtOnce(request, options);
  const bytes = body ? readBytes(body, options) : Promise.resolve(new Uint8Array());
  return bytes.then(parseJSON);
}

/** One promise and one step, since every request passes here. */
function readAtOnce(request: Request, { maxBytes, declared, bodies }: BodyOptions): Promise<unknown> {
  return new Promise((resolve, reject) => {
    const reservation = bodies.begin(declared, reject);
    reservation.take(declared);
    request.arrayBuffer().then((bytes) => {
      reservation.end();
      try {
        if (bytes.byteLength > maxBytes) throw tooLarge(maxBytes);
        resolve(parseJSON(bytes));
      } catch (refusal) {
        reject(refusal);
      }
    }, (cause) => {
      reservation.end();
      reject(brokenOff(cause));
    });
  });
}
