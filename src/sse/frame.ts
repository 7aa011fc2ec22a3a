/**
 * One server-sent event or comment as text. Pure.
 *
 * @module
 */

/** The comment that keeps a silent stream open. It has no id: it must not become a place to resume from. */
export const HEARTBEAT = ": heartbeat\n\n";

/**
 * Writes one event.
 *
 * @param event The event's name.
 * @param data What is sent with it, as JSON: one line, whatever it holds.
 * @param id The cursor to resume from; left out on all but the last event of a reading.
 */
export function eventFrame(event: string, data: unknown, id?: string): string {
  return `event: ${event}\ndata: ${JSON.stringify(data)}\n${id === undefined ? "" : `id: ${id}\n`}\n`;
}

/** Moves the client's cursor and tells it nothing else. */
export function cursorFrame(id: string): string {
  return `id: ${id}\n\n`;
}

/** Tells the client how long to stay away when the stream ends, in milliseconds. */
export function retryFrame(ms: number): string {
  return `retry: ${ms}\n\n`;
}

/** A place in a storage's history that a stream can resume from. */
export interface Cursor {
  /** The epoch that the position belongs to. */
  readonly epoch: string;
  /** Everything up to this version was told. */
  readonly position: number;
}

/** Writes a cursor as an event id. */
export function formatCursor({ epoch, position }: Cursor): string {
  return `${encodeURIComponent(epoch)}:${position}`;
}

/** Reads an event id; `null` for one that this server did not write. */
export function parseCursor(id: string): Cursor | null {
  const [, epoch, digits] = /^([\w.!~*'()%-]{0,512}):(\d{1,16})$/.exec(id) ?? [];
  if (epoch === undefined) return null;
  const position = Number(digits);
  try {
    return Number.isSafeInteger(position) ? { epoch: decodeURIComponent(epoch), position } : null;
  } catch {
    return null;
  }
}
