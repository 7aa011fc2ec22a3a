/**
 * The life of one event stream: open, wake, heartbeat, close.
 *
 * @module
 */

import { type AskRights, mask, seesAll } from "../access.ts";
import type { Clock } from "../clock.ts";
import { compare, metaOf } from "../compare.ts";
import type { Deadlines, Due } from "../deadlines.ts";
import type { Reading } from "../fence.ts";
import type { StreamReason } from "../metrics.ts";
import { isSameHistory, type StorageReading } from "../storage.ts";
import type { RealityNodeMeta } from "../types.ts";
import type { Waiter, Waiters } from "../waiters.ts";
import type { Watch } from "../watch.ts";
import {
  type Cursor,
  cursorFrame,
  eventFrame,
  formatCursor,
  HEARTBEAT,
  parseCursor,
  retryFrame,
} from "./frame.ts";

/** What one stream follows and for how long. */
export interface StreamOptions {
  readonly keys: readonly string[];
  /** The `Last-Event-ID` that the client came with. */
  readonly lastEventId: string | null;
  /** Milliseconds of silence after which a comment is sent. */
  readonly heartbeatInterval: number;
  /** Milliseconds after which the server ends the stream. */
  readonly lifetime: number;
}

/** The rooms that a stream lives in. */
export interface StreamRooms {
  readonly reader: Reading;
  readonly waiters: Waiters;
  readonly watch: Watch;
  readonly clock: Clock;
  /** Whether a version is a place in the storage's history: only then can a stream resume. */
  readonly ordered: boolean;
  /** The streams that wait for their reader: it has to take something in time. */
  readonly stalls: Deadlines;
  /** Whether there is a place for one more stream, asked after {@linkcode StreamRooms.onStart}. */
  readonly hasPlace: () => boolean;
  /** What the client may read; left out: everything. */
  readonly askRights?: AskRights | undefined;
  /** Called once when somebody begins to read the stream. */
  readonly onStart: () => void;
  /** Called at each heartbeat. */
  readonly onHeartbeat?: () => void;
  /** Called once when a stream that was begun is over. `full` and `stalled` are also the reasons of a server that is closed. */
  readonly onEnd: (reason: StreamReason) => void;
}

/** How long a client stays away from a server that ended its stream, in milliseconds: from, and up to more. */
const RETRY_FROM = 500;
const RETRY_SPREAD = 2_500;

/** What a stream says last: how long to stay away, by chance. */
export function farewell(clock: Clock): string {
  return retryFrame(RETRY_FROM + Math.floor(RETRY_SPREAD * clock.random()));
}

/**
 * Makes the bytes of one event stream. It is pulled: a slow reader is not written to, and finds the newest
 * state of each key when it comes back, never a backlog. A stream that nobody reads holds no place; one whose reader
 * takes nothing any more is ended.
 *
 * When there is no place left, or the server is closed, it tells the present state and ends; when the storage
 * fails it ends. Either way the client comes back after a pause and resumes.
 *
 * @param options What is followed.
 * @param rooms Where to read and where to wait.
 * @param onHangUp Registers a listener for the client's going away, where the stream's own cancel may not tell.
 */
export function createStream(
  options: StreamOptions,
  rooms: StreamRooms,
  onHangUp?: (listener: () => void) => () => void,
): ReadableStream<Uint8Array> {
  const stream = new EventStream(options, rooms);
  let stopListening: (() => void) | undefined;
  const stall: Due = { dueAt: 0, before: undefined, after: undefined, onLate() {} };
  return new ReadableStream<Uint8Array>({
    start(controller) {
      stopListening = onHangUp?.(() => {
        rooms.stalls.remove(stall);
        if (stream.end("gone")) controller.close();
      });
      stall.onLate = () => {
        stopListening?.();
        if (!stream.end("stalled")) return;
        // A reader that may come yet is told when to come back; of one that has stalled, nothing more is waited for.
        if (rooms.stalls.isClosed) controller.enqueue(stream.encode(farewell(rooms.clock)));
        controller.close();
      };
    },
    async pull(controller) {
      rooms.stalls.remove(stall);
      const frames = await stream.next();
      if (frames !== null) controller.enqueue(frames);
      if (!stream.isOver) return rooms.stalls.add(stall);
      stopListening?.();
      if (frames !== null) controller.close();
    },
    cancel() {
      rooms.stalls.remove(stall);
      stopListening?.();
      stream.end("gone");
    },
  }, { highWaterMark: 0 });
}

/** What is sent next on one stream, from its opening to its end. */
class EventStream {
  readonly #options: StreamOptions;
  readonly #rooms: StreamRooms;
  readonly #told: Told;
  readonly #encoder = new TextEncoder();
  #state: "new" | "open" | "over" = "new";
  #waiter: Waiter | null = null;
  #endsAt = 0;
  /** Why it ends at that time. */
  #endsBy: StreamReason = "lifetime";
  #heartbeatAt = 0;

  constructor(options: StreamOptions, rooms: StreamRooms) {
    this.#options = options;
    this.#rooms = rooms;
    this.#told = new Told(options.keys);
  }

  get isOver(): boolean {
    return this.#state === "over";
  }

  /** Ends the stream and frees its place; says whether it was not over before. */
  end(reason: StreamReason): boolean {
    const before = this.#state;
    this.#state = "over";
    this.#waiter?.release();
    if (before === "open") this.#rooms.onEnd(reason);
    return before !== "over";
  }

