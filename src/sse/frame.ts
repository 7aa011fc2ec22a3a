/**
 * Formats server-sent events and comments. Pure.
 *
 * @module
 */

import type { HistoryRun } from "../store/history.ts";

/** The comment that keeps a silent stream open. It has no id, so a client cannot resume from it. */
export const HEARTBEAT = ": heartbeat\n\n";

const CURSOR = /^([\w.!~*'()%-]{0,512}):([\w.!~*'()%-]{0,512}):(\d{1,16}):(\d{1,16})$/;

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
}

/** Formats a cursor as an event id. */
export function formatCursor({ epoch, replicaId, late, position }: Cursor): string {
  return `${encodeURIComponent(epoch)}:${encodeURIComponent(replicaId)}:${late}:${position}`;
}

/** Parses an event id; `null` if this server did not create it. */
export function parseCursor(id: string): Cursor | null {
  const [, epoch, replicaId, ...digits] = CURSOR.exec(id) ?? [];
  const [late, position] = digits.map(Number);
  if (!Number.isSafeInteger(late) || !Number.isSafeInteger(position)) return null;
  try {
    return {
      epoch: decodeURIComponent(epoch!),
      replicaId: decodeURIComponent(replicaId!),
      late: late!,
      position: position!,
    };
  } catch {
    return null;
  }
}
