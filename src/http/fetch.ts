/**
 * The adapter for `Request` and `Response`.
 *
 * @module
 */
import {
  type BodyOptions,
  brokenOff,
  checkEncoding,
  declaredLength,
  parseDecoded,
  parseJSON,
  readBytes,
  tooLarge,
} from "./read_body.ts";
import { isWebRequest, nameShape, signalOf } from "./request_shape.ts";
import type { AbortSignalLike } from "../abort_signal.ts";
import type { BodyBudget } from "../limits/body_budget.ts";
import type { Answer, IncomingRequest, PulledBody, Reply } from "./exchange.ts";
import { bridgedSocket, type BunServer, findAddress, findBunServer } from "./connection.ts";
import { createRequest } from "./target.ts";
import { isTooLong } from "../store/node.ts";

/** A context that holds the request, as Hono passes it to its handlers. */
export interface RequestContext {
  /** The request of the framework. */
  readonly req: {
    /** The request itself. */
    readonly raw: Request;
    /** Returns the body, even if it was read before. */
    arrayBuffer?(): Promise<ArrayBuffer>;
  };
  /** What the runtime passed to the framework beside the request. */
  readonly env?: unknown;
}

/** The `context` of hooks, if a fetch handler was called with a `Request`. */
export interface FetchContext<Env = unknown, Execution = unknown> {
  /** The second argument of the handler: the bindings of a Worker, the info of `Deno.serve`, or Bun's server. */
  readonly env: Env;
  /** The third argument of the handler: the execution context of a Worker. */
  readonly ctx: Execution;
}

/**
 * Answers a request; never rejects.
 *
 * @param request The request, or the context of Hono around it.
 * @param env The second argument of the runtime's handler: the info of `Deno.serve`, Bun's server, or the bindings of
 *   a Worker. It provides the remote address for `rateLimit`. Bun's server is told not to close the connections of
 *   waiting clients. Hooks receive it as `context.env`. Hono keeps it in its context.
 * @param ctx The third argument of a Worker's handler. Hooks receive it as `context.ctx`.
 * @throws {TypeError} When the value is not a request. Thrown at once; the message describes the value.
 */
export type FetchHandler = (
  request: Request | RequestContext,
  env?: unknown,
  ctx?: unknown,
) => Promise<Response>;

/**
 * How long a connection may be idle, in seconds: the default of Bun, no limit, and longer than any heartbeat
 * interval.
 */
const DEFAULT_IDLE_SECONDS = 10;
const NO_IDLE_LIMIT = 0;
const STREAM_IDLE_SECONDS = 120;

