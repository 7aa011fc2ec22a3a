/**
 * The life of one event stream: open, wake, heartbeat, close.
 *
 * @module
 */

import { type AskRights, mask, seesAll } from "../access.ts";
import type { Clock } from "../clock.ts";
import { compare, metaOf } from "../sync/compare.ts";
import type { Deadline, DeadlineList } from "../limits/deadlines.ts";
import type { NodeReader } from "../store/cached_reader.ts";
import type { StreamReason } from "../telemetry/metrics.ts";
import { isConfirmed, isSameHistory } from "../store/history.ts";
import { drawRetryDelay, MIN_RETRY_DELAY } from "../limits/retry_delay.ts";
import type { ReplicatedNode, StorageReading } from "../store/contract.ts";
import type { RealityNodeMeta } from "../types.ts";
import type { Waiter, Waiters } from "../sync/waiters.ts";
import type { ChangePoller } from "../sync/change_poller.ts";
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
export interface StreamDeps {
  readonly reader: NodeReader;
  readonly waiters: Pick<Waiters, "add">;
  readonly poller: Pick<ChangePoller, "register">;
  readonly clock: Clock;
  /** Whether a version is a place in the storage's history: only then can a stream resume. */
  readonly ordered: boolean;
  /** Reads tombstones among nodes; left out where the storage cannot: then a stream that resumes hears old deletions again. */
  readonly readReplicated?: ((keys: readonly string[]) => Promise<Map<string, ReplicatedNode>>) | undefined;
  /** The streams that wait for their reader: it has to take something in time. */
  readonly stalls: DeadlineList;
  /** Whether there is a place for one more stream, asked after {@linkcode StreamDeps.onStart}. */
  readonly hasSlot: () => boolean;
  /** What the client may read; left out: everything. */
  readonly askRights?: AskRights | undefined;
  /** Called once when somebody begins to read the stream. */
  readonly onStart: () => void;
  /** Called at each heartbeat. */
  readonly onHeartbeat?: () => void;
  /** Called once when a stream that was begun is over. `full` and `stalled` are also the reasons of a server that is closed. */
  readonly onEnd: (reason: StreamReason) => void;
}

