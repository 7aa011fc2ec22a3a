/**
 * The events that a server passes to `onEvent`: a union with the discriminant `type`.
 *
 * @module
 */
import type { ErrorCode } from "../errors.ts";
import type { RouteName, StreamReason, WaitOutcome } from "./metrics.ts";

export type { RouteName, StreamReason, WaitOutcome };

/** An event of a server. Events contain no keys, unless the server was created with `eventKeys: true`. */
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
  /** When it happened or ended, in milliseconds since 1970. */
  readonly at: number;
}

/** A request under the base path was answered through a handler. For a stream: its head is being sent. */
export interface RequestEvent extends EventTime {
  /** The kind of event. */
  readonly type: "request";
  /** The route; `none` for a path that does not exist, `exchange` for a request of another server. */
  readonly route: RouteName;
  /** The HTTP method. */
  readonly method: string;
  /** The status of the answer; 499 if the client disconnected before it. */
  readonly status: number;
  /** Why the request was refused or failed; left out otherwise. */
  readonly code?: ErrorCode;
  /** The duration in milliseconds, including a wait. */
  readonly ms: number;
  /** The duration of the wait, in milliseconds. */
  readonly waited: number;
  /** The number of keys in the request; 0 if the keys were not read. */
  readonly keyCount: number;
  /** These keys; only with `eventKeys`. */
  readonly keys?: readonly string[];
}

/** A request was refused or failed. Emitted before its {@linkcode RequestEvent}. */
export interface RefusalEvent extends EventTime {
  /** The kind of event. */
  readonly type: "refusal";
  /** The route. */
  readonly route: RouteName;
  /** Why the request was refused or failed. */
  readonly code: ErrorCode;
  /** The status of the answer. */
  readonly status: number;
}

/** A sync was answered, through a handler or `handleSync`, or its client disconnected. */
export interface SyncEvent extends EventTime {
  /** The kind of event. */
  readonly type: "sync";
  /** The number of keys in the request. */
  readonly keyCount: number;
  /** These keys; only with `eventKeys`. */
  readonly keys?: readonly string[];
  /** How many of them were reported as changed. */
  readonly changed: number;
  /** The duration in milliseconds, including a wait. */
  readonly ms: number;
  /** The duration of the wait, in milliseconds. */
  readonly waited: number;
  /** How the wait ended; `answered` if there was no wait, `failed` if there was no answer. */
  readonly outcome: WaitOutcome | "answered";
}

/** Nodes were changed through this server, by a method or a write route, or the change failed. */
export interface ChangeEvent extends EventTime {
  /** The kind of event. */
  readonly type: "change";
  /** The number of nodes. */
  readonly keyCount: number;
  /** Their keys; only with `eventKeys`. */
  readonly keys?: readonly string[];
  /** How long the storage took to make the change, in milliseconds. */
  readonly ms: number;
  /**
   * Why the change failed; left out otherwise. An invalid key or hash is a mistake of the caller and emits no event.
   */
  readonly code?: ErrorCode;
}

/** An event stream began or ended. */
export interface StreamEvent extends EventTime {
  /** The kind of event. */
  readonly type: "stream";
  /** Whether it began or ended. */
  readonly state: "begun" | "ended";
  /** The number of keys that it follows. */
  readonly keyCount: number;
  /** These keys; only with `eventKeys`. */
  readonly keys?: readonly string[];
  /** Why it ended. */
  readonly reason?: StreamReason;
  /** How long it was open, in milliseconds. */
  readonly ms?: number;
}

/** The storage failed, or works again. Emitted once, not at every call. */
export interface StorageStateEvent extends EventTime {
  /** The kind of event. */
  readonly type: "storage";
  /** The new state. */
  readonly state: "down" | "up";
  /** The method of the storage whose call showed it. */
  readonly operation: string;
}

/** A peer failed, or works again. Emitted once, not at every exchange. */
export interface PeerStateEvent extends EventTime {
  /** The kind of event. */
  readonly type: "peer";
  /** The new state. */
  readonly state: "down" | "up";
  /** The index of the peer in `meshPeers`. Discovered peers follow in the order in which they first failed. */
  readonly peer: number;
  /** Why it failed. */
  readonly code?: ErrorCode;
  /** Its URL; only with `eventKeys`. */
  readonly url?: string;
}

/** Redis failed, or works again. */
export interface RedisStateEvent extends EventTime {
  /** The kind of event. */
  readonly type: "redis";
  /** The new state. */
  readonly state: "down" | "up";
}

/** `close()` was called, or has finished. */
export interface ClosingEvent extends EventTime {
  /** The kind of event. */
  readonly type: "closing" | "closed";
}
