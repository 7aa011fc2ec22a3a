/**
 * Reads a body up to a limit.
 *
 * @module
 */
import { type BodyBudget, type BodyReservation, CLOSE_CONNECTION } from "../limits/body_budget.ts";
import { RealityError, RefusalError } from "../errors.ts";
import { utf8Length } from "../store/node.ts";

const UTF8 = new TextDecoder("utf-8", { fatal: true });

/** Replaces invalid UTF-8 by U+FFFD. On some runtimes, this is several times faster than the strict decoder. */
const LENIENT_UTF8 = new TextDecoder("utf-8");

/** The length of a byte order mark in UTF-8. */
const BOM_LENGTH = 3;

/** The refusal of a body above the limit. */
export function tooLarge(maxBytes: number): RefusalError {
  return new RefusalError(
    "ERR_REALITY_BODY_TOO_LARGE",
    `Cannot read the body: larger than maxBodyBytes (${maxBytes})`,
    CLOSE_CONNECTION,
  );
}

/** The refusal of a body that was not sent completely. */
export function brokenOff(cause?: unknown): RefusalError {
  return new RefusalError("ERR_REALITY_BAD_REQUEST", "Cannot read the body: it broke off", { cause });
}

/**
 * Checks that a body is not compressed: a compressed body can become a thousand times larger.
 *
 * @param header The value of `Content-Encoding`, or `null`.
 * @throws {RefusalError} `MEDIA_TYPE` when it is encoded; the reply says that no encoding is accepted.
 */
export function checkEncoding(header: string | null): void {
  if (header === null || /^(?:identity)?$/i.test(header.trim())) return;
  throw new RefusalError(
    "ERR_REALITY_MEDIA_TYPE",
    `Cannot read the body: expected no Content-Encoding, got ${JSON.stringify(header.slice(0, 100))}`,
    { headers: { "accept-encoding": "identity" } },
  );
}

/**
 * The declared length of a body, checked before it is read; 0 if it was not declared, or not as a number.
 *
 * @param header The value of `Content-Length`, or `null`.
 * @throws {RefusalError} `BODY_TOO_LARGE` when it is above the limit.
 */
export function declaredLength(header: string | null, maxBytes: number): number {
  if (header === null) return 0;
  const length = Number(header);
  if (length > maxBytes) throw tooLarge(maxBytes);
  // Not every host checks it. All bodies share one sum of their lengths.
  return length > 0 ? length : 0;
}

/** How a body is read, and the limits that it shares with other bodies. */
export interface BodyOptions {
  readonly maxBytes: number;
  /** The declared length; 0 if it was not declared. */
  readonly declared: number;
  readonly bodies: BodyBudget;
}

/**
 * Reads a stream of bytes to its end, or to its time limit.
 *
 * @param body The stream.
 * @param options The limits.
 * @returns All of its bytes.
 * @throws {RefusalError} `BODY_TOO_LARGE` above the limit, `TIMEOUT` when it takes too long, `OVERLOADED` when all
 *   bodies together hold too many bytes, `BAD_REQUEST` when it breaks off.
 */
export async function readBytes(body: ReadableStream<Uint8Array>, options: BodyOptions): Promise<Uint8Array> {
  const { maxBytes, declared, bodies } = options;
  const reader = body.getReader();
  const chunks: Uint8Array[] = [];
  let length = 0;
  let reservation: BodyReservation | undefined;
  try {
    let stop: (refusal: RealityError) => void = () => {};
    const stopped = new Promise<never>((_, reject) => stop = reject);
    reservation = bodies.begin(declared, (refusal) => stop(refusal));
    while (true) {
      const read = await Promise.race([reader.read(), stopped]);
      if (read.done) break;
      length += read.value.byteLength;
      if (length > maxBytes) throw tooLarge(maxBytes);
      reservation.take(read.value.byteLength);
      chunks.push(read.value);
    }
  } catch (cause) {
    // Do not wait for this: a runtime may settle it only after the client has sent the rest.
    reader.cancel().catch(() => {});
    throw cause instanceof RealityError ? cause : brokenOff(cause);
  } finally {
    reservation?.end();
  }
  return chunks.length === 1 ? chunks[0]! : concat(chunks, length);
}

/** Concatenates the chunks of a body. */
export function concat(chunks: readonly Uint8Array[], length: number): Uint8Array {
  const bytes = new Uint8Array(length);
  let offset = 0;
  for (const chunk of chunks) {
    bytes.set(chunk, offset);
    offset += chunk.byteLength;
  }
  return bytes;
}

/** A request whose body is parsed. */
export interface BodyOwner {
  /** Set if the strings of the body contain only visible ASCII: they need no check of each character. */
  hasPlainStrings?: boolean;
}

/**
 * Parses bytes as JSON in UTF-8.
 *
 * @param bytes The whole body.
 * @param owner Learns what is known about all strings of the body.
 * @throws {RefusalError} `BAD_REQUEST` when they are not JSON in UTF-8.
 */
export function parseJSON(bytes: Uint8Array | ArrayBuffer, owner?: BodyOwner): unknown {
  try {
    const text = LENIENT_UTF8.decode(bytes);
    if (text.includes("\ufffd")) return JSON.parse(UTF8.decode(bytes));
    if (owner !== undefined) owner.hasPlainStrings = hasPlainStrings(text, bytes.byteLength);
    return JSON.parse(text);
  } catch (cause) {
    throw notJSON(cause);
  }
}

/**
 * Parses a text as JSON that a runtime has decoded from a body. That is faster than decoding bytes here, but a runtime
 * replaces what is not UTF-8 by U+FFFD. Such a text is longer than the body was, unless a character of four bytes lacks
 * its last one.
 *
 * @param text The text.
 * @param length The length of the body in bytes.
 * @param owner Learns what is known about all strings of the body.
 * @throws {RefusalError} `BAD_REQUEST` when the text is not JSON, or the body was not UTF-8.
 */
export function parseDecoded(text: string, length: number, owner: BodyOwner): unknown {
  try {
    if (text.includes("\ufffd")) checkLength(utf8Length(text), length);
    else owner.hasPlainStrings = hasPlainStrings(text, length);
    return JSON.parse(text);
  } catch (cause) {
    throw notJSON(cause);
  }
}

/**
 * Whether the strings of a JSON text contain only visible ASCII. Searching the text a few times costs much less than
 * checking each string in it: a text that is as long as its bytes is ASCII, JSON allows control characters only as
 * escapes, and only DEL is left.
 *
 * @param text A text without U+FFFD, which would stand for bytes that are not UTF-8.
 * @param length The length of the text in bytes of UTF-8.
 */
function hasPlainStrings(text: string, length: number): boolean {
  return text.length === length && !text.includes("\\") && !text.includes("\x7f");
}

function checkLength(found: number, length: number): void {
  // Decoding drops a byte order mark.
  if (found !== length && found + BOM_LENGTH !== length) throw new TypeError("The body is not UTF-8");
}

function notJSON(cause: unknown): RefusalError {
  return new RefusalError("ERR_REALITY_BAD_REQUEST", "Cannot read the body: expected JSON in UTF-8", {
    cause,
  });
}