/** What a stream says last: how long to stay away, so many milliseconds at least, by chance. */
export function closingStream(clock: Clock, least?: number): string {
  return retryFrame(drawRetryDelay(clock, least));
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
 * @param deps Where to read and where to wait.
 * @param onDisconnect Registers a listener for the client's going away, where the stream's own cancel may not tell.
 */
export function createStream(
  options: StreamOptions,
  deps: StreamDeps,
  onDisconnect?: (listener: () => void) => () => void,
): ReadableStream<Uint8Array> {
  const stream = new EventStream(options, deps);
  let stopListening: (() => void) | undefined;
  const stall: Deadline = { dueAt: 0, before: undefined, after: undefined, onExpire() {} };
  return new ReadableStream<Uint8Array>({
    start(controller) {
      stopListening = onDisconnect?.(() => {
        deps.stalls.remove(stall);
        if (stream.end("gone")) controller.close();
      });
      stall.onExpire = () => {
        stopListening?.();
        if (!stream.end("stalled")) return;
        // A reader that may come yet is told when to come back; of one that has stalled, nothing more is waited for.
        if (deps.stalls.isClosed) controller.enqueue(stream.encode(closingStream(deps.clock)));
        controller.close();
      };
    },
    async pull(controller) {
      deps.stalls.remove(stall);
      const frames = await stream.next();
      if (frames !== null) controller.enqueue(frames);
      if (!stream.isOver) return deps.stalls.add(stall);
      stopListening?.();
      if (frames !== null) controller.close();
    },
    cancel() {
      deps.stalls.remove(stall);
      stopListening?.();
      stream.end("gone");
    },
  }, { highWaterMark: 0 });
}

/** What is sent next on one stream, from its opening to its end. */
class EventStream {
  readonly #options: StreamOptions;
  readonly #deps: StreamDeps;
  readonly #sent: SentState;
  readonly #encoder = new TextEncoder();
  #state: "new" | "open" | "over" = "new";
  #waiter: Waiter | null = null;
  /** When its lifetime is over, by `clock.elapsed()`. */
  #endsAt = 0;
  /** When the client's rights end: a date. */
  #expiresAt = Infinity;
  /** When it has been silent for long enough, by `clock.elapsed()`. */
  #heartbeatAt = 0;

  constructor(options: StreamOptions, deps: StreamDeps) {
    this.#options = options;
    this.#deps = deps;
    this.#sent = new SentState(options.keys);
  }

  get isOver(): boolean {
    return this.#state === "over";
  }

  /** Ends the stream and frees its place; says whether it was not over before. */
  end(reason: StreamReason): boolean {
    const before = this.#state;
    this.#state = "over";
    this.#waiter?.release();
    if (before === "open") this.#deps.onEnd(reason);
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
    this.#heartbeatAt = this.#deps.clock.elapsed() + this.#options.heartbeatInterval;
    if (frames === null) {
      this.end(hasFailed ? "failed" : this.#reason);
      frames = closingStream(this.#deps.clock);
    }
    return this.encode(frames);
  }

  encode(frames: string): Uint8Array {
    return this.#encoder.encode(frames);
  }

  /** Why the server ends the stream now. */
  get #reason(): StreamReason {
    if (this.#waiter === null) return "full";
    if (this.#deps.clock.now() >= this.#expiresAt) return "rights";
    return this.#timeLeft <= 0 ? "lifetime" : "closed";
  }

  /** How long it may still live, in milliseconds. */
  get #timeLeft(): number {
    const { clock } = this.#deps;
    return Math.min(this.#endsAt - clock.elapsed(), this.#expiresAt - clock.now());
  }

  async #open(): Promise<string> {
    const { clock, waiters, onStart, hasSlot } = this.#deps;
    this.#state = "open";
    onStart();
    this.#endsAt = clock.elapsed() + this.#options.lifetime;
    // The waiter hears of changes from before this read on: what the read misses wakes it (PROTOCOL 5.1).
    this.#waiter = hasSlot() ? waiters.add(this.#options.keys) : null;
    const view = await this.#read();
    return this.#sent.open(view, await this.#readStart(view));
  }

  /** What the client has been told already. */
  async #readStart(view: RightsView): Promise<StartPosition> {
    const { lastEventId } = this.#options;
    if (lastEventId === null || lastEventId === "") return "new";
    const cursor = this.#deps.ordered ? parseCursor(lastEventId) : null;
    if (!isValidCursor(cursor, view.reading)) return "resync";
    return { position: cursor.position, deleted: await this.#findDeleted(cursor, view) };
  }

  /** The keys without a node of which the client knows that: they were deleted before its cursor, or never there. */
  async #findDeleted(cursor: Cursor, { reading, isWhole }: RightsView): Promise<ReadonlySet<string>> {
    const { reader, readReplicated } = this.#deps;
    const missing = this.#options.keys.filter((key) => reading.nodes.get(key) === undefined);
    // A key that may not be read must look like one that has no node, so nothing is looked up for it. A client without a
    // position may have been told of nodes that came after it.
    if (missing.length === 0 || readReplicated === undefined || !isWhole || cursor.position === 0) {
      return new Set();
    }
    try {
      const replicated = await readReplicated(missing);
      const isKnownDeleted = (key: string) => {
        const node = replicated.get(key);
        return node === undefined || node.deleted === true && node.version <= cursor.position;
      };
      const deleted = new Set(missing.filter(isKnownDeleted));
      if ([...deleted].every((key) => replicated.has(key))) return deleted;
      // Of some there is no tombstone: unless one was swept, there was none. Asked after they were looked for.
      const moment = await reader.read([]);
      if (isSameHistory(cursor, moment) && moment.collectedVersion <= cursor.position) return deleted;
      return new Set([...deleted].filter((key) => replicated.has(key)));
    } catch {
      // It has been reported. Telling a deletion once more does no harm.
      return new Set();
    }
  }

  /** Reads what the client may see, and ends with its rights. */
  async #read(): Promise<RightsView> {
    const { reader, clock, poller, askRights } = this.#deps;
    const { keys } = this.#options;
    const rights = await askRights?.();
    this.#expiresAt = Math.min(this.#expiresAt, rights?.expiresAt ?? Infinity);
    const reading = await reader.read(keys);
    poller.register(reading);
    const now = clock.now();
    const isWhole = seesAll(rights, keys, now);
    // Who may read more when it comes back has not been told of that yet, however old it is; and of rows that were read
    // later than the moment, that moment does not show when they are lost.
    return {
      reading: mask(reading, rights, now),
      isWhole,
      position: isWhole && reading.newest === undefined ? reading.maxVersion : 0,
    };
  }

  /** Waits for frames or for the time of a heartbeat; `null` when the server wants to end the stream. */
  async #follow(): Promise<string | null> {
    const { clock, onHeartbeat } = this.#deps;
    while (true) {
      const left = this.#timeLeft;
      if (this.#waiter === null || left <= 0) return null;
      const untilHeartbeat = Math.max(0, this.#heartbeatAt - clock.elapsed());
      const outcome = await this.#waiter.next(Math.min(untilHeartbeat, left));
      if (outcome === "closed") return null;
      if (outcome === "timeout") {
        if (clock.elapsed() < this.#heartbeatAt) continue;
        onHeartbeat?.();
        return HEARTBEAT;
      }
      const view = await this.#read();
      // What has ended meanwhile ends the stream, and not with a word on keys that could be read before.
      if (this.#timeLeft <= 0) return null;
      const frames = this.#sent.update(view);
      if (frames !== "") return frames;
    }
  }
}

/** What a client may see, and up to which version it has been told everything once it was told this. */
interface RightsView {
  readonly reading: StorageReading;
  /** Whether it may see all of its keys. */
  readonly isWhole: boolean;
  readonly position: number;
}

/**
 * Where a stream begins: at nothing, after a cursor that cannot be honoured, or after everything up to a position, when
 * of these keys it knew that they have no node.
 */
type StartPosition = "new" | "resync" | { readonly position: number; readonly deleted: ReadonlySet<string> };

/** What one stream has told its client so far. */
class SentState {
  readonly #keys: readonly string[];
  readonly #versions: number[];
  #epoch = "";

  constructor(keys: readonly string[]) {
    this.#keys = keys;
    this.#versions = keys.map(() => 0);
  }

  /** The first frames: what changed since the client's cursor, or everything. */
  open(view: RightsView, start: StartPosition): string {
    const { reading } = view;
    this.#epoch = reading.epoch;
    if (start !== "new") {
      this.#assume(reading, start === "resync" ? { position: -1, deleted: new Set() } : start);
    }
    const resync = start === "resync" ? eventFrame("resync", { epoch: reading.epoch }) : "";
    return retryFrame(MIN_RETRY_DELAY) + resync + this.#frames(view, true);
  }

  /** Frames for what there is to see that was not told yet; empty for nothing. */
  update(view: RightsView): string {
    return this.#frames(view, false);
  }

  /** Takes as known what a client with this position was told: nothing that is newer, and no deletion but these. */
  #assume(reading: StorageReading, { position, deleted }: Exclude<StartPosition, string>): void {
    this.#keys.forEach((key, i) => {
      const node = reading.nodes.get(key);
      if (node !== undefined) this.#versions[i] = node.version <= position ? node.version : 0;
      // A key that is gone now may have been there then: its end is told, if need be once too often.
      else this.#versions[i] = deleted.has(key) ? 0 : -1;
    });
  }

  #frames({ reading, position }: RightsView, always: boolean): string {
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

function isValidCursor(cursor: Cursor | null, reading: StorageReading): cursor is Cursor {
  if (cursor === null || !isSameHistory(cursor, reading)) return false;
  // From the beginning on, everything is told anyway.
  return cursor.position === 0 || isConfirmed(reading, cursor.position);
}
