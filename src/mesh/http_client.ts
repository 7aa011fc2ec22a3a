/**
 * One POST request to another server and its answer, within limits of time and size.
 *
 * @module
 */
import type { Clock } from "../clock.ts";
import { PeerError } from "../errors.ts";
import { kindOf } from "../store/node.ts";

/** What a request to another server needs. */
export interface HTTPClientOptions {
  readonly clock: Clock;
  /** Replaces the runtime's `fetch`. */
  readonly fetch?: ((request: Request) => Promise<Response>) | undefined;
  /** How long one exchange may take, hello and callbacks included, in milliseconds. */
  readonly timeout: number;
  /** The maximum size of an answer, in bytes. */
  readonly maxBytes: number;
}

/** Counts the bytes of an exchange: bodies only, before any compression. */
export interface ByteCounts {
  sentBytes: number;
  receivedBytes: number;
}

/** The cause of a `PeerError` for an answer whose status is not 200. */
export class StatusError extends Error {
  override readonly name: string = "StatusError";
  /** The answer's HTTP status. 413: the message was too large for the peer, so send less. */
  readonly status: number;

  constructor(status: number) {
    super(`It answered ${status}${HINTS.get(status) ?? ""}`);
    this.status = status;
  }
}

const HINTS: ReadonlyMap<number, string> = new Map([
  [401, ": it has another meshSecret or none, or does not list this server in its meshPeers"],
  [403, ": it has no meshPeers and no meshSecret"],
  [404, ": nothing is mounted at this path"],
  [413, ": the message is larger than it takes"],
]);

/** The HTTP status behind an error of an exchange; `undefined` when there was no answer, or it was 200. */
export function statusOf(error: unknown): number | undefined {
  return error instanceof PeerError && error.cause instanceof StatusError ? error.cause.status : undefined;
}

/**
 * Sends one envelope and returns the envelope of the answer.
 *
 * @param url The URL.
 * @param gossip The envelope.
 * @param signal Aborts the call at once, even if `fetch` ignores it.
 * @param byteCounts Counts the bytes.
 * @throws {PeerError} `UNREACHABLE` without an answer, with one that breaks off, or with a status of 500 and above;
 *   `REFUSED` for any other status but 200, redirects above all; `REPLY` for an answer that is too large or not JSON.
 */
export async function postEnvelope(
  { fetch, maxBytes }: HTTPClientOptions,
  url: string,
  { gossip, signal, byteCounts }: { gossip: unknown; signal: AbortSignal; byteCounts?: ByteCounts },
): Promise<unknown> {
  const bytes = new TextEncoder().encode(JSON.stringify({ known: {}, gossip }));
  const response = await call(fetch, url, bytes, signal);
  if (byteCounts) byteCounts.sentBytes += bytes.byteLength;
  try {
    checkStatus(url, response);
    const type = response.headers.get("content-type") ?? "none";
    if (!/^application\/(?:[\w.+-]+\+)?json *(?:;|$)/i.test(type)) {
      throw new PeerError(url, "reply", `The answer's type is ${JSON.stringify(type.slice(0, 100))}`);
    }
    if (Number(response.headers.get("content-length")) > maxBytes) throw tooLarge(url, maxBytes);
  } catch (error) {
    // Not awaited: a runtime may settle it only when the other side has sent the rest.
    response.body?.cancel().catch(() => {});
    throw error;
  }
  return parseAnswer(url, await readAnswer(url, response, { maxBytes, signal, byteCounts }));
}

/**
 * Runs work with a deadline: its signal aborts at the deadline, or when `outer` aborts. The signal also aborts when the
 * work is done, to cancel what still listens to it.
 */
export async function withDeadline<T>(
  { clock, timeout }: Pick<HTTPClientOptions, "clock" | "timeout">,
  outer: AbortSignal | undefined,
  work: (signal: AbortSignal) => Promise<T>,
): Promise<T> {
  const controller = new AbortController();
  const end = () => controller.abort(outer?.reason);
  if (outer?.aborted) end();
  outer?.addEventListener("abort", end, { once: true });
  const cancel = clock.after(timeout, () => controller.abort(new Error(`No answer within ${timeout} ms`)));
  try {
    return await work(controller.signal);
  } finally {
    cancel();
    outer?.removeEventListener("abort", end);
    controller.abort();
  }
}