/** Creates a fetch handler. */
export function toFetchHandler(answer: Answer): FetchHandler {
  return (given, env, ctx) => {
    const incoming = toIncomingRequest(given, env, ctx);
    const { request } = incoming;
    const bun = findBunServer(incoming.env);
    if (bun === null) return answer(incoming, toResponse);
    incoming.bun = bun;
    return answer(incoming, (reply) => {
      if (incoming.waits) bun.timeout(request, DEFAULT_IDLE_SECONDS);
      if (typeof reply.body === "object" && reply.body !== null) bun.timeout(request, STREAM_IDLE_SECONDS);
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

/** A `Request` as the handler sees it. */
class FetchRequest implements IncomingRequest {
  readonly method: string;
  readonly url: string;
  readonly request: Request;
  /** Bun's server, which closes idle connections unless it is told that the request waits. */
  bun: BunServer | undefined = undefined;
  /** Whether the request may wait. */
  waits = false;
  hasPlainStrings = false;
  readonly #context: RequestContext | FetchContext;

  /**
   * @param request The request.
   * @param context Its context for hooks.
   */
  constructor(request: Request, context: RequestContext | FetchContext) {
    this.method = request.method;
    this.url = request.url;
    this.request = request;
    this.#context = context;
  }

  /** What the runtime passed beside the request. */
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
    return readBody(this, { maxBytes, declared, bodies });
  }

  remoteAddress(): string | null {
    return findAddress(this.request, this.env);
  }

  connection(): object | undefined {
    return bridgedSocket(this.env);
  }

  getSignal(): AbortSignalLike {
    this.waits = true;
    this.bun?.timeout(this.request, NO_IDLE_LIMIT);
    return signalOf(this.request);
  }

  getContext(): unknown {
    return this.#context;
  }

  toRequest(): Request {
    // A hook that reads the body gets an error, because the handler has read it. On Deno and Bun the URL is as the
    // client wrote it, and may be invalid.
    return URL.canParse(this.url) ? this.request : createRequest(this.request);
  }
}

/** Creates a `Response`. */
export function toResponse({ status, headers, body }: Reply): Response {
  const isPulled = typeof body === "object" && body !== null;
  return new Response(isPulled ? toReadableStream(body) : body, { status, headers });
}

/** Creates the stream of a body. It holds nothing: each read pulls one part. */
function toReadableStream(body: PulledBody): ReadableStream<Uint8Array<ArrayBuffer>> {
  const encoder = new TextEncoder();
  return new ReadableStream({
    start(controller) {
      if (body.isOver) controller.close();
      body.onEnd = (last) => {
        if (last !== null) controller.enqueue(encoder.encode(last));
        controller.close();
      };
    },
    async pull(controller) {
      const part = await body.next();
      if (part === null) return;
      controller.enqueue(encoder.encode(part));
      if (body.isOver) controller.close();
    },
    cancel: () => body.cancel(),
  }, { highWaterMark: 0 });
}

/** Reads a body that was read before, if the framework has kept it. */
async function readBuffered(context: RequestContext | FetchContext, maxBytes: number): Promise<unknown> {
  let bytes: ArrayBuffer | undefined;
  try {
    if ("req" in context) bytes = await context.req.arrayBuffer?.();
  } catch {
    // It was read without the framework.
  }
  if (bytes === undefined) {
    throw new Error(
      "The body was read before and is not available any more: pass a clone of the request, or Hono's context",
    );
  }
  if (bytes.byteLength > maxBytes) throw tooLarge(maxBytes);
  return parseJSON(bytes);
}

/**
 * Reads the body. A small body is read in one piece, which is faster, if the server limits it to its declared length.
 */
function readBody(incoming: FetchRequest, options: BodyOptions): Promise<unknown> {
  const { request } = incoming;
  const { maxBytes, declared, bodies } = options;
  // HTTP limits a body to its declared length.
  const isSmall = declared > 0 && declared <= Math.min(maxBytes, bodies.share);
  // A `Request` of another library may have no such method. On Deno and Bun it costs less than bytes do.
  if (isSmall && typeof request.text === "function") {
    return readAtOnce(() => request.text(), (text) => {
      if (isTooLong(text, maxBytes)) throw tooLarge(maxBytes);
      return parseDecoded(text, declared, incoming);
    }, options);
  }
  // Deno creates a stream for this property, which costs more than reading a small body.
  const { body } = request;
  // A `Request` of another library may have a different kind of stream.
  if (isSmall || body && typeof body.getReader !== "function") {
    return readAtOnce(() => request.arrayBuffer(), (bytes) => {
      if (bytes.byteLength > maxBytes) throw tooLarge(maxBytes);
      return parseJSON(bytes, incoming);
    }, options);
  }
  const bytes = body ? readBytes(body, options) : Promise.resolve(new Uint8Array());
  return bytes.then((bytes) => parseJSON(bytes, incoming));
}

/** A single promise, because every request passes here. */
function readAtOnce<T>(
  read: () => Promise<T>,
  parse: (body: T) => unknown,
  { declared, bodies }: BodyOptions,
): Promise<unknown> {
  return new Promise((resolve, reject) => {
    const reservation = bodies.begin(declared, reject);
    reservation.take(declared);
    read().then((body) => {
      reservation.end();
      try {
        resolve(parse(body));
      } catch (refusal) {
        reject(refusal);
      }
    }, (cause) => {
      reservation.end();
      reject(brokenOff(cause));
    });
  });
}
