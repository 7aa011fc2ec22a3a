/**
 * Reads a body up to a limit, counting while it comes in.
 *
 * @module
 */
import { type BodyBudget, type BodyReservation, UnreadRefusal } from "../limits/body_budget.ts";
import { RealityError, RefusalError } from "../errors.ts";

const UTF8 = new TextDecoder("utf-8", { fatal: true });

/** Puts U+FFFD in the place of what is not UTF-8; several times as quick as the strict one on some runtimes. */
const LENIENT_UTF8 = new TextDecoder("utf-8");

/** The refusal of a body over the limit. */
export function tooLarge(maxBytes: number): RefusalError {
  return new UnreadRefusal(
    "ERR_REALITY_BODY_TOO_LARGE",
    `Cannot read the body: larger than maxBodyBytes (${maxBytes})`,
  );
}

/** The refusal of a body whose sender went away. */
export function brokenOff(cause?: unknown): RefusalError {
  return new RefusalError("ERR_REALITY_BAD_REQUEST", "Cannot read the body: it broke off", { cause });
}

/** A refusal that tells which encoding is taken: none. */
export class EncodingRefusal extends RefusalError {}

/**
 * Checks that a body comes as it is: what is compressed can become a thousand times as large once it is read.
 *
 * @param header The value of `Content-Encoding`, or `null`.
 * @throws {EncodingRefusal} `MEDIA_TYPE` when it is encoded.
 */
export function checkEncoding(header: string | null): void {
  if (header === null || /^(?:identity)?$/i.test(header.trim())) return;
  throw new EncodingRefusal(
    "ERR_REALITY_MEDIA_TYPE",
    `Cannot read the body: expected no Content-Encoding, got ${JSON.stringify(header.slice(0, 100))}`,
  );
}

/**
 * The length that a body declares, looked at before anything is read; 0 for none.
 *
 * @param header The value of `Content-Length`, or `null`.
 * @throws {RefusalError} `BODY_TOO_LARGE` when it is over the limit.
 */
export function declaredLength(header: string | null, maxBytes: number): number {
  if (header === null) return 0;
  const length = Number(header);
  if (length > maxBytes) throw tooLarge(maxBytes);
  return length;
}

/** How a body is read: at most so many bytes, along with all the others that are being read. */
export interface BodyOptions {
  readonly maxBytes: number;
  /** The length that it declares; 0 for none. */
  readonly declared: number;
  readonly bodies: BodyBudget;
}

/**
 * Reads a stream of bytes to its end, or to the end of its time.
 *
 * @param body The bytes as they come in.
 * @param options How much of it is read.
 * @returns All of them.
 * @throws {RefusalError} `BODY_TOO_LARGE` past the limit, `TIMEOUT` when it takes too long, `OVERLOADED` when all
 *   bodies together hold too much, `BAD_REQUEST` when it breaks off.
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
    // Not waited for: a runtime may settle it only when the client has sent the rest.
    reader.cancel().catch(() => {});
    throw cause instanceof RealityError ? cause : brokenOff(cause);
  } finally {
    reservation?.end();
  }
  return chunks.length === 1 ? chunks[0]! : concat(chunks, length);
}

/** Puts the pieces of a body together. */
export function concat(chunks: readonly Uint8Array[], length: number): Uint8Array {
  const bytes = new Uint8Array(length);
  let offset = 0;
  for (const chunk of chunks) {
    bytes.set(chunk, offset);
    offset += chunk.byteLength;
  }
  return bytes;
}

/**
 * Reads bytes as JSON in UTF-8.
 *
 * @throws {RefusalError} `BAD_REQUEST` when they are something else.
 */
export function parseJSON(bytes: Uint8Array | ArrayBuffer): unknown {
  try {
    const text = LENIENT_UTF8.decode(bytes);
    return JSON.parse(text.includes("\ufffd") ? UTF8.decode(bytes) : text);
  } catch (cause) {
    throw new RefusalError("ERR_REALITY_BAD_REQUEST", "Cannot read the body: expected JSON in UTF-8", {
      cause,
    });
  }
}