  /** The next bytes, as soon as there are some; `null` when the stream was ended meanwhile. */
  async next(): Promise<Uint8Array | null> {
    let frames: string | null = null;
    let hasFailed = false;
    try {
      frames = this.#state === "new" ? await this.#open() : await this.#follow();
    } catch {
      // The storage failed, which was reported: the stream ends, and the client comes back.
      hasFailed = true;
    }
    if (this.isOver) return null;
    this.#heartbeatAt = this.#rooms.clock.now() + this.#options.heartbeatInterval;
    if (frames === null) {
      this.end(hasFailed ? "failed" : this.#reason);
      frames = farewell(this.#rooms.clock);
    }
    return this.encode(frames);
  }

  encode(frames: string): Uint8Array {
    return this.#encoder.encode(frames);
  }

  /** Why the server ends the stream now. */
  get #reason(): StreamReason {
    if (this.#waiter === null) return "full";
    return this.#rooms.clock.now() >= this.#endsAt ? this.#endsBy : "closed";
  }

  async #open(): Promise<string> {
    const { clock, waiters, ordered, onStart, hasPlace } = this.#rooms;
    this.#state = "open";
    onStart();
    this.#endsAt = clock.now() + this.#options.lifetime;
    // The waiter hears of changes from before this read on: what the read misses wakes it (PROTOCOL 5.1).
    this.#waiter = hasPlace() ? waiters.add(this.#options.keys) : null;
    const view = await this.#read();
    return this.#told.open(view, ordered, this.#options.lastEventId);
  }

  /** Reads what the client may see, and ends with its rights. */
  async #read(): Promise<View> {
    const { reader, clock, watch, askRights } = this.#rooms;
    const { keys } = this.#options;
    const rights = await askRights?.();
    if (rights !== undefined && rights.expiresAt < this.#endsAt) {
      this.#endsAt = rights.expiresAt;
      this.#endsBy = "rights";
    }
    const reading = await reader.read(keys);
    watch.park(reading);
    const now = clock.now();
    // Who may read more when it comes back has not been told of that yet, however old it is.
    return {
      reading: mask(reading, rights, now),
      position: seesAll(rights, keys, now) ? reading.maxVersion : 0,
    };
  }

  /** Waits for frames or for the time of a heartbeat; `null` when the server wants to end the stream. */
  async #follow(): Promise<string | null> {
    const { clock, onHeartbeat } = this.#rooms;
    while (true) {
      const now = clock.now();
      if (this.#waiter === null || now >= this.#endsAt) return null;
      const outcome = await this.#waiter.next(Math.max(0, Math.min(this.#heartbeatAt, this.#endsAt) - now));
      if (outcome === "closed") return null;
      if (outcome === "timeout") {
        if (clock.now() < this.#heartbeatAt) continue;
        onHeartbeat?.();
        return HEARTBEAT;
      }
      const view = await this.#read();
      // What has ended meanwhile ends the stream, and not with a word on keys that could be read before.
      if (clock.now() >= this.#endsAt) return null;
      const frames = this.#told.update(view);
      if (frames !== "") return frames;
    }
  }
}

/** What a client may see, and up to which version it has been told everything once it was told this. */
interface View {
  readonly reading: StorageReading;
  readonly position: number;
}

/** What one stream has told its client so far. */
class Told {
  readonly #keys: readonly string[];
  readonly #versions: number[];
  #epoch = "";

  constructor(keys: readonly string[]) {
    this.#keys = keys;
    this.#versions = keys.map(() => 0);
  }

  /** The first frames: what changed since the client's cursor, or everything. */
  open(view: View, ordered: boolean, lastEventId: string | null): string {
    const { reading } = view;
    this.#epoch = reading.epoch;
    const opening = retryFrame(RETRY_FROM);
    if (lastEventId === null || lastEventId === "") return opening + this.#tell(view, true);
    const cursor = ordered ? parseCursor(lastEventId) : null;
    this.#assume(reading, honours(cursor, reading) ? cursor.position : -1);
    const resync = honours(cursor, reading) ? "" : eventFrame("resync", { epoch: reading.epoch });
    return opening + resync + this.#tell(view, true);
  }

  /** Frames for what there is to see that was not told yet; empty for nothing. */
  update(view: View): string {
    return this.#tell(view, false);
  }

  /** Takes as known what a client with this position was told: nothing that is newer, and no deletion. */
  #assume(reading: StorageReading, position: number): void {
    this.#keys.forEach((key, i) => {
      const node = reading.nodes.get(key);
      // A key that is gone now may have been there then: its end is told, if need be once too often.
      this.#versions[i] = node === undefined ? -1 : node.version <= position ? node.version : 0;
    });
  }

  #tell({ reading, position }: View, always: boolean): string {
    const known = { keys: this.#keys, versions: this.#versions };
    const changed = compare(known, reading.nodes, reading.epoch === this.#epoch);
    this.#epoch = reading.epoch;
    const metas: RealityNodeMeta[] = changed?.map((key) => metaOf(reading.nodes, key)) ?? [];
    // Only the last event of a reading moves the cursor: a stream that breaks before it starts again there.
    const id = formatCursor({ ...reading, position });
    if (metas.length === 0) return always ? cursorFrame(id) : "";
    const versions = new Map(metas.map(({ version }, i) => [changed?.[i], version]));
    this.#keys.forEach((key, i) => this.#versions[i] = versions.get(key) ?? this.#versions[i]!);
    return metas.map((meta, i) => eventFrame("update", meta, i === metas.length - 1 ? id : undefined)).join(
      "",
    );
  }
}

function honours(cursor: Cursor | null, reading: StorageReading): cursor is Cursor {
  return cursor !== null && isSameHistory(cursor, reading) && cursor.position <= reading.maxVersion;
}
