/**
 * A request of `node:http` as the request handler reads it. The fetch adapter would work too, but creating a
 * `Request` and a `Response` costs Node more time than answering does.
 *
 * @module
 */
import { type AbortSignalLike, onAbort } from "../../src/abort_signal.ts";
import type { BodyBudget } from "../../src/limits/body_budget.ts";
import type { IncomingRequest } from "../../src/http/exchange.ts";
import { checkEncoding, declaredLength } from "../../src/http/read_body.ts";
import { nameShape, socketAddress } from "../../src/http/request_shape.ts";
import { createRequest } from "../../src/http/target.ts";
import { parsedBody, readBody } from "./body.ts";
import { NodeAbortSignal } from "./disconnect.ts";
import type { NodeIncoming, NodeOutgoing } from "./types.ts";

/** A request of `node:http` as the request handler reads it. */
export class NodeRequest implements IncomingRequest {
  readonly method: string;
  readonly url: string;
  /** Node's request. */
  readonly incoming: NodeIncoming;
  /** Node's response. */
  readonly outgoing: NodeOutgoing;
  hasPlainStrings = false;
  readonly #framework: { readonly body?: unknown };
  #disconnect: AbortSignalLike | undefined;
  #signal: AbortSignal | undefined;

  /**
   * @param incoming Node's request.
   * @param outgoing Node's response: it closes when the client disconnects.
   * @param framework The framework's request, which has the body if the framework parsed it.
   * @throws {TypeError} If `incoming` is not a request of `node:http`; the message names what it is.
   */
  constructor(
    incoming: NodeIncoming,
    outgoing: NodeOutgoing,
    framework: { readonly body?: unknown } = incoming,
  ) {
    if (typeof incoming?.on !== "function") {
      throw new TypeError(`Cannot answer: expected a request of node:http, got ${nameShape(incoming)}`);
    }
    this.method = incoming.method ?? "GET";
    this.url = incoming.originalUrl ?? incoming.url ?? "/";
    this.incoming = incoming;
    this.outgoing = outgoing;
    this.#framework = framework;
  }

  header(name: string): string | null {
    // Adapters of other hosts also set numbers.
    const value: unknown = this.incoming.headers[name];
    if (typeof value === "string") return value;
    if (value === undefined || value === null) return null;
    return Array.isArray(value) ? value.join(", ") : String(value);
  }

  readJSON(maxBytes: number, bodies: BodyBudget): Promise<unknown> {
    // A single promise, because every request passes here.
    return new Promise((resolve, reject) => {
      const { incoming } = this;
      const declared = declaredLength(this.header("content-length"), maxBytes);
      // A framework may set an empty object for a body that it did not read: use it only if the body was read to its end.
      if (incoming.readableEnded) return resolve(parsedBody(this.#framework.body, maxBytes));
      // A body that a framework has read is already decompressed.
      checkEncoding(this.header("content-encoding"));
      readBody(this, { maxBytes, declared, bodies }, { resolve, reject });
    });
  }

  remoteAddress(): string | null {
    return socketAddress(this.incoming.socket);
  }

  connection(): object | undefined {
    // Each stream of HTTP/2 has a socket object of its own: use the session.
    return this.incoming.stream?.session ?? this.incoming.socket;
  }

  getSignal(): AbortSignalLike {
    return this.#disconnect ??= new NodeAbortSignal(this.incoming, this.outgoing);
  }

  getContext(): unknown {
    return this.#framework;
  }

  toRequest(): Request {
    const { method, url } = this;
    // Hooks are called again at every wake: all of these requests share one listener.
    const signal = this.#signal ??= toAbortSignal(this.getSignal());
    return createRequest({ method, url, headers: this.incoming.headers, signal });
  }
}

function toAbortSignal(signal: AbortSignalLike): AbortSignal {
  const controller = new AbortController();
  onAbort(signal, () => controller.abort());
  return controller.signal;
}
