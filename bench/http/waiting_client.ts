/**
 * Clients that wait, each on a connection of its own.
 *
 * @module
 */
import type { Socket } from "node:net";
import { PUBLISHED_FIELDS } from "../contenders/published.ts";
import { openSocket, ReplyReader, requestBytes } from "./load.ts";
import { maskedText, upgradeBytes } from "./web_socket.ts";

/** Longer than it takes until all of them wait, in milliseconds; 1.2.2 makes 29 seconds of it. */
export const WAIT = 240_000;

/** How a client speaks with its server. */
export type Speech = "sync" | "events" | "socket.io";

/** One connection that waits. */
export abstract class WaitingClient {
  protected readonly socket: Socket;
  #resolve: (time: number) => void = () => {};
  /** Settles when the answer comes, with the time. */
  answered: Promise<number> = Promise.resolve(0);
  /** Whether it has its answer. */
  isAnswered = true;
  /** The version that the last answer told; 0 where none was read. */
  version = 0;

  /** @param socket Its connection. */
  constructor(socket: Socket) {
    this.socket = socket;
  }

  /** Waits for a newer version of a key; settles when the server must have received it, where that can be known. */
  async wait(key: string, version: number): Promise<void> {
    await this.follow(key, version);
    this.isAnswered = false;
    this.answered = new Promise((resolve) => this.#resolve = resolve);
  }

  /** Closes the connection. */
  close(): void {
    this.socket.destroy();
  }

  /** Tells the server what it waits for. */
  protected abstract follow(key: string, version: number): void | Promise<void>;

  /** The answer is here. */
  protected answer(): void {
    this.isAnswered = true;
    this.#resolve(performance.now());
  }
}

/** Sends a sync that waits. */
class SyncClient extends WaitingClient {
  readonly #fields: object;

  constructor(socket: Socket, fields: object) {
    super(socket);
    this.#fields = fields;
    const replies = new ReplyReader();
    socket.on("data", (chunk) => {
      if (!replies.take(chunk as Uint8Array)) return;
      if (replies.status !== 200) throw new Error(`Cannot wait: got status ${replies.status}`);
      this.version = Number(/"version":(\d+)/.exec(replies.body)?.[1] ?? 0);
      this.answer();
    });
  }

  protected override follow(key: string, version: number): void {
    const body = JSON.stringify({ known: { [key]: version }, wait: WAIT, ...this.#fields });
    this.socket.write(requestBytes("POST", "/reality/sync", body));
  }
}

/** Follows a stream of events; one key for its whole life. */
class EventsClient extends WaitingClient {
  #key: string | undefined;
  #begun: () => void = () => {};
  #text = "";

  constructor(socket: Socket) {
    super(socket);
    socket.on("data", (chunk) => this.#take((chunk as Uint8Array).toString()));
  }

  protected override async follow(key: string): Promise<void> {
    if (this.#key === key) return;
    if (this.#key !== undefined) throw new Error("Cannot wait: a stream follows one key");
    this.#key = key;
    const begun = new Promise<void>((resolve) => this.#begun = resolve);
    this.socket.write(requestBytes("GET", `/reality/events?keys=${encodeURIComponent(key)}`, ""));
    await begun;
  }

  /** The first event tells what is. */
  #take(text: string): void {
    this.#text += text;
    if (!/\nevent: update\ndata: .*\n/.test(this.#text)) return;
    this.#text = "\n";
    if (this.isAnswered) this.#begun();
    else this.answer();
  }
}

/** Follows a room of socket.io over a WebSocket. */
class SocketIOClient extends WaitingClient {
  #settle: () => void = () => {};
  #isOpen = false;

  constructor(socket: Socket) {
    super(socket);
    socket.on("data", (chunk) => this.#take((chunk as Uint8Array).toString()));
  }

  protected override async follow(key: string): Promise<void> {
    if (!this.#isOpen) {
      const open = new Promise<void>((resolve) => this.#settle = resolve);
      this.socket.write(upgradeBytes("/socket.io/?EIO=4&transport=websocket"));
      await open;
      this.#isOpen = true;
    }
    const acknowledged = new Promise<void>((resolve) => this.#settle = resolve);
    this.socket.write(maskedText(`420${JSON.stringify(["follow", key])}`));
    await acknowledged;
  }

  /** Packets of engine.io, in frames that are short enough to come in one piece. */
  #take(text: string): void {
    // The connection is open: connect to the namespace. Answer a ping with a pong.
    if (/(?<!4)0\{"sid"/.test(text)) this.socket.write(maskedText("40"));
    if (text.endsWith("\x01" + "2")) this.socket.write(maskedText("3"));
    if (text.includes('40{"sid"') || text.includes("430[]")) this.#settle();
    if (text.includes('42["update"')) this.answer();
  }
}

/** Who speaks how with a contender. */
export function speechOf(contender: string): Speech {
  if (contender === "socket.io") return "socket.io";
  return contender.includes("SSE") ? "events" : "sync";
}

/**
 * Opens `count` clients.
 *
 * @param hosts The addresses to connect to in turn: for one address a client has about 28,000 ports.
 */
export async function openClients(
  port: number,
  count: number,
  contender: string,
  hosts: readonly string[] = ["127.0.0.1"],
): Promise<WaitingClient[]> {
  const speech = speechOf(contender);
  const fields = contender === "1.2.2" ? PUBLISHED_FIELDS : {};
  const clients: WaitingClient[] = [];
  // In groups that fit into the listener's backlog.
  while (clients.length < count) {
    const length = Math.min(200, count - clients.length);
    const group = Array.from(
      { length },
      (_, i) => openSocket(port, hosts[(clients.length + i) % hosts.length]),
    );
    for (const socket of await Promise.all(group)) {
      if (speech === "sync") clients.push(new SyncClient(socket, fields));
      else if (speech === "events") clients.push(new EventsClient(socket));
      else clients.push(new SocketIOClient(socket));
    }
  }
  return clients;
}

/** Has all of them wait, each for what it is told. */
export async function waitAll(
  clients: readonly WaitingClient[],
  whatFor: (i: number) => readonly [key: string, version: number],
): Promise<void> {
  for (let start = 0; start < clients.length; start += 200) {
    const group = clients.slice(start, start + 200);
    await Promise.all(group.map((client, i) => client.wait(...whatFor(start + i))));
  }
}
