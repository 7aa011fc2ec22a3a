/**
 * Requests and replies of `node:http`, and of frameworks on top of it, as the desk sees them. The door of the
 * Web's shapes would do as well, but making a `Request` and a `Response` costs Node more than answering does.
 *
 * @module
 */
import {
  type BodyOptions,
  brokenOff,
  checkEncoding,
  concat,
  declaredLength,
  parseJSON,
  tooLarge,
} from "../../src/http/read_body.ts";
import {
  type AbortSignalLike,
  type BodyBudget,
  type BodyReservation,
  type IncomingRequest,
  onAbort,
  type Reply,
  type ResponseBudget,
} from "../../src/http/exchange.ts";
import { createRequest } from "../../src/http/target.ts";
import { type ConnectedSocket, nameShape, socketAddress } from "../../src/http/request_shape.ts";
import { cutOff, isOver, NodeAbortSignal } from "./disconnect.ts";

/** The request of `node:http` or `node:http2`, or of a framework on top of them, as far as it is looked at. */
export interface NodeIncoming {
  /** The method, in capitals. */
  readonly method?: string | undefined;
  /** Path and query. */
  readonly url?: string | undefined;
  /** What `url` was before a framework cut off the path of a mounting. */
  readonly originalUrl?: string | undefined;
  /** 1, or 2 for HTTP/2. */
  readonly httpVersionMajor?: number;
  /** The headers, with lower-case names. */
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
  /** What a framework has made of the body. */
  readonly body?: unknown;
  /** Whether everything that the client sent has come in. */
  readonly complete?: boolean;
  /** Whether somebody has read the body to its end. */
  readonly readableEnded: boolean;
  /** What was set with `setEncoding`; the body then comes as text. */
  readonly readableEncoding?: string | null;
  /** Whether the client is gone. */
  readonly destroyed: boolean;
  /** The connection. */
  readonly socket?: ConnectedSocket & {
    /** Listens to its end. */
    once?(event: "close", listener: () => void): unknown;
    /** Stops listening. */
    off?(event: "close", listener: () => void): unknown;
    /** Closes it. */
    destroy?(): unknown;
  };
  /** The stream of HTTP/2. */
  readonly stream?: {
    /** Whether it is closed. */
    readonly destroyed?: boolean | undefined;
    /** The connection. */
    readonly session?: object | undefined;
  };
  /** Listens to the body. */
  on(event: "data", listener: (chunk: Uint8Array | string) => void): unknown;
  /** Listens to failures. */
  on(event: "error", listener: (error: Error) => void): unknown;
  /** Listens to the body's end, or the client's. */
  on(event: "end" | "close", listener: () => void): unknown;
  /** Lets the client wait. */
  pause(): unknown;
  /** Reads on. */
  resume(): unknown;
}

/** The response of `node:http` or `node:http2`, or of a framework on top of them, as far as it is called. */
export interface NodeOutgoing {
  /** The status to be sent. */
  statusCode: number;
  /** Whether the status and the headers are on their way. */
  readonly headersSent: boolean;
  /** Whether `end` was called. */
  readonly writableEnded: boolean;
  /** Whether the connection is gone. HTTP/2 does not say. */
  readonly destroyed: boolean;
  /** Whether all of it has left the process, as far as the runtime tells. */
  readonly writableFinished?: boolean;
  /** The connection; `null` before and after its turn on it. */
  readonly socket?: unknown;
  /** Sets a header. */
  setHeader(name: string, value: string | string[]): unknown;
  /** A header as it is set. */
  getHeader?(name: string): number | string | string[] | undefined;
  /** Sends a part of the body; answers `false` when the client does not keep up. */
  write(chunk: string | Uint8Array): boolean;
  /** Ends the body. */
  end(): unknown;
  /** Sends the last part of the body. */
  end(chunk: string): unknown;
  /** Breaks the connection. */
  destroy(): unknown;
  /** The stream of HTTP/2. */
  readonly stream?: { close?(): unknown };
  /** Listens to failures. */
  on(event: "error", listener: (error: Error) => void): unknown;
  /** Listens to its end, or the connection's. */
  on(event: "close" | "finish", listener: () => void): unknown;
  /** Listens to the connection, which takes more. */
  once(event: "drain", listener: () => void): unknown;
  /** Stops listening. */
  off(event: "drain", listener: () => void): unknown;
}

