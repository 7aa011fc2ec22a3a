/**
 * Reads a body up to a limit, counting while it comes in.
 *
 * @module
 */
import { RefusalError } from "../errors.ts";

const UTF8 = new TextDecoder("utf-8", { fatal: true });

/** The refusal of a body over the limit. */
export function tooLarge(maxBytes: number): RefusalError {
  return new RefusalError(
    "ERR_REALITY_BODY_TOO_LARGE",
    `Cannot read the body: larger than maxBodyBytes (${maxBytes})`,
  );
}

/** The refusal of a body whose sender went away. */
export function brokenOff(cause?: unknown): RefusalError {
  return new RefusalError("ERR_REALITY_BAD_REQUEST", "Cannot read the body: it broke off", { cause });
}

/**
 * Reads a stream of bytes to its end.
 *
 * @param body The bytes as they come in.
 * @param maxBytes How many are read at most; the rest is not waited for.
 * @returns All of them.
 * @throws {RefusalError} `BODY_TOO_LARGE` past the limit, `BAD_REQUEST` when the body breaks off.
 */
export async function readBytes(body: ReadableStream<Uint8Array>, maxBytes: number): Promise<Uint8Array> {
  const reader = body.getReader();
  const chunks: Uint8Array[] = [];
  let length = 0;
  try {
    for (let read = await reader.read(); !read.done; read = await reader.read()) {
      length += read.value.byteLength;
      if (length > maxBytes) {
        // Not waited for: a runtime may settle it only when the client has sent the rest.
        reader.cancel().catch(() => {});
        throw tooLarge(maxBytes);
      }
      chunks.push(read.value);
    }
  } catch (cause) {
    throw cause instanceof RefusalError ? cause : brokenOff(cause);
  }
  if (chunks.length === 1) return chunks[0]!;
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
export function parseJSON(bytes: Uint8Array): unknown {
  try {
    return JSON.parse(UTF8.decode(bytes));
  } catch (cause) {
    throw new RefusalError("ERR_REALITY_BAD_REQUEST", "Cannot read the body: expected JSON in UTF-8", {
      cause,
    });
  }
}

/**
 * Checks the declared length before anything is read.
 *
 * @param header The value of `Content-Length`, or `null`.
 * @throws {RefusalError} `BODY_TOO_LARGE` when it is over the limit.
 */
export function checkLength(header: string | null, maxBytes: number): void {
  if (header !== null && Number(header) > maxBytes) throw tooLarge(maxBytes);
}
