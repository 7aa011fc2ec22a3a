/**
 * The shapes that cross the package's surface or the wire.
 *
 * @module
 */

/** All that is stored and sent about a node: never the data itself. */
export interface RealityNodeMeta {
  /** The node's name, as the application writes it: 1 to 512 bytes of UTF-8. */
  key: string;
  /** A positive integer from the storage's counter; larger is newer. 0 only beside `deleted`. */
  version: number;
  /** The application's fingerprint of the node's state; compared, never interpreted. */
  hash: string;
  /** Milliseconds since 1970 by the clock of the server that wrote it. For people; it orders nothing. */
  updatedAt: number;
  /** Present, and true, when the node is no longer there. */
  deleted?: true;
}

/** One question of a client: *these are the versions I hold, what is newer?* */
export interface SyncRequest {
  /** Key → the version that the client holds; 0 for none. */
  known: Record<string, number>;
  /** The epoch that those versions came from. */
  epoch?: string;
  /** Milliseconds that the client is willing to wait for a change. @default {0} */
  wait?: number;
  /** Sent by clients of the 1.x line; with `mode` and `hint` it selects the answer's older shape. */
  clientId?: string;
  /** Sent by clients of the 1.x line. */
  mode?: string;
  /** Sent by clients of the 1.x line. */
  hint?: string;
  /** Sent by clients of the 1.x line: their clock. Not used. */
  timestamp?: number;
}

/** How a peer is: it answers, it has begun to fail, it is no longer tried every time. */
export type PeerState = "alive" | "suspect" | "gone";

/** How well a peer is heard, in the words of the wire. */
export type PeerHealth = "healthy" | "degraded" | "unhealthy" | "unknown";

/** What a client learns about the servers behind the address it asked. */
export interface MeshInfo {
  /** The peers' ids; for clients of the 1.x line an object from id to health. Never a URL. */
  peers: string[] | Record<string, PeerHealth>;
  /** The highest version in the storage of the server that answered. */
  serverVersion: number;
}

/** The answer to a {@linkcode SyncRequest}. */
export interface SyncResponse {
  /** Key → meta of everything that the client should fetch again. Has no prototype. */
  changed: Record<string, RealityNodeMeta>;
  /** What is known about the other servers. */
  mesh: MeshInfo;
  /** Names the life of the data set that these versions belong to; empty when the storage has none. */
  epoch: string;
  /** The answering server's clock, in milliseconds since 1970. */
  serverTime: number;
  /**
   * How long to stay away before the next request, in milliseconds. Present where a request that wanted to wait is
   * answered sooner and has nothing to tell: a client that asked again at once would do so without end.
   */
  pause?: number;
}

/** One change that an application asks for: this node is now in that state. */
export interface NodeUpdate {
  /** The node's key. */
  key: string;
  /** The fingerprint of its new state, at most 256 bytes of UTF-8. */
  hash: string;
}

/** What {@linkcode RealityServer.handleSSECompat} streams. */
export interface SSEOptions {
  /** The keys to follow. */
  keys: readonly string[];
  /**
   * How often a silent stream sends a comment line, in milliseconds, so that proxies keep it open.
   * Lower survives stricter proxies; higher sends less. Must be at least 10.
   *
   * @default {30000}
   */
  heartbeatInterval?: number;
  /**
   * After this time the server ends the stream and the client reconnects, in milliseconds. The
   * client resumes where it was. Lower spreads clients over servers sooner; higher reconnects less.
   *
   * @default {600000}
   */
  lifetime?: number;
  /**
   * What the hook `authorize` gets as `context`.
   *
   * @default what was handed over as the request, unless it is a `Request`
   */
  context?: unknown;
}

/** How one peer is, as this server sees it. */
export interface MeshPeerStats {
  /** Its `serverId`; `null` before it has answered for the first time. */
  id: string | null;
  /** Where it is asked, with `…` for a query. Never sent to a client. */
  url: string;
  /** `alive`: it answers. `suspect`: it has begun to fail. `gone`: it has failed for a while. */
  state: PeerState | "unknown";
  /** For how long it has been owed news, in milliseconds; 0 when it has heard of everything. */
  lag: number;
  /** When it last answered, in milliseconds since 1970; `null` for never. */
  lastExchange: number | null;
}

/** What one server does in the mesh. */
export interface MeshStats {
  /** The other servers. */
  peers: MeshPeerStats[];
  /** Exchanges begun with peers. */
  exchanges: number;
  /** Those of them that failed. */
  failures: number;
  /** Messages of peers that were answered. */
  answers: number;
  /** Nodes of other storages that were written to this server's. */
  nodesTaken: number;
  /** Bytes of the bodies sent to peers. */
  sentBytes: number;
  /** Bytes of the bodies received in answer. */
  receivedBytes: number;
}

/** How the path through Redis is. */
export interface RedisStats {
  /** Whether messages go out and come in at this moment, as far as is known. */
  healthy: boolean;
  /** Messages that were refused: unreadable, unproven or too long. */
  refused: number;
}

/**
 * A moment's view of one server, from {@linkcode RealityServer.getStats}. Counts begin at 0 when the server is made and
 * are its own: other servers on the same storage have theirs. `GET {base}/metrics` has the same and more, as histograms.
 */
export interface ServerStats {
  /** The server's name. */
  serverId: string;
  /** The version of this package. */
  version: string;
  /** Milliseconds since the server was made. */
  uptime: number;
  /** Whether the storage answers: it was asked for this view. */
  healthy: boolean;
  /** Whether `close()` was called. */
  closing: boolean;
  /** The storage's highest version; 0 when it does not answer. */
  maxVersion: number;
  /** The storage's epoch; empty when it has none or does not answer. */
  epoch: string;
  /** Requests under the base path that handlers answered, those of other servers and refusals among them. */
  requests: number;
  /** Requests that were refused or failed, by code: `{ "ERR_REALITY_BAD_REQUEST": 2 }`. */
  refusals: Record<string, number>;
  /** Sync requests of clients that were taken on, through handlers and `handleSync`. */
  syncs: number;
  /** Keys that these told as changed. */
  changedKeys: number;
  /** Those syncs that began to wait. */
  waits: number;
  /** How often something that waits was told to look again. */
  wakes: number;
  /** Nodes changed through this server, by its methods and the write routes. */
  changes: number;
  /** Sync requests and streams that are waiting now. */
  waiters: number;
  /** Event streams that are open now. */
  streams: number;
  /** Event streams that were begun. */
  streamsBegun: number;
  /** Responses that clients have not taken yet, as far as the runtime tells; streams are none of them. */
  pendingResponses: number;
  /** Reads sent to the storage; one may serve many requests. */
  storageReads: number;
  /** Writes sent to the storage; one may hold many changes. */
  storageWrites: number;
  /** Calls of the storage that failed or took longer than `storageTimeout`. */
  storageFailures: number;
  /** What the server does in the mesh; `null` for one without peers. */
  mesh: MeshStats | null;
  /** How the path through Redis is; `null` for a server without. */
  redis: RedisStats | null;
}
