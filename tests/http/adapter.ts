/**
 * What the HTTP kit needs to know about an adapter, and what an open one can do.
 *
 * @module
 */
import type { ServerStats } from "../../mod.ts";
import type { Operation, SceneName } from "./scenes.ts";

/** An adapter under test, and how it differs from others. */
export interface Adapter {
  /** The prefix of its test names. */
  readonly name: string;
  /** Opens it with a new server of this scene. */
  open(scene: SceneName): Promise<OpenAdapter>;
  /** A framework parses the bodies and refuses invalid JSON itself, with the same status. */
  readonly parsesBodies?: boolean;
  /** A framework answers unknown paths. */
  readonly ownNotFound?: boolean;
  /** A framework accepts only `application/json`. */
  readonly onlyPlainJSON?: boolean;
  /** The runtime decides which connections stay open. */
  readonly ownConnections?: boolean;
  /** The runtime notices a disconnect only at its next write. */
  readonly noticesLate?: boolean;
  /** The name of its hook context in the scene `readers`, with the user that a middleware has found. */
  readonly host: string;
  /** The runtime handles the next request of a connection only after the answer to the one before. */
  readonly answersInTurn?: boolean;
  /** The host does not read the body of a GET and then does not notice that its connection closes. */
  readonly leavesBodies?: boolean;
  /** The runtime does not report an HTTP/2 stream that is reset together with its head. */
  readonly missesEarlyResets?: boolean;
  /** The runtime does not report the client's address. */
  readonly tellsNoAddress?: boolean;
  /** Pipelined requests are lost, and the answer to the first one with them. */
  readonly losesPipelined?: boolean;
  /** The runtime keeps the connection of a refused body open until the client closes it. */
  readonly keepsConnection?: boolean;
}

/** An open adapter with a server. */
export interface OpenAdapter {
  /** The address of a path under the server's base path. */
  url(path: string): string;
  /** Runs an operation on the server directly. */
  operate(operation: Operation): Promise<unknown>;
  /** Closes the adapter, the server and all that was opened with them. */
  close(): Promise<void>;
}

/** Returns the statistics of the server. */
export async function statsOf(adapter: OpenAdapter): Promise<ServerStats> {
  return await adapter.operate({ do: "stats" }) as ServerStats;
}
