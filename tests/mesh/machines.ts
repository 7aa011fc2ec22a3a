/**
 * What a simulated cluster consists of: machines, their processes, clients and waiting syncs.
 *
 * @module
 */
import type { RealityServer } from "../../src/server.ts";
import type { Station } from "../network.ts";
import type { MachineClock } from "../sim_clock.ts";
import type { Disk, DiskPath } from "./disk.ts";
import type { RedisPair } from "./redis.ts";

/**
 * The sender of a sync: the server's own application, which may read everything; a client over HTTP that may read
 * everything; or a guest over HTTP.
 */
export type Sender = "itself" | "http" | "guest";

/** A version that a server sent to a client. */
export interface Handed {
  readonly key: string;
  readonly version: number;
  readonly epoch: string;
}

/** A waiting sync. */
export interface Wait {
  readonly known: ReadonlyMap<string, number>;
  /** When the server's storage got a change of these keys, by the simulated clock. */
  newsAt: number | undefined;
  /** Whether an application wrote to the storage without the server. */
  isAside: boolean;
}

/** A client that moves from server to server. */
export interface SimClient {
  /** Whether it never sends an epoch. */
  readonly isPlain: boolean;
  /** Whether it may not read all keys. */
  readonly isGuest: boolean;
  readonly known: Map<string, number>;
  epoch: string | undefined;
  isBusy: boolean;
}

/** One incarnation of a server. */
export interface ServerProcess {
  readonly server: RealityServer;
  readonly path: DiskPath;
  readonly clock: MachineClock;
  readonly station: Station;
  readonly redis: RedisPair | undefined;
  readonly waits: Set<Wait>;
  /** Whether it may use its storage: it has neither ended nor been closed. */
  isOpen: boolean;
  hasEnded: boolean;
  /** Settles when it has ended. */
  readonly ended: Promise<undefined>;
  end(): void;
}

/** A machine: it has a host name, a storage, a clock skew and most of the time a process. */
export interface Machine {
  readonly host: string;
  readonly disk: Disk;
  skew: number;
  process: ServerProcess | undefined;
  /** Whether it starts as soon as an earlier process has released a storage that only one may use. */
  isDue: boolean;
  runs: number;
}

/** Counts of what was sent over the network. */
export interface Traffic {
  requests: number;
  bytes: number;
  /** Messages that carried nodes. */
  loaded: number;
  /** The nodes in these messages. */
  nodes: number;
  /** Messages that were not the last page of a delta. */
  pages: number;
  /** The nodes that arrived through Redis. */
  published: number;
}
