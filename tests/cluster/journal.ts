/**
 * The record of a cluster's clients: every requested change and every answer.
 * All times are milliseconds of one clock, since all clients live in one process.
 *
 * @module
 */

/** A change that was asked for. */
export interface Change {
  readonly key: string;
  /** What was asked for; empty for a deletion. */
  readonly hash: string;
  readonly isDeletion: boolean;
  /** The number of the server that was asked. */
  readonly server: number;
  readonly asked: number;
  /** When it was acknowledged; `Infinity` for one that may be there, or still come to be. */
  readonly answered: number;
  /** What the answer said; 0 for a deletion, and for a change without an answer. */
  readonly version: number;
}

/** A version of a key that a client was handed, or was left with; 0 for none. */
export interface Sight {
  readonly key: string;
  readonly version: number;
  /** Left out when the client was told nothing, which says that it already had the newest. */
  readonly hash?: string;
}

/** A sync that was answered. */
export interface Read {
  readonly server: number;
  readonly asked: number;
  readonly answered: number;
  /** One for each key that was asked for. */
  readonly sights: readonly Sight[];
}

/** A time in which no bytes passed between some of the servers and all others. */
export interface Isolation {
  /** The numbers of those on one side. */
  readonly servers: readonly number[];
  readonly begin: number;
  readonly end: number;
}

/** The state of a key when all was over, the same on all servers. */
export interface Final {
  readonly version: number;
  readonly hash: string;
}

/** All that is known of a run. */
export interface Journal {
  /** For each server, the number of its storage: servers that share one have the same. */
  readonly storages: readonly number[];
  readonly changes: readonly Change[];
  readonly reads: readonly Read[];
  readonly isolations: readonly Isolation[];
  /** By key; version 0 for a key that is not there. */
  readonly finals: ReadonlyMap<string, Final>;
}
