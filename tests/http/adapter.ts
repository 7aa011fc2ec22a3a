/**
 * What the HTTP kit needs to know about an adapter, and what an open one can do.
 *
 * @module
 */
import type { ServerStats } from "../../mod.ts";
import type { Operation, SceneName } from "./scenes.ts";

/** An adapter, and what differs about it. */
export interface Adapter {
  /** What the tests are called after. */
  readonly name: string;
  /** Opens it before a new server of this scene. */
  open(scene: SceneName): Promise<OpenAdapter>;
  /** A framework in front reads the bodies, and refuses by itself what is no JSON: the status is the same. */
  readonly parsesBodies?: boolean;
  /** A framework in front answers for all paths that are not ours. */
  readonly ownNotFound?: boolean;
  /** A framework in front takes no media type but `application/json`. */
  readonly onlyPlainJSON?: boolean;
  /** The runtime decides by itself which connections it keeps. */
  readonly ownConnections?: boolean;
  /** The runtime finds out that a client is gone only when it next sends something to it. */
  readonly noticesLate?: boolean;
  /** What hooks get from it, as the scene `readers` names it; a user is the one whom a middleware in front has found. */
  readonly host: string;
  /** The runtime takes up the next request of a connection only when the one before is answered. */
  readonly answersInTurn?: boolean;
  /** The host does not read the body of a GET, and then does not hear that its connection closes. */
  readonly leavesBodies?: boolean;
  /** The runtime does not tell that a stream of HTTP/2 was reset together with its head. */
  readonly missesEarlyResets?: boolean;
  /** The runtime does not tell the address that connected. */
  readonly tellsNoAddress?: boolean;
  /** Requests that follow one on its connection before it is answered are lost, and the answer with them. */
  readonly losesPipelined?: boolean;
  /** The runtime keeps the connection of a body that was refused until the client leaves it. */
  readonly keepsConnection?: boolean;
}

/** An adapter with a server behind it. */
export interface OpenAdapter {
  /** The address of a path under the server's base path. */
  url(path: string): string;
  /** Does something to the server from behind. */
  operate(operation: Operation): Promise<unknown>;
  /** Closes adapter and server, and everything that was opened with them. */
  close(): Promise<void>;
}

/** The numbers of the server behind an adapter. */
export async function statsOf(adapter: OpenAdapter): Promise<ServerStats> {
  return await adapter.operate({ do: "stats" }) as ServerStats;
}