/** How long a client that still sends may take to see that it was refused, in milliseconds. */
const LINGER_TIME = 1_000;

/** A body that nobody wants is read to its end to keep the connection, unless it is larger than this, in bytes. */
const KEEP_BYTES = 64 * 1024;

/** How much is thrown away of a body that nobody wants before the connection is cut, in bytes. */
const LINGER_BYTES = 16 * 1024 * 1024;

/** A response up to this size is taken by the system at once, unless the runtime says otherwise; in characters. */
const SMALL_LENGTH = 16 * 1024;

/** A request as the desk sees it. */
export class NodeRequestView implements IncomingRequest {
  readonly method: string;
  readonly url: string;
  /** What came in. */
  readonly request: NodeIncoming;
  /** Where the answer goes. */
  readonly response: NodeOutgoing;
  readonly #framework: { readonly body?: unknown };
  #hangUp: AbortSignalLike | undefined;
  #signal: AbortSignal | undefined;

  /**
   * @param request What came in.
   * @param response Where the answer goes: it tells when the client is gone.
   * @param framework Where a framework has put the body, if it has read it.
   * @throws {TypeError} For what is no request of `node:http`; names what it is.
   */
  constructor(
    request: NodeIncoming,
    response: NodeOutgoing,
    framework: { readonly body?: unknown } = request,
  ) {
    if (typeof request?.on !== "function") {
      throw new TypeError(`Cannot answer: expected a request of node:http, got ${nameShape(request)}`);
    }
    this.method = request.method ?? "GET";
    this.url = request.originalUrl ?? request.url ?? "/";
    this.request = request;
    this.response = response;
    this.#framework = framework;
  }

  header(name: string): string | null {
    // Bridges of other hosts hand over numbers, too.
    const value: unknown = this.request.headers[name];
    if (typeof value === "string") return value;
    if (value === undefined || value === null) return null;
    return Array.isArray(value) ? value.join(", ") : String(value);
  }

