/**
 * Writes the field `Reality-Stamp`, a dictionary of structured fields (RFC 9651). Pure.
 *
 * @module
 */
/** The longest field, in bytes. Together with other headers it fits into the 8 KiB that proxies read by default. */
export const MAX_FIELD_BYTES = 4096;

/** Versions of one epoch. */
export interface StampVersions {
  /** The epoch of the versions. */
  readonly epoch: string;
  /** Key → version; 0 for a key without a node. */
  readonly versions: Readonly<Record<string, number>>;
}

/**
 * Writes the value of the field (PROTOCOL 17.1).
 *
 * @throws {RangeError} When it is longer than {@linkcode MAX_FIELD_BYTES}.
 */
export function formatField({ epoch, versions }: StampVersions): string {
  // A version has up to 16 digits, and an integer of structured fields 15. So it is a string.
  const keys = Object.entries(versions).map(([key, version]) => `${formatString(key)};v="${version}"`);
  const field = `epoch=${formatString(epoch)}, keys=(${keys.join(" ")})`;
  if (field.length <= MAX_FIELD_BYTES) return field;
  throw new RangeError(
    `Cannot write Reality-Stamp: ${field.length} bytes for ${keys.length} keys, more than MAX_FIELD_BYTES ` +
      `(${MAX_FIELD_BYTES}); send stamp.toJSON() inside of the answer instead`,
  );
}

/** A quoted string, or a display string for a text that is not printable ASCII. */
function formatString(text: string): string {
  if (/^[ -~]*$/.test(text)) return `"${text.replace(/["\\]/g, "\\$&")}"`;
  return `%"${text.replace(/[^ -~]+|["%]/gu, escapeUTF8)}"`;
}

function escapeUTF8(text: string): string {
  const bytes = [...new TextEncoder().encode(text)];
  return bytes.map((byte) => `%${byte.toString(16).padStart(2, "0")}`).join("");
}
