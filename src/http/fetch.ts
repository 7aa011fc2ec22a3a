/**
 * The door of the Web's own shapes: `Request` in, `Response` out.
 *
 * @module
 */
import { brokenOff, parseJSON, readBytes, tooLarge } from "./body.ts";
import type { Desk, IncomingRequest, Reply } from "./exchange.ts";
import { createRequest } from "./target.ts";

/** A context that holds the request, as Hono hands it to its handlers. */
export interface RequestContext {
  /** The framework's request. */
  readonly req: {
    /** The request itself. */
    readonly raw: Request;
  };
}

/**
 * Answers a request; never rejects.
 *
 * @param request The request, or Hono's context around it.
 * @param host What the runtime hands over beside it. Only Bun's server is used: it is told not to close the
 *   connection of a client that waits. Anything else is ignored.
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
  return async (given, host) => {
    const request = "req" in given ? given.req.raw : given;
    if (!isPatient(host)) return toResponse(await desk(fromRequest(request)));
    let waits = false;
    const reply = await desk(fromRequest(request, () => {
      waits = true;
      host.timeout(request, ENDLESS_SILENCE);
    }));
    if (waits) host.timeout(request, USUAL_SILENCE);
    if (typeof reply.body === "object" && reply.body !== null) host.timeout(request, STREAM_SILENCE);
    return toResponse(reply);
  };
}

function isPatient(host: unknown): host is PatientHost {
  return typeof host === "object" && host !== null && "timeout" in host && typeof host.timeout === "function";
}

/**
 * A request as the desk sees it.
 *
 * @param request The request.
 * @param onWait Called when it is to wait.
 */
function fromRequest(request: Request, onWait?: () => void): IncomingRequest {
  return {
    method: request.method,
    url: request.url,
    header: (name) => request.headers.get(name),
    async readJSON(maxBytes) {
      if (request.bodyUsed) throw new Error("The body was read before it came here");
      return parseJSON(await readBody(request, maxBytes));
    },
    getSignal() {
      onWait?.();
      return request.signal;
    },
    // A hook that reads the body gets an error from it: the desk has read it.
    // Deno and Bun hand out a URL as the client wrote it, which may be none.
    toRequest: () => URL.canParse(request.url) ? request : createRequest(request),
  };
}

/** A reply in the Web's own shape. */
export function toResponse({ status, headers, body }: Reply): Response {
  return new Response(body, { status, headers });
}

/** Reads the body: in one piece, which is quicker, where the server that took it in keeps it to a length. */
async function readBody(request: Request, maxBytes: number): Promise<Uint8Array> {
  if (!isMeasured(request.headers, maxBytes)) {
    return request.body === null ? new Uint8Array() : await readBytes(request.body, maxBytes);
  }
  let bytes: Uint8Array;
  try {
    bytes = new Uint8Array(await request.arrayBuffer());
  } catch (cause) {
    throw brokenOff(cause);
  }
  if (bytes.byteLength > maxBytes) throw tooLarge(maxBytes);
  return bytes;
}

/** Whether the body cannot be longer than allowed: HTTP holds it to what it declares, unless it was unpacked. */
function isMeasured(headers: Headers, maxBytes: number): boolean {
  const length = headers.get("content-length");
  return length !== null && Number(length) <= maxBytes && headers.get("content-encoding") === null;
}
