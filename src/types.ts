/**
 * The types of the public methods and of the wire.
 *
 * @module
 */

/** Everything that is stored and sent about a node. It never contains the data of the application. */
export interface RealityNodeMeta {
  /** The name of the node, chosen by the application: 1 to 512 bytes of UTF-8. */
  key: string;
  /** A positive integer, assigned by the storage. A larger version is newer. 0 only together with `deleted`. */
  version: number;
  /** The application's hash of the node's state. It is compared, and not interpreted. */
  hash: string;
  /** Milliseconds since 1970, by the clock of the server that wrote the node. It does not order changes. */
  updatedAt: number;
  /** Present, and true, if the node was deleted. */
  deleted?: true;
}

/** A request of a client: *these are the versions that I have; which nodes are newer?* */
export interface SyncRequest {
  /** Key → the version that the client has; 0 for none. */
  known: Record<string, number>;
  /** The epoch of these versions. */
  epoch?: string;
  /** How long to wait for a change, in milliseconds. @default {0} */
  wait?: number;
  /** Whether the answer should say which members of a group changed. @default {false} */
  detail?: boolean;
  /** Sent by clients of version 1. Together with `mode` and `hint` it selects the older form of the response. */
  clientId?: string;
  /** Sent by clients of version 1. */
  mode?: string;
  /** Sent by clients of version 1. */
  hint?: string;
  /** The clock of clients of version 1. Not used. */
  timestamp?: number;
}

/** The state of a peer: it answers, it has started to fail, or it has failed for a while and is contacted less often. */
export type PeerState = "alive" | "suspect" | "gone";

/** The state of a peer in responses to clients of version 1. */
export type PeerHealth = "healthy" | "degraded" | "unhealthy" | "unknown";

/** What a client is told about the servers. */
export interface MeshInfo {
  /** The ids of the peers; for clients of version 1 an object from id to health. Never a URL. */
  peers: string[] | Record<string, PeerHealth>;
  /** The highest version in the storage of the server that answered. */
  serverVersion: number;
}

/** The response to a {@linkcode SyncRequest}. */
export interface SyncResponse {
  /** Key → meta of the nodes that changed. The client should fetch their data again. Has no prototype. */
  changed: Record<string, RealityNodeMeta>;
  /** Information about the servers. */
  mesh: MeshInfo;
  /** The epoch of these versions: it changes when the storage loses data or is restored. Empty without epochs. */
  epoch: string;
  /** The clock of the server, in milliseconds since 1970. */
  serverTime: number;
  /**
   * How long to wait before the next request, in milliseconds. Present if a request that wanted to wait was answered
   * early and without changes. A client that ignores it would send requests in a loop.
   */
  pause?: number;
  /**
   * Changed group → which of its members changed since the version that the client has, if the client asked for it and the
   * server's option `groups` has `detail`. A changed group that is not named here may have changed in any member.
   */
  detail?: Record<string, GroupDetail>;
  /**
   * Key → why it can never change: it contains `*`, has no node, and is no group. Present if there is such a key, on a
   * server whose option `groups` has `isGroup`. The other keys are answered as always, and so is this one once it has a
   * node.
   */
  refused?: Record<string, KeyRefusal>;
  /**
   * The question that this answers, in its canonical form. Present in answers to `GET {base}/sync`, so that a client notices
   * when a cache answers another question.
   */
  asked?: string;
}

/**
 * The members of a group that changed and that the client may read, as in `changed`; or `all`: any member may have
 * changed.
 */
export type GroupDetail = "all" | Record<string, RealityNodeMeta>;

/** Why a key of a request was refused. */
export interface KeyRefusal {
  /** The reason, for programs: `ERR_REALITY_NO_GROUP`. */
  code: string;
  /** The reason, for people. It names the key. */
  message: string;
}

/** A change of one node. */
export interface NodeUpdate {
  /** The node's key. */
  key: string;
  /** The hash of its new state, at most 256 bytes of UTF-8. */
  hash: string;
  /**
   * Whether nothing is written, and no client is told, if the stored hash is the same. The hash must then be one of the
   * whole data, the data must be committed, and calls for one key must come in the order of these commits. Ignored, so that
   * the change is always written: in a storage without `features.conditions` or with an outbox, and on a server with the
   * options `mesh`, `peers` or `redis`.
   *
   * @default {false}
   */
  ifChanged?: boolean;
}

/** The options of {@linkcode RealityServer.updateNode}. */
export type UpdateOptions = Pick<NodeUpdate, "ifChanged">;