  async readJSON(maxBytes: number, bodies: BodyBudget): Promise<unknown> {
    const { request } = this;
    const declared = declaredLength(this.header("content-length"), maxBytes);
    // A framework in front may leave an empty object where it did not read: only a body at its end was read.
    if (request.readableEnded) return fromParsed(this.#framework.body, maxBytes);
    // What a framework has read, it has unpacked as well.
    checkEncoding(this.header("content-encoding"));
    return parseJSON(await readBody(request, { maxBytes, declared, bodies }));
  }

  remoteAddress(): string | null {
    return socketAddress(this.request.socket);
  }

  connection(): object | undefined {
    // The socket of HTTP/2 is a stand-in of each stream's own.
    return this.request.stream?.session ?? this.request.socket;
  }

  getSignal(): AbortSignalLike {
    return this.#hangUp ??= new NodeAbortSignal(this.request, this.response);
  }

  getContext(): unknown {
    return this.#framework;
  }

  toRequest(): Request {
    const { method, url } = this;
    // Hooks are asked again at every wake: one listener serves all of these requests.
    const signal = this.#signal ??= toAbortSignal(this.getSignal());
    return createRequest({ method, url, headers: this.request.headers, signal });
  }
}

/**
 * Sends a reply and settles when it is sent, or when nobody is there to take it. A failure ends the
 * connection, and never more than that.
 *
 * @param view The request.
 * @param reply Its reply.
 * @param responses Bounds how long the client may take.
 */
export async function send(view: NodeRequestView, reply: Reply, responses: ResponseBudget): Promise<void> {
  const { request, response } = view;
  const { status, headers, body } = reply;
  // A request is closed as well once it was read to its end.
  const isGone = isOver(request, response) || request.destroyed && request.complete === false;
  const isAnswered = response.headersSent || response.writableEnded;
  if (isGone || isAnswered) return await discard(body);
  try {
    response.statusCode = status;
    for (const name in headers) {
      // HTTP/2 has no such header, and warns of it.
      if (name === "connection" && request.httpVersionMajor === 2) continue;
      response.setHeader(name, name === "vary" ? joinVary(response, headers[name]!) : headers[name]!);
    }
    if (typeof body !== "string") {
      if (body === null) response.end();
      else await pump(body, view);
    } else if (request.complete === false && (headers.connection === "close" || sendsMuch(request))) {
      await sendAndLinger(request, response, body);
    } else {
      response.end(body);
    }
    if (typeof body === "string") awaitClient(view, body, responses);
  } catch {
    cutOff(request, response);
    await discard(body);
  }
}

/** Counts a response that was written as pending, unless it has left this process already. */
export function awaitClient(view: NodeRequestView, body: string, responses: ResponseBudget): void {
  const { request, response } = view;
  // Deno says of each response that it has left.
  if (body.length <= SMALL_LENGTH && response.writableFinished !== false) return;
  const signal = view.getSignal();
  if (signal.aborted) return;
  const size = new TextEncoder().encode(body).byteLength;
  const pending = responses.begin(size, () => cutOff(request, response));
  const end = () => pending.end();
  response.on("finish", end);
  onAbort(signal, end);
}

/** What the application in front has said that its answers depend on stays so. */
function joinVary(response: NodeOutgoing, ours: string): string {
  return vary(response.getHeader?.("vary"), ours);
}

/** Two values of `Vary` as one, each name once. */
export function vary(one: unknown, other: string): string {
  const names = [one ?? [], other].flat().flatMap((names) => String(names).split(","));
  const unique = new Map(names.map((name) => [name.trim().toLowerCase(), name.trim()] as const));
  unique.delete("");
  return [...unique.values()].join(", ");
}

function sendsMuch({ headers }: NodeIncoming): boolean {
  return headers["transfer-encoding"] !== undefined || Number(headers["content-length"] ?? 0) > KEEP_BYTES;
}

/** The body that a framework has read, and made something of. */
function fromParsed(body: unknown, maxBytes: number): unknown {
  if (body === undefined) {
    throw new Error("The body was read before it came here, and left nothing in request.body");
  }
  const view = typeof body === "string" ? new TextEncoder().encode(body) : body;
  if (!ArrayBuffer.isView(view)) return body;
  const bytes = new Uint8Array(view.buffer, view.byteOffset, view.byteLength);
  if (bytes.byteLength > maxBytes) throw tooLarge(maxBytes);
  return parseJSON(bytes);
}

function readBody(request: NodeIncoming, options: BodyOptions): Promise<Uint8Array> {
  return new Promise((resolve, reject) => {
    if (request.destroyed) return reject(brokenOff());
    new BodyReader(request, options, { resolve, reject });
  });
}

/** Whom a body is read for. */
interface BodyTaker {
  resolve(bytes: Uint8Array): void;
  reject(refusal: unknown): void;
}

/**
 * Reads a body by its events: iterating would destroy the connection when left early, answer and all. The listeners
 * stay until the request goes, since taking them off costs more than asking; they hold this reader, which therefore lets
 * go of everything when it is done, lest every client that waits keeps its body.
 */
class BodyReader {
  readonly #request: NodeIncoming;
  readonly #maxBytes: number;
  #taker: BodyTaker | undefined;
  #reading: BodyReservation | undefined;
  #chunks: Uint8Array[] = [];
  #length = 0;

