/**
 * Decides which events a client still needs, from its cursor and from what was sent. Pure.
 *
 * @module
 */
import { MIN_RETRY_DELAY } from "../limits/retry_delay.ts";
import type { StorageReading } from "../store/contract.ts";
import { isConfirmed, isSameHistory } from "../store/history.ts";
import { compare, metaOf } from "../sync/compare.ts";
import { retryFrame } from "./closing.ts";
import { type Cursor, cursorFrame, eventFrame, formatCursor, markKeys } from "./frame.ts";

/** What a client may see, and the version up to which it knows everything once this was sent. */
export interface RightsView {
  readonly reading: StorageReading;
  /** Whether it may see all of its keys. */
  readonly isWhole: boolean;
  readonly position: number;
}

/**
 * Where a stream starts: with a new client, after an invalid cursor, or after a position, together with the keys that
 * the client knows to be deleted.
 */
export type StartPosition = "new" | "resync" | {
  readonly position: number;
  readonly deleted: ReadonlySet<string>;
};

/** What a stream has sent to its client. */
export class SentState {
  readonly #keys: readonly string[];
  readonly #versions: number[];
  readonly #mark: string;
  #epoch = "";

  constructor(keys: readonly string[]) {
    this.#keys = keys;
    this.#mark = markKeys(keys);
    this.#versions = keys.map(() => 0);
  }

  /** The first frames: changes since the client's cursor, or everything. */
  open(view: RightsView, start: StartPosition): string {
    const { reading } = view;
    this.#epoch = reading.epoch;
    if (start !== "new") {
      this.#assume(reading, start === "resync" ? { position: -1, deleted: new Set() } : start);
    }
    const resync = start === "resync" ? eventFrame("resync", { epoch: reading.epoch }) : "";
    const events = this.#formatEvents(view);
    const id = events.length > 1 ? this.#formatCursor(reading, 0) : undefined;
    const rest = events.length > 0
      ? events.join("")
      : cursorFrame(this.#formatCursor(reading, view.position));
    return retryFrame(MIN_RETRY_DELAY, id) + resync + rest;
  }

  /** Frames for all changes that were not sent yet; empty if there are none. */
  update(view: RightsView): string {
    const events = this.#formatEvents(view);
    // Beside "retry", as in the opening: an id without it ends what a client has read of a moment.
    const before = events.length > 1 ? retryFrame(MIN_RETRY_DELAY, this.#formatCursor(view.reading, 0)) : "";
    return before + events.join("");
  }

  /** Whether a client can resume from a cursor: it belongs to the history of this reading, and to a stream of these keys. */
  accepts(cursor: Cursor | null, reading: StorageReading): cursor is Cursor {
    if (cursor === null || cursor.keys !== this.#mark || !isSameHistory(cursor, reading)) return false;
    // From the start, everything is sent anyway.
    return cursor.position === 0 || isConfirmed(reading, cursor.position);
  }

  #formatCursor({ epoch, replicaId, late }: StorageReading, position: number): string {
    return formatCursor({ epoch, replicaId, late, position, keys: this.#mark });
  }

  /** Treats as known what a client at this position has received: no newer nodes, and only these deletions. */
  #assume(reading: StorageReading, { position, deleted }: Exclude<StartPosition, string>): void {
    this.#keys.forEach((key, i) => {
      const node = reading.nodes.get(key);
      if (node !== undefined) this.#versions[i] = node.version <= position ? node.version : 0;
      // A key without a node may have had one at the cursor. Its deletion is sent, perhaps once too often.
      else this.#versions[i] = deleted.has(key) ? 0 : -1;
    });
  }

  /**
   * The events of a reading. Only the last one has the cursor of the reading. A client that loses the stream between
   * several of them has to resume from the start, and the caller gives it that cursor before them. With an earlier cursor it
   * would not be told that a key is as it was then: rights were granted again, or a backup was restored.
   */
  #formatEvents({ reading, position }: RightsView): string[] {
    const known = { keys: this.#keys, versions: this.#versions };
    const changed = compare(known, reading.nodes, reading.epoch === this.#epoch);
    this.#epoch = reading.epoch;
    if (changed === null) return [];
    const metas = changed.map((key) => metaOf(reading.nodes, key));
    const versions = new Map(metas.map(({ version }, i) => [changed[i], version]));
    this.#keys.forEach((key, i) => this.#versions[i] = versions.get(key) ?? this.#versions[i]!);
    const id = this.#formatCursor(reading, position);
    return metas.map((meta, i) => eventFrame("update", meta, i === metas.length - 1 ? id : undefined));
  }
}
