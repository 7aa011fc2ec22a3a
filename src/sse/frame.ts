/**
 * One server-sent event or comment as text. Pure.
 *
 * @module
 */

import type { HistoryRun } from "../store/history.ts";

/** The comment that keeps a silent stream open. It has no id: it must not become a place to resume from. */
export const HEARTBEAT = ": heartbeat\n\n";

const CURSOR = /^([\w.!~*'()%-]{0,512}):([\w.!~*'()%-]{0,512}):(\d{1,16}):(\d{1,16})$/;

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
export interface Cursor extends HistoryRun {
  /** Everything up to this version was told, as long as that run of history goes on. */
  readonly position: number;
}

/** Writes a cursor as an event id. */
export function formatCursor({ epoch, replicaId, late, position }: Cursor): string {
  return `${encodeURIComponent(epoch)}:${encodeURIComponent(replicaId)}:${late}:${position}`;
}

/** Reads an event id; `null` for one that this server did not write. */
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
