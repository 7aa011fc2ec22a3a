/**
 * The body of a `node:http` request: read from the socket, or parsed by a framework before.
 *
 * @module
 */
import type { BodyReservation } from "../../src/limits/body_budget.ts";
import {
  type BodyOptions,
  type BodyOwner,
  brokenOff,
  concat,
  parseJSON,
  tooLarge,
} from "../../src/http/read_body.ts";
import type { NodeIncoming } from "./types.ts";

/**
 * Returns the value of a body that a framework has read: parsed already, or text or bytes that are parsed here.
 *
 * @param body The body as the framework set it.
 * @param maxBytes The largest body that is accepted, in bytes.
 * @throws {Error} If the framework read the body and did not keep it.
 * @throws {RefusalError} `BODY_TOO_LARGE` above `maxBytes`; `BAD_REQUEST` if text or bytes are not JSON.
 */
export function parsedBody(body: unknown, maxBytes: number): unknown {
  if (body === undefined) {
    throw new Error("Cannot read the body: it was read before, and request.body is undefined");
  }
  const view = typeof body === "string" ? new TextEncoder().encode(body) : body;
  if (!ArrayBuffer.isView(view)) return body;
  const bytes = new Uint8Array(view.buffer, view.byteOffset, view.byteLength);
  if (bytes.byteLength > maxBytes) throw tooLarge(maxBytes);
  return parseJSON(bytes);
}

/**
 * Reads a body from the socket, as JSON.
 *
 * @param owner What reads the body of Node's request.
 * @param options The limits of this body and of all bodies together.
 * @param settle Gets the value, or the refusal: `BODY_TOO_LARGE`, `BAD_REQUEST` or `TIMEOUT`.
 * @throws {RefusalError} `OVERLOADED` when there is no memory for the body.
 */
export function readBody(owner: NodeBodyOwner, options: BodyOptions, settle: Settle): void {
  if (owner.incoming.destroyed) settle.reject(brokenOff());
  else new BodyReader(owner, options, settle);
}

/** A request of Node, and what is known about its body. */
interface NodeBodyOwner extends BodyOwner {
  readonly incoming: NodeIncoming;
}

/** Settles the promise of a body. */
interface Settle {
  resolve(value: unknown): void;
  reject(refusal: unknown): void;
}

/**
 * Reads a body by events. Iterating would destroy the connection, answer included, when the loop ends early. The
 * listeners stay until the request is collected, because removing them costs more than a check. They refer to this
 * reader, so it drops the body and the promise when it is done: otherwise every waiting request would keep its body.
 */
class BodyReader {
  readonly #request: NodeIncoming;
  readonly #maxBytes: number;
  #owner: NodeBodyOwner | undefined;
  #settle: Settle | undefined;
  #reservation: BodyReservation | undefined;
  #chunks: Uint8Array[] = [];
  #length = 0;

  constructor(owner: NodeBodyOwner, { maxBytes, declared, bodies }: BodyOptions, settle: Settle) {
    const request = this.#request = owner.incoming;
    this.#owner = owner;
    this.#maxBytes = maxBytes;
    this.#settle = settle;
    this.#reservation = bodies.begin(declared, (refusal) => this.#stop(refusal));
    request.on("data", (chunk) => this.#append(chunk));
    request.on("end", () => this.#finish());
    request.on("close", () => {
      if (this.#settle !== undefined) this.#stop(brokenOff());
    });
    // An "error" event without a listener would end the process. "close" follows it and is handled.
    request.on("error", ignore);
  }

  #append(data: Uint8Array | string): void {
    if (this.#settle === undefined) return;
    let chunk: Uint8Array;
    try {
      chunk = toBytes(data, this.#request.readableEncoding);
      this.#length += chunk.byteLength;
      if (this.#length > this.#maxBytes) throw tooLarge(this.#maxBytes);
      this.#reservation?.take(chunk.byteLength);
    } catch (refusal) {
      return this.#stop(refusal);
    }
    this.#chunks.push(chunk);
  }

  #finish(): void {
    const chunks = this.#chunks;
    const owner = this.#owner;
    const settle = this.#release();
    if (settle === undefined) return;
    try {
      settle.resolve(parseJSON(chunks.length === 1 ? chunks[0]! : concat(chunks, this.#length), owner));
    } catch (refusal) {
      settle.reject(refusal);
    }
  }

  #stop(refusal: unknown): void {
    this.#request.pause();
    this.#release()?.reject(refusal);
  }

  #release(): Settle | undefined {
    const settle = this.#settle;
    this.#reservation?.end();
    this.#settle = this.#reservation = this.#owner = undefined;
    this.#chunks = [];
    return settle;
  }
}

/** Returns a part of a body in bytes, also if the application has set an encoding. */
function toBytes(data: Uint8Array | string, encoding: string | null | undefined): Uint8Array {
  if (typeof data !== "string") return data;
  if (encoding === "utf8" || encoding === "utf-8") return new TextEncoder().encode(data);
  throw new Error(
    `Cannot read the body: setEncoding("${encoding}") was called before; expected none, or "utf8"`,
  );
}

function ignore(): void {}