/**
 * Runs a statement on the connection of a transaction of the application: what {@linkcode RealityServer.updateIn} gets. Its
 * result is awaited if it is a promise, and ignored otherwise.
 */
export type OutboxQuery = (text: string, params: (string | number | null)[]) => unknown;

/** The options of {@linkcode RealityServer.handleSSECompat}. */
export interface SSEOptions {
  /** The keys to follow. */
  keys: readonly string[];
  /**
   * The interval of heartbeats on a stream without events, in milliseconds. They prevent proxies from closing it. A
   * lower interval suits stricter proxies; a higher one sends less. At least 10.
   *
   * @default {30000}
   */
  heartbeatInterval?: number;
  /**
   * After this time the server ends the stream and the client reconnects, in milliseconds. The
   * client resumes where it was. Lower distributes clients over servers sooner; higher reconnects less.
   *
   * @default {600000}
   */
  lifetime?: number;
  /**
   * Passed to the hook `authorize` as `context`.
   *
   * @default the argument `request`, unless it is a `Request`
   */
  context?: unknown;
}

/** The state of one peer, as this server sees it. */
export interface MeshPeerStats {
  /** Its `serverId`; `null` until it has answered for the first time. */
  id: string | null;
  /** Its URL, with `…` in place of a query. Never sent to a client. */
  url: string;
  /** `alive`: it answers. `suspect`: it has started to fail. `gone`: it has failed for a while. */
  state: PeerState | "unknown";
  /** How long updates for it have been pending, in milliseconds; 0 if none are pending. */
  lag: number;
  /** The time of its last answer, in milliseconds since 1970; `null` if it has never answered. */
  lastExchange: number | null;
}

/** Statistics of the mesh. */
export interface MeshStats {
  /** The other servers. */
  peers: MeshPeerStats[];
  /** Exchanges that were started. */
  exchanges: number;
  /** Exchanges that failed. */
  failures: number;
  /** Messages of peers that were answered. */
  answers: number;
  /** Nodes of other storages that were written to the storage of this server. */
  nodesTaken: number;
  /** Bytes of the bodies sent to peers. */
  sentBytes: number;
  /** Bytes of the bodies of their responses. */
  receivedBytes: number;
}

/** Statistics of the connection to Redis. */
export interface RedisStats {
  /** Whether messages are published and received at the moment, as far as is known. */
  healthy: boolean;
  /** Messages that were refused: unreadable, unproven or too long. */
  refused: number;
}

/**
 * Statistics of one server, from {@linkcode RealityServer.getStats}. Counters start at 0 when the server is created, and
 * count only this server. `GET {base}/metrics` has the same counters, and histograms.
 */
export interface ServerStats {
  /** The id of the server. */
  serverId: string;
  /** The version of this package. */
  version: string;
  /** Milliseconds since the server was created. */
  uptime: number;
  /** Whether the storage answers. It was called for these statistics. */
  healthy: boolean;
  /** Whether `close()` was called. */
  closing: boolean;
  /** The highest version in the storage; 0 if it does not answer. */
  maxVersion: number;
  /** The epoch of the storage; empty if it has none or does not answer. */
  epoch: string;
  /** Requests under the base path that were answered, including refusals and requests of peers. */
  requests: number;
  /** Requests that were refused or failed, by code: `{ "ERR_REALITY_BAD_REQUEST": 2 }`. */
  refusals: Record<string, number>;
  /** Sync requests of clients that were accepted, by handlers and by `handleSync`. */
  syncs: number;
  /** Keys that were reported as changed. */
  changedKeys: number;
  /** Syncs that started to wait. */
  waits: number;
  /** How often a waiter was woken. */
  wakes: number;
  /** Nodes changed through this server, by its methods and the write routes. */
  changes: number;
  /** Sync requests and streams that are waiting now. */
  waiters: number;
  /** Event streams that are open now. */
  streams: number;
  /** Event streams that were opened. */
  streamsBegun: number;
  /** Responses that clients have not read yet, as far as the runtime reports it. Streams are not counted. */
  pendingResponses: number;
  /** Reads that were sent to the storage. One read may serve many requests. */
  storageReads: number;
  /** Commits that were sent to the storage. One commit may contain many changes. */
  storageWrites: number;
  /** Calls of the storage that failed or took longer than `storageTimeout`. */
  storageFailures: number;
  /** Statistics of the mesh; `null` without a mesh. */
  mesh: MeshStats | null;
  /** Statistics of Redis; `null` without Redis. */
  redis: RedisStats | null;
}
