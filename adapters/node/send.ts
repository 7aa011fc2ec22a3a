/**
 * Sends a reply through a response of `node:http`.
 *
 * @module
 */
import { type AbortSignalLike, onAbort } from "../../src/abort_signal.ts";
import type { PulledBody, Reply } from "../../src/http/exchange.ts";
import type { ResponseBudget } from "../../src/limits/pending_responses.ts";
import { cutOff, isOver } from "./disconnect.ts";
import type { NodeRequest } from "./request.ts";
import type { NodeIncoming, NodeOutgoing } from "./types.ts";

/** Time to keep reading from a refused client, so that it can read the refusal, in milliseconds. */
const LINGER_TIME = 1_000;

/** Largest body that is read to its end and dropped so that the connection can be used again, in bytes. */
const KEEP_BYTES = 64 * 1024;

/** How much of an unwanted body is dropped before the connection is closed, in bytes. */
const LINGER_BYTES = 16 * 1024 * 1024;

/** Responses up to this many characters count as sent once written, unless the runtime says otherwise. */
const SMALL_LENGTH = 16 * 1024;

/**
 * Sends a reply. A failure closes the connection and is not thrown. A body in parts is sent after the promise has
 * resolved.
 *
 * @param request The request.
 * @param reply Its reply.
 * @param responses The budget that limits how long the client may take to read the response.
 */
export async function send(request: NodeRequest, reply: Reply, responses: ResponseBudget): Promise<void> {
  const { incoming, outgoing } = request;
  const { status, headers, body } = reply;
  // Node also destroys a request once it was read to its end.
  const isGone = isOver(incoming, outgoing) || incoming.destroyed && incoming.complete === false;
  const isAnswered = outgoing.headersSent || outgoing.writableEnded;
  if (isGone || isAnswered) return discard(body);
  try {
    outgoing.statusCode = status;
    for (const name in headers) {
      // HTTP/2 has no such header, and Node warns of it.
      if (name === "connection" && incoming.httpVersionMajor === 2) continue;
      outgoing.setHeader(name, name === "vary" ? joinVary(outgoing, headers[name]!) : headers[name]!);
    }
    if (typeof body !== "string") {
      if (body === null) outgoing.end();
      else new BodyWriter(body, request);
    } else if (incoming.complete === false && (headers.connection === "close" || sendsMuch(incoming))) {
      await sendAndLinger(incoming, outgoing, body);
    } else {
      outgoing.end(body);
    }
    if (typeof body === "string") trackUnsent(request, body, responses);
  } catch {
    cutOff(incoming, outgoing);
    discard(body);
  }
}

/**
 * Counts a response as pending until the client has read it, unless it has left this process already.
 *
 * @param request The request.
 * @param body The body that was written.
 * @param responses The budget for pending responses.
 */
export function trackUnsent(request: NodeRequest, body: string, responses: ResponseBudget): void {
  const { incoming, outgoing } = request;
  if (body.length <= SMALL_LENGTH && hasLeft(incoming, outgoing)) return;
  const signal = request.getSignal();
  if (signal.aborted) return;
  const size = new TextEncoder().encode(body).byteLength;
  const pending = responses.begin(size, () => cutOff(incoming, outgoing));
  const end = () => pending.end();
  outgoing.on("finish", end);
  onAbort(signal, end);
}

/** Whether a small response has left the process. */
function hasLeft(
  { httpVersionMajor }: NodeIncoming,
  { writableFinished, writableLength }: NodeOutgoing,
): boolean {
  // Since version 24, Node sets `writableFinished` later, even if nothing is buffered.
  return writableFinished !== false || writableLength === 0 && httpVersionMajor !== 2;
}

/** Keeps the `Vary` that the application has set. */
function joinVary(outgoing: NodeOutgoing, added: string): string {
  return mergeVary(outgoing.getHeader?.("vary"), added);
}

/**
 * Merges two values of `Vary`. Each name is listed once.
 *
 * @param value The value that is set: a string, an array, or nothing.
 * @param added The value to add.
 */