/** The promise's outcome, or the signal's reason if that comes first. */
export function orAbort<T>(promise: Promise<T>, signal: AbortSignal): Promise<T> {
  return new Promise((resolve, reject) => {
    const end = () => reject(signal.reason);
    if (signal.aborted) end();
    signal.addEventListener("abort", end, { once: true });
    promise.then(resolve, reject).finally(() => signal.removeEventListener("abort", end));
  });
}

async function call(
  fetch: HTTPClientOptions["fetch"],
  url: string,
  body: Uint8Array<ArrayBuffer>,
  signal: AbortSignal,
): Promise<Response> {
  try {
    signal.throwIfAborted();
    const headers = { "content-type": "application/json", "accept": "application/json" };
    const init: RequestInit = { method: "POST", headers, body, redirect: "manual", signal };
    // A `Request` is created only for a custom `fetch`: on Node its body would pass through one more stream.
    const answering = fetch === undefined ? globalThis.fetch(url, init) : fetch(new Request(url, init));
    try {
      return await orAbort(answering, signal);
    } catch (error) {
      // Cancel an answer that arrives later.
      answering.then((late) => late.body?.cancel()).catch(() => {});
      throw error;
    }
  } catch (cause) {
    throw unreachable(url, cause);
  }
}

/** Throws for every status but 200. A redirect is never followed: it may lead anywhere. */
function checkStatus(url: string, { status, type }: Response): void {
  if (status === 200) return;
  if (type === "opaqueredirect" || status >= 300 && status < 400) {
    throw new PeerError(url, "refused", "It answered with a redirect, and those are not followed");
  }
  throw new PeerError(url, status >= 500 ? "unreachable" : "refused", new StatusError(status));
}

async function readAnswer(
  url: string,
  response: Response,
  { maxBytes, signal, byteCounts }: {
    maxBytes: number;
    signal: AbortSignal;
    byteCounts: ByteCounts | undefined;
  },
): Promise<string> {
  if (response.body === null) return "";
  const reader: ReadableStreamDefaultReader<Uint8Array> = response.body.getReader();
  const decoder = new TextDecoder("utf-8", { fatal: true });
  let length = 0;
  let text = "";
  try {
    while (true) {
      const { done, value } = await orAbort(reader.read(), signal).catch((cause) => {
        throw unreachable(url, cause);
      });
      if (done) return text + decode(url, decoder);
      length += value.byteLength;
      if (byteCounts) byteCounts.receivedBytes += value.byteLength;
      if (length > maxBytes) throw tooLarge(url, maxBytes);
      text += decode(url, decoder, value);
    }
  } catch (error) {
    reader.cancel().catch(() => {});
    throw error;
  }
}

function decode(url: string, decoder: TextDecoder, bytes?: Uint8Array): string {
  try {
    return decoder.decode(bytes, { stream: bytes !== undefined });
  } catch {
    throw new PeerError(url, "reply", "The answer is not UTF-8");
  }
}

function parseAnswer(url: string, text: string): unknown {
  let answer: unknown;
  try {
    answer = JSON.parse(text);
  } catch {
    throw new PeerError(url, "reply", "The answer is not JSON");
  }
  if (typeof answer === "object" && answer !== null && Object.hasOwn(answer, "gossip")) {
    return (answer as { gossip: unknown }).gossip;
  }
  throw new PeerError(url, "reply", `The answer has no "gossip": it is ${kindOf(answer)}`);
}

function tooLarge(url: string, maxBytes: number): PeerError {
  return new PeerError(url, "reply", `The answer is larger than ${maxBytes} bytes`);
}

/** Runtimes wrap the cause of a failed connection: use the inner error. */
function unreachable(url: string, cause: unknown): PeerError {
  const inner = cause instanceof Error ? cause.cause : undefined;
  const found = inner instanceof Error && inner.message !== "" ? inner : cause;
  return new PeerError(url, "unreachable", found ?? "The exchange was called off");
}