  constructor(request: NodeIncoming, { maxBytes, declared, bodies }: BodyOptions, taker: BodyTaker) {
    this.#request = request;
    this.#maxBytes = maxBytes;
    this.#taker = taker;
    this.#reading = bodies.begin(declared, (refusal) => this.#stop(refusal));
    request.on("data", (chunk) => this.#take(chunk));
    request.on("end", () => this.#finish());
    request.on("close", () => {
      if (this.#taker !== undefined) this.#stop(brokenOff());
    });
    // An error that nobody listens to would end the process. What it means, "close" says.
    request.on("error", ignore);
  }

  #take(data: Uint8Array | string): void {
    if (this.#taker === undefined) return;
    let chunk: Uint8Array;
    try {
      chunk = toBytes(data, this.#request.readableEncoding);
      this.#length += chunk.byteLength;
      if (this.#length > this.#maxBytes) throw tooLarge(this.#maxBytes);
      this.#reading?.take(chunk.byteLength);
    } catch (refusal) {
      return this.#stop(refusal);
    }
    this.#chunks.push(chunk);
  }

  #finish(): void {
    const chunks = this.#chunks;
    this.#letGo()?.resolve(chunks.length === 1 ? chunks[0]! : concat(chunks, this.#length));
  }

  #stop(refusal: unknown): void {
    this.#request.pause();
    this.#letGo()?.reject(refusal);
  }

  #letGo(): BodyTaker | undefined {
    const taker = this.#taker;
    this.#reading?.end();
    this.#taker = this.#reading = undefined;
    this.#chunks = [];
    return taker;
  }
}

/** A part of a body in bytes, also where somebody has set an encoding. */
function toBytes(data: Uint8Array | string, encoding: string | null | undefined): Uint8Array {
  if (typeof data !== "string") return data;
  if (encoding === "utf8" || encoding === "utf-8") return new TextEncoder().encode(data);
  throw new Error(
    `Cannot read the body: setEncoding("${encoding}") was called before; expected none, or "utf8"`,
  );
}

function toAbortSignal(signal: AbortSignalLike): AbortSignal {
  const controller = new AbortController();
  onAbort(signal, () => controller.abort());
  return controller.signal;
}

/**
 * Writes a stream as fast as the client takes it, and no faster. One that ends while the client takes nothing was
 * given up: then the connection is cut, since nothing that is sent on it arrives.
 */
async function pump(body: ReadableStream<Uint8Array>, view: NodeRequestView): Promise<void> {
  const { request, response } = view;
  // What nobody reads stops the connection from being read, and so from telling its end.
  if (request.complete === false) discardBody(request, () => cutOff(request, response));
  const signal = view.getSignal();
  const reader = body.getReader();
  let isStuck = false;
  const cut = () => {
    if (isStuck) cutOff(request, response);
  };
  reader.closed.then(cut, cut);
  const stopListening = onAbort(signal, () => void reader.cancel().catch(ignore));
  response.on("error", ignore);
  try {
    while (true) {
      const { done, value } = await reader.read();
      if (done || signal.aborted) break;
      if (response.write(value)) continue;
      isStuck = true;
      await drained(response, signal);
      isStuck = false;
    }
  } finally {
    stopListening();
    reader.releaseLock();
  }
  response.end();
}

function drained(response: NodeOutgoing, signal: AbortSignalLike): Promise<void> {
  return new Promise((resolve) => {
    const settle = () => {
      response.off("drain", settle);
      signal.removeEventListener("abort", settle);
      resolve();
    };
    response.once("drain", settle);
    onAbort(signal, settle);
  });
}

/**
 * Sends a refusal to a client that is still sending. Closing now would make its system throw away the answer
 * unread (RFC 9112, 9.6), so what it sends goes nowhere until it stops, or for a while.
 */
function sendAndLinger(request: NodeIncoming, response: NodeOutgoing, body: string): Promise<void> {
  return new Promise((resolve) => {
    const finish = () => {
      clearTimeout(timer);
      if (!response.writableEnded) response.end();
      // The connection serves on: it is the stream on which nothing more is taken (RFC 9113, 8.1).
      if (request.httpVersionMajor === 2) response.stream?.close?.();
      resolve();
    };
    const timer = setTimeout(finish, LINGER_TIME);
    if (request.httpVersionMajor !== 2) response.setHeader("connection", "close");
    response.setHeader("content-length", String(new TextEncoder().encode(body).byteLength));
    response.on("error", ignore);
    response.write(body);
    request.on("end", finish);
    request.on("close", finish);
    discardBody(request, finish);
  });
}

/** Throws away what still comes of a body that nobody wants, and calls back where that is too much. */
function discardBody(request: NodeIncoming, onTooMuch: () => void): void {
  let left = LINGER_BYTES;
  request.on("error", ignore);
  request.on("data", (chunk) => {
    left -= chunk.length;
    if (left < 0) onTooMuch();
  });
  request.resume();
}

async function discard(body: Reply["body"]): Promise<void> {
  if (typeof body === "object") await body?.cancel().catch(ignore);
}

function ignore(): void {}
