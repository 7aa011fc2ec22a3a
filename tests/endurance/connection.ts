/**
 * One connection to a server with one request at a time and little memory.
 *
 * @module
 */
import { connect, type Socket } from "node:net";
import { ReplyReader } from "../../bench/http/load.ts";

/** The user of a connection. */
export interface ConnectionUser {
  /** The answer to the pending request. */
  onReply(status: number, body: string): void;
  /** The connection is lost or could not be opened. Not called after `drop`. */
  onLost(reason: string): void;
}

/** An open or opening connection. */
export class Connection {
  readonly #socket: Socket;
  #isDropped = false;

  constructor(port: number, user: ConnectionUser) {
    const replies = new ReplyReader();
    let reason = "closed";
    this.#socket = connect({ port, host: "127.0.0.1", noDelay: true });
    this.#socket.on("error", (error: Error & { code?: string }) => reason = error.code ?? error.message);
    this.#socket.on("data", (chunk: Uint8Array) => {
      if (replies.take(chunk)) user.onReply(replies.status, replies.body);
    });
    this.#socket.on("close", () => {
      if (!this.#isDropped) user.onLost(reason);
    });
  }

  /** Sends a request, or a part of one. */
  send(bytes: Uint8Array): void {
    this.#socket.write(bytes);
  }

  /** Disconnects. */
  drop(): void {
    this.#isDropped = true;
    this.#socket.destroy();
  }
}
