/**
 * Sends one event stream: opening, updates, heartbeats, end.
 *
 * @module
 */

import { type AskRights, mask, type Rights, seesAll } from "../access.ts";
import type { Clock } from "../clock.ts";
import type { Deadline, DeadlineList } from "../limits/deadlines.ts";
import type { NodeReader } from "../store/cached_reader.ts";
import type { StreamReason } from "../telemetry/metrics.ts";
import type { PulledBody } from "../http/exchange.ts";
import { isSameHistory } from "../store/history.ts";
import type { ReplicatedNode } from "../store/contract.ts";
import type { Groups } from "../store/groups.ts";
import type { WaitEnd, Waiter, Waiters, WaiterSource } from "../sync/waiters.ts";
import type { ChangePoller } from "../sync/change_poller.ts";
import { closingStream } from "./closing.ts";
import { type Cursor, eventFrame, HEARTBEAT, parseCursor } from "./frame.ts";
import { type RightsView, SentState, type StartPosition } from "./sent_state.ts";

/** What a stream follows, and for how long. */
export interface StreamOptions {
  readonly keys: readonly string[];
  /** The `Last-Event-ID` of the client. */
  readonly lastEventId: string | null;
  /** A heartbeat is sent after this time without an event, in milliseconds. */
  readonly heartbeatInterval: number;
  /** The server ends the stream after this time, in milliseconds. */
  readonly lifetime: number;
}

/** What streams need. */
export interface StreamDeps {
  readonly reader: NodeReader;
  readonly waiters: Pick<Waiters, "add">;
  readonly poller: Pick<ChangePoller, "register">;
  readonly clock: Clock;
  /** Says which keys no group has; undefined without the option. */
  readonly groups: Pick<Groups, "findRefused"> | undefined;
  /** Whether versions are positions in the history of the storage. Only then can a stream resume. */
  readonly ordered: boolean;
  /**
   * Reads nodes including tombstones. Left out if the storage cannot: then a resumed stream receives old deletions
   * again.
   */
  readonly readReplicated?: ((keys: readonly string[]) => Promise<Map<string, ReplicatedNode>>) | undefined;
  /** Streams whose client has to read something within a time limit. */
  readonly stalls: DeadlineList;
  /** Whether there is a slot for one more stream. Called after {@linkcode StreamDeps.begin}. */
  readonly hasSlot: () => boolean;
  /** Called at each heartbeat. */
  readonly onHeartbeat?: () => void;
  /**
   * Counts a stream. Called once when the client starts to read it.
   *
   * @returns A function to call when the stream ends. A closed server also ends streams with the reasons `full` and
   *   `stalled`.
   */
  readonly begin: (keys: readonly string[]) => (reason: StreamReason) => void;
}

/** The client of a stream. */
export interface StreamReader {
  /** What the client may read; left out: everything. */
  readonly askRights?: AskRights | undefined;
  /** Locates the client; left out if its request has no address. */
  readonly locate?: (() => WaiterSource) | undefined;
  /** Calls back when the client disconnects; returns a function that stops listening. */
  readonly onDisconnect: (listener: () => void) => () => void;
}

/**
 * The text of one event stream. It is pulled: nothing is queued for a slow client, which receives the newest state of
 * each key when it reads again. A stream that is not read holds no slot. A stream whose client stops reading is ended.
 *
 * If no slot is free, or the server is closed, the stream sends the current state and ends. If the storage fails, it
 * ends. In each case the client reconnects after a delay and resumes.
 */
export class EventStream implements PulledBody, Deadline {
  readonly #options: StreamOptions;
  readonly #deps: StreamDeps;
  readonly #sent: SentState;
  readonly #askRights: AskRights | undefined;
  #locate: (() => WaiterSource) | undefined;
  #stopListening: (() => void) | undefined;
  #resolve: ((part: string | null) => void) | undefined;
  #onEnd: ((reason: StreamReason) => void) | undefined;
  #state: "new" | "open" | "over" = "new";
  #waiter: Waiter | null = null;
  /** When its lifetime ends, by `clock.elapsed()`. */
  #endsAt = 0;
  /** When the client's rights end, as a date. */
  #expiresAt = Infinity;
  /** When the next heartbeat is due, by `clock.elapsed()`. */
  #heartbeatAt = 0;