export function mergeVary(value: unknown, added: string): string {
  const names = [value ?? [], added].flat().flatMap((names) => String(names).split(","));
  const unique = new Map(names.map((name) => [name.trim().toLowerCase(), name.trim()] as const));
  unique.delete("");
  return [...unique.values()].join(", ");
}

function sendsMuch({ headers }: NodeIncoming): boolean {
  return headers["transfer-encoding"] !== undefined || Number(headers["content-length"] ?? 0) > KEEP_BYTES;
}

/**
 * Writes a body no faster than the client reads it. A body that ends while the client reads nothing has stalled: close the
 * connection, because nothing sent on it would arrive. A `ReadableStream` and async functions would take several times
 * the memory while nothing is sent.
 */
class BodyWriter {
  readonly #body: PulledBody;
  readonly #request: NodeRequest;
  #isStuck = false;

  constructor(body: PulledBody, request: NodeRequest) {
    const { incoming, outgoing } = request;
    this.#body = body;
    this.#request = request;
    // An unread body keeps Node from reading the connection, and so from noticing that it closes.
    if (incoming.complete === false) discardBody(incoming, () => cutOff(incoming, outgoing));
    body.onEnd = () => {
      if (this.#isStuck) cutOff(incoming, outgoing);
    };
    outgoing.on("error", ignore);
    // Until the head is sent, Node keeps it as some thirty pieces of text.
    outgoing.flushHeaders?.();
    this.#pull();
  }

  #pull(): void {
    void this.#body.next().then((part) => this.#write(part));
  }

  #write(part: string | null): void {
    const { incoming, outgoing } = this.#request;
    try {
      // A body ends when its client disconnects.
      if (part === null) outgoing.end();
      else if (outgoing.write(part)) this.#pull();
      else this.#pullOnceDrained();
    } catch {
      cutOff(incoming, outgoing);
      this.#body.cancel();
    }
  }

  #pullOnceDrained(): void {
    this.#isStuck = true;
    onDrained(this.#request.outgoing, this.#request.getSignal(), () => {
      this.#isStuck = false;
      this.#pull();
    });
  }
}

function onDrained(outgoing: NodeOutgoing, signal: AbortSignalLike, then: () => void): void {
  const settle = () => {
    outgoing.off("drain", settle);
    signal.removeEventListener("abort", settle);
    then();
  };
  outgoing.once("drain", settle);
  onAbort(signal, settle);
}

/**
 * Sends a refusal to a client that is still sending its body. If the connection closed now, the client's system would
 * drop the answer unread (RFC 9112, 9.6). So the rest of the body is read and dropped, for `LINGER_TIME` at most.
 */
function sendAndLinger(incoming: NodeIncoming, outgoing: NodeOutgoing, body: string): Promise<void> {
  return new Promise((resolve) => {
    const finish = () => {
      clearTimeout(timer);
      if (!outgoing.writableEnded) outgoing.end();
      // On HTTP/2 the connection stays open: close only the stream (RFC 9113, 8.1).
      if (incoming.httpVersionMajor === 2) outgoing.stream?.close?.();
      resolve();
    };
    const timer = setTimeout(finish, LINGER_TIME);
    if (incoming.httpVersionMajor !== 2) outgoing.setHeader("connection", "close");
    outgoing.setHeader("content-length", String(new TextEncoder().encode(body).byteLength));
    outgoing.on("error", ignore);
    outgoing.write(body);
    incoming.on("end", finish);
    incoming.on("close", finish);
    discardBody(incoming, finish);
  });
}

/** Reads and drops the rest of a body. Calls `onTooMuch` after `LINGER_BYTES`. */
function discardBody(incoming: NodeIncoming, onTooMuch: () => void): void {
  let left = LINGER_BYTES;
  incoming.on("error", ignore);
  incoming.on("data", (chunk) => {
    left -= chunk.length;
    if (left < 0) onTooMuch();
  });
  incoming.resume();
}

function discard(body: Reply["body"]): void {
  if (typeof body === "object") body?.cancel();
}

function ignore(): void {}
