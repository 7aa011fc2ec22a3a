/**
 * Formats server-sent events and comments. Pure.
 *
 * @module
 */

import type { HistoryRun } from "../store/history.ts";

/** The comment that keeps a silent stream open. It has no id, so a client cannot resume from it. */
export const HEARTBEAT = ": heartbeat\n\n";

const CURSOR = /^([\w.!~*'()%-]{0,512}):([\w.!~*'()%-]{0,512}):(\d{1,16}):(\d{1,16}):([\da-z]{1,14})$/;

/**
 * Formats an event.
 *
 * @param event The name of the event.
 * @param data Its data, formatted as JSON on a single line.
 * @param id The cursor to resume from. Left out on all events of a reading except the last one.
 */
export function eventFrame(event: string, data: unknown, id?: string): string {
  return `event: ${event}\ndata: ${JSON.stringify(data)}\n${id === undefined ? "" : `id: ${id}\n`}\n`;
}

/** Moves the cursor of the client without an event. */
export function cursorFrame(id: string): string {
  return `id: ${id}\n\n`;
}

/** A position in the history of a storage that a stream can resume from. */
export interface Cursor extends HistoryRun {
  /** Everything up to this version was sent, as long as this run of history continues. */
  readonly position: number;
  /** What {@linkcode markKeys} returns for the keys of the stream. */
  readonly keys: string;
}

/**
 * Marks the keys of a stream, in any order. A cursor stands for these keys only: up to its position, nothing was sent of
 * any other one.
 */
export function markKeys(keys: readonly string[]): string {
  let [one, other] = [0x811c9dc5, 0xcbf29ce4];
  const text = [...keys].sort().join("\n");
  for (let i = 0; i < text.length; i++) {
    one = Math.imul(one ^ text.charCodeAt(i), 0x01000193);
    other = Math.imul(other ^ text.charCodeAt(i), 0x5bd1e995);
  }
  return (one >>> 0).toString(36) + (other >>> 0).toString(36);
}

/** Formats a cursor as an event id. Clients read the epoch at its beginning. */
export function formatCursor({ epoch, replicaId, late, position, keys }: Cursor): string {
  return `${encodeURIComponent(epoch)}:${encodeURIComponent(replicaId)}:${late}:${position}:${keys}`;
}

/** Parses an event id; `null` if this server did not create it. */
export function parseCursor(id: string): Cursor | null {
  const [, epoch, replicaId, lateDigits, digits, keys] = CURSOR.exec(id) ?? [];
  const [late, position] = [Number(lateDigits), Number(digits)];
  if (!Number.isSafeInteger(late) || !Number.isSafeInteger(position)) return null;
  try {
    return {
      epoch: decodeURIComponent(epoch!),
      replicaId: decodeURIComponent(replicaId!),
      late,
      position,
      keys: keys!,
    };
  } catch {
    return null;
  }
}
