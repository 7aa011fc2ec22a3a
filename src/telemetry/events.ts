/**
 * What a server tells `onEvent`: one union, told apart by `type`.
 *
 * @module
 */
import type { ErrorCode } from "../errors.ts";
import type { RouteName, StreamReason, WaitOutcome } from "./metrics.ts";

export type { RouteName, StreamReason, WaitOutcome };

/** Something that happened in a server. No event holds a key, unless the server was made with `eventKeys: true`. */
export type RealityEvent =
  | RequestEvent
  | RefusalEvent
  | SyncEvent
  | ChangeEvent
  | StreamEvent
  | StorageStateEvent
  | PeerStateEvent
  | RedisStateEvent
  | ClosingEvent;

/** What every event has. */
export interface EventTime {
  /** When it happened, or was over, in milliseconds since 1970. */
  readonly at: number;
}

/** A request under the base path was answered through a handler. Of a stream: its head is on its way. */
export interface RequestEvent extends EventTime {
  /** Tells the event from others. */
  readonly type: "request";
  /** Where it went; `none` for a path that is not there, `exchange` for a question of another server. */
  readonly route: RouteName;
  /** Its method. */
  readonly method: string;
  /** The answer's status; 499 when the client went away before it. */
  readonly status: number;
  /** Why it was turned down or failed; left out when it was not. */
  readonly code?: ErrorCode;
  /** How long the answer took, in milliseconds, a wait included. */
  readonly ms: number;
  /** How long of that it waited, in milliseconds. */
  readonly waited: number;
  /** How many keys it was about; 0 where it did not get so far. */
  readonly keyCount: number;
  /** These keys; only with `eventKeys`. */
  readonly keys?: readonly string[];
}

/** A request was turned down, or failed. Told before its {@linkcode RequestEvent}. */
export interface RefusalEvent extends EventTime {
  /** Tells the event from others. */
  readonly type: "refusal";
  /** Where it went. */
  readonly route: RouteName;
  /** Why. */
  readonly code: ErrorCode;
  /** The answer's status. */
  readonly status: number;
}

/** A sync was answered, through a handler or `handleSync`, or its client went away. */
export interface SyncEvent extends EventTime {
  /** Tells the event from others. */
  readonly type: "sync";
  /** How many keys it asked for. */
  readonly keyCount: number;
  /** These keys; only with `eventKeys`. */
  readonly keys?: readonly string[];
  /** How many of them it was told as changed. */
  readonly changed: number;
  /** How long it took, in milliseconds, the wait included. */
  readonly ms: number;
  /** How long of that it waited, in milliseconds. */
  readonly waited: number;
  /** How its wait ended; `answered` when it did not wait, `failed` when there was no answer. */
  readonly outcome: WaitOutcome | "answered";
}

/** Nodes were changed through this server, by a call of its methods or a write route; or that failed. */
export interface ChangeEvent extends EventTime {
  /** Tells the event from others. */
  readonly type: "change";
  /** How many nodes. */
  readonly keyCount: number;
  /** Their keys; only with `eventKeys`. */
  readonly keys?: readonly string[];
  /** How long it took until the storage had them, in milliseconds. */
  readonly ms: number;
  /** Why it failed; left out when it did not. A key or hash that cannot be is the caller's mistake, and no event. */
  readonly code?: ErrorCode;
}

/** An event stream began or ended. */
export interface StreamEvent extends EventTime {
  /** Tells the event from others. */
  readonly type: "stream";
  /** Which of both. */
  readonly state: "begun" | "ended";
  /** How many keys it follows. */
  readonly keyCount: number;
  /** These keys; only with `eventKeys`. */
  readonly keys?: readonly string[];
  /** Why it ended. */
  readonly reason?: StreamReason;
  /** How long it lived, in milliseconds. */
  readonly ms?: number;
}

/** The storage went bad, or is well again. Told once, not at every call. */
export interface StorageStateEvent extends EventTime {
  /** Tells the event from others. */
  readonly type: "storage";
  /** How it is now. */
  readonly state: "down" | "up";
  /** The call that showed it: the method's name. */
  readonly operation: string;
}

/** A peer does not answer as it should, or does so again. Told once, not at every exchange. */
export interface PeerStateEvent extends EventTime {
  /** Tells the event from others. */
  readonly type: "peer";
  /** How it is now. */
  readonly state: "down" | "up";
  /** Its place among `meshPeers`, from 0; those learnt by discovery follow in the order in which they first failed. */
  readonly peer: number;
  /** Why it is down. */
  readonly code?: ErrorCode;
  /** Its URL; only with `eventKeys`. */
  readonly url?: string;
}

/** Redis went bad, or is well again. */
export interface RedisStateEvent extends EventTime {
  /** Tells the event from others. */
  readonly type: "redis";
  /** How it is now. */
  readonly state: "down" | "up";
}

/** `close()` was called, or is done. */
export interface ClosingEvent extends EventTime {
  /** Tells the event from others. */
  readonly type: "closing" | "closed";
}