  dueAt = 0;
  before: Deadline | undefined = undefined;
  after: Deadline | undefined = undefined;
  onEnd: ((last: string | null) => void) | undefined = undefined;

  /**
   * @param options What the stream follows.
   * @param deps What the stream needs.
   * @param client The client of the stream. Not every host cancels the stream when it disconnects.
   */
  constructor(options: StreamOptions, deps: StreamDeps, client: StreamReader) {
    this.#options = options;
    this.#deps = deps;
    this.#sent = new SentState(options.keys);
    this.#askRights = client.askRights;
    this.#locate = client.locate;
    this.#stopListening = client.onDisconnect(() => {
      deps.stalls.remove(this);
      if (this.#end("gone")) this.onEnd?.(null);
    });
  }

  get isOver(): boolean {
    return this.#state === "over";
  }

  next(): Promise<string | null> {
    if (this.isOver) return Promise.resolve(null);
    this.#deps.stalls.remove(this);
    return new Promise((resolve) => {
      this.#resolve = resolve;
      if (this.#state === "open") this.#wait();
      else this.#open().then((frames) => this.#complete(frames), () => this.#complete(null, "failed"));
    });
  }

  cancel(): void {
    this.#deps.stalls.remove(this);
    this.#stopListening?.();
    this.#end("gone");
  }

  /** The client has not read for too long. */
  onExpire(): void {
    this.#stopListening?.();
    if (!this.#end("stalled")) return;
    // A client that may still read is told when to reconnect. A client that has stalled is not.
    this.onEnd?.(this.#deps.stalls.isClosed ? closingStream(this.#deps.clock) : null);
  }

  /**
   * Ends the stream and frees its slot.
   *
   * @returns Whether it was still open.
   */
  #end(reason: StreamReason): boolean {
    const before = this.#state;
    this.#state = "over";
    this.#waiter?.release();
    if (before === "open") this.#onEnd?.(reason);
    return before !== "over";
  }

  /**
   * Resolves the promise of `next`.
   *
   * @param frames What to send; `null` if the server ends the stream.
   * @param reason Why it ends the stream. A failure of the storage was reported: the client reconnects.
   */
  #complete(frames: string | null, reason?: StreamReason): void {
    const { clock, stalls } = this.#deps;
    let part: string | null = null;
    if (!this.isOver) {
      this.#heartbeatAt = clock.elapsed() + this.#options.heartbeatInterval;
      if (frames === null) this.#end(reason ?? this.#reason);
      part = frames ?? closingStream(clock);
    }
    if (this.isOver) this.#stopListening?.();
    else stalls.add(this);
    this.#resolve?.(part);
    this.#resolve = undefined;
  }

  /** Why the server ends the stream now. */
  get #reason(): StreamReason {
    if (this.#waiter === null) return "full";
    if (this.#deps.clock.now() >= this.#expiresAt) return "rights";
    return this.#timeLeft <= 0 ? "lifetime" : "closed";
  }

  /** How long the stream may stay open, in milliseconds. */
  get #timeLeft(): number {
    const { clock } = this.#deps;
    return Math.min(this.#endsAt - clock.elapsed(), this.#expiresAt - clock.now());
  }

  async #open(): Promise<string> {
    const { clock, waiters, begin, hasSlot } = this.#deps;
    const { keys } = this.#options;
    this.#state = "open";
    this.#onEnd = begin(keys);
    this.#endsAt = clock.elapsed() + this.#options.lifetime;
    // The waiter is woken by changes from before this read on: a change that the read misses wakes it (PROTOCOL 5.1).
    this.#waiter = hasSlot() ? waiters.add(keys, this.#locate?.()) : null;
    // Needed only here. It would keep the objects of the request in memory.
    this.#locate = undefined;
    const rights = await this.#askRights?.();
    const view = await this.#read(rights);
    return this.#formatRefused(view, rights) + this.#sent.open(view, await this.#readStart(view));
  }

  /** An event for each key that no group has. */
  #formatRefused({ reading }: RightsView, rights: Rights | undefined): string {
    const { groups, clock } = this.#deps;
    const refused = groups?.findRefused(this.#options.keys, reading.nodes, rights, clock.now()) ?? {};
    return Object.entries(refused).map(([key, refusal]) => eventFrame("refused", { key, ...refusal })).join(
      "",
    );
  }

  /** Determines what the client knows already. */
  async #readStart(view: RightsView): Promise<StartPosition> {
    const { lastEventId } = this.#options;
    if (lastEventId === null || lastEventId === "") return "new";
    const cursor = this.#deps.ordered ? parseCursor(lastEventId) : null;
    if (!this.#sent.accepts(cursor, view.reading)) return "resync";
    return { position: cursor.position, deleted: await this.#findDeleted(cursor, view) };
  }

  /**
   * Finds the keys without a node that the client knows to be deleted: they were deleted before its cursor, or never
   * existed.
   */
  async #findDeleted(cursor: Cursor, { reading, isWhole }: RightsView): Promise<ReadonlySet<string>> {
    const { reader, readReplicated } = this.#deps;
    const missing = this.#options.keys.filter((key) => reading.nodes.get(key) === undefined);
    // A key that may not be read must look like a key without a node, so nothing is looked up for it. A client
    // without a position may have received nodes that were published after its cursor.
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
      // Some keys have no tombstone. Read afterwards whether any was collected after the cursor. If not, these keys
      // never existed.
      const moment = await reader.read([]);
      if (isSameHistory(cursor, moment) && moment.collectedVersion <= cursor.position) return deleted;
      return new Set([...deleted].filter((key) => replicated.has(key)));
    } catch {
      // The failure was reported. Sending a deletion once more is harmless.
      return new Set();
    }
  }

  /** Reads what the client may see, and until when. */
  async #read(rights: Rights | undefined): Promise<RightsView> {
    const { reader, clock, poller } = this.#deps;
    const { keys } = this.#options;
    this.#expiresAt = Math.min(this.#expiresAt, rights?.expiresAt ?? Infinity);
    const reading = await reader.read(keys);
    poller.register(reading);
    const now = clock.now();
    const isWhole = seesAll(rights, keys, now);
    // A client that may read more when it reconnects has not received those older nodes yet. And if some rows are
    // newer than the moment of the reading, the moment does not show whether they are lost later. Both clients resume
    // from the start.
    return {
      reading: mask(reading, rights, now),
      isWhole,
      position: isWhole && reading.newest === undefined ? reading.maxVersion : 0,
    };
  }

  /**
   * Waits for frames or for the next heartbeat. Almost all streams are here almost all the time, and callbacks take less
   * memory than the frames of async functions.
   */
  #wait(): void {
    const left = this.#timeLeft;
    if (this.#waiter === null || left <= 0) return this.#complete(null);
    const untilHeartbeat = Math.max(0, this.#heartbeatAt - this.#deps.clock.elapsed());
    void this.#waiter.next(Math.min(untilHeartbeat, left)).then((outcome) => this.#wake(outcome));
  }

  #wake(outcome: WaitEnd): void {
    if (outcome === "closed") return this.#complete(null);
    if (outcome === "wake") {
      return void this.#update().then(
        (frames) => frames === "" ? this.#wait() : this.#complete(frames),
        () => this.#complete(null, "failed"),
      );
    }
    if (this.#deps.clock.elapsed() < this.#heartbeatAt) return this.#wait();
    this.#deps.onHeartbeat?.();
    this.#complete(HEARTBEAT);
  }

  /** The frames of a change; empty if the client needs none, `null` if the server ends the stream. */
  async #update(): Promise<string | null> {
    const view = await this.#read(await this.#askRights?.());
    // If the rights ended in the meantime, the stream ends without reporting the keys as deleted.
    return this.#timeLeft <= 0 ? null : this.#sent.update(view);
  }
}
