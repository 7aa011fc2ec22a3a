/**
 * One connection to a server: a socket, one request under way at a time, and no more memory than that.
 *
 * @module
 */
import { connect, type Socket } from "node:net";
import { ReplyReader } from "../../bench/http/load.ts";

/** Who uses a connection. */
export interface ConnectionUser {
  /** The answer to the request under way. */
  onReply(status: number, body: string): void;
  /** It is lost, or could not be made; not called after `drop`. */
  onLost(reason: string): void;
}

/** An open connection, or one that is being made. */
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

  /** Hangs up. */
  drop(): void {
    this.#isDropped = true;
    this.#socket.destroy();
  }
}
