/**
 * Clients that wait, each on a connection of its own.
 *
 * @module
 */
import type { Socket } from "node:net";
import { openSocket, ReplyReader, requestBytes } from "./load.ts";

/** One connection that waits. */
export class WaitingClient {
  readonly #socket: Socket;
  readonly #replies = new ReplyReader();
  #resolve: (time: number) => void = () => {};
  /** Settles when the answer comes, with the time. */
  answered: Promise<number> = Promise.resolve(0);
  /** Whether it has its answer. */
  isAnswered = true;

  /** @param socket Its connection. */
  constructor(socket: Socket) {
    this.#socket = socket;
    socket.on("data", (chunk) => {
      if (!this.#replies.take(chunk as Uint8Array)) return;
      if (this.#replies.status !== 200) throw new Error(`Cannot wait: got status ${this.#replies.status}`);
      this.isAnswered = true;
      this.#resolve(performance.now());
    });
  }

  /** Sends a sync that waits for a newer version of a key. */
  wait(key: string, version: number): void {
    this.isAnswered = false;
    this.answered = new Promise((resolve) => this.#resolve = resolve);
    const body = JSON.stringify({ known: { [key]: version }, wait: 25_000 });
    this.#socket.write(requestBytes("POST", "/reality/sync", body));
  }

  /** Closes the connection. */
  close(): void {
    this.#socket.destroy();
  }
}

/** Opens so many. */
export async function openClients(port: number, count: number): Promise<WaitingClient[]> {
  const clients: WaitingClient[] = [];
  // In groups that fit into the listener's backlog.
  for (let left = count; left > 0; left -= 200) {
    const group = Array.from({ length: Math.min(200, left) }, () => openSocket(port));
    clients.push(...(await Promise.all(group)).map((socket) => new WaitingClient(socket)));
  }
  return clients;
}
