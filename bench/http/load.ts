/**
 * A load of HTTP requests over keep-alive connections. It needs no other tool.
 *
 * @module
 */
import { connect, type Socket } from "node:net";

/** What a load came to. */
export interface Load {
  /** How many requests were answered. */
  readonly requests: number;
  /** How long the load lasted, in milliseconds. */
  readonly lasted: number;
  /** How long each answer took, in milliseconds. */
  readonly latencies: number[];
}

/** Some connections to one server; each has one request under way at a time. */
export class Connections {
  readonly #sockets: readonly Socket[];
  readonly #requests: readonly Uint8Array[];

  private constructor(sockets: readonly Socket[], requests: readonly Uint8Array[]) {
    this.#sockets = sockets;
    this.#requests = requests;
  }

  /** Opens connections over which requests with these bodies will go. */
  static async open(port: number, count: number, bodies: readonly string[]): Promise<Connections> {
    const sockets = await Promise.all(Array.from({ length: count }, () => openSocket(port)));
    return new Connections(sockets, bodies.map((body) => requestBytes("POST", "/reality/sync", body)));
  }

  /** Asks on every connection as fast as answers come, for a while. */
  async load(ms: number): Promise<Load> {
    const start = performance.now();
    const latencies: number[] = [];
    await Promise.all(this.#sockets.map((socket, i) => this.#ask(socket, i, start + ms, latencies)));
    return { requests: latencies.length, lasted: performance.now() - start, latencies };
  }

  /** Closes them. */
  close(): void {
    for (const socket of this.#sockets) socket.destroy();
  }

  #ask(socket: Socket, turn: number, end: number, latencies: number[]): Promise<void> {
    return new Promise((resolve, reject) => {
      const replies = new ReplyReader();
      let sentAt = 0;
      const send = () => {
        sentAt = performance.now();
        socket.write(this.#requests[turn++ % this.#requests.length]!);
      };
      const onData = (chunk: Uint8Array) => {
        if (!replies.take(chunk)) return;
        const now = performance.now();
        if (replies.status !== 200) return finish(new Error(`Cannot load: got status ${replies.status}`));
        latencies.push(now - sentAt);
        if (now < end) send();
        else finish();
      };
      const onClose = () => finish(new Error("Cannot load: the server closed a connection"));
      const finish = (error?: Error) => {
        socket.off("data", onData);
        socket.off("close", onClose);
        if (error) reject(error);
        else resolve();
      };
      socket.on("data", onData);
      socket.on("close", onClose);
      send();
    });
  }
}

/** Finds where a reply on a kept connection ends: by its length, or by the last of its chunks. */
export class ReplyReader {
  /** The last reply's status. */
  status = 0;
  /** The last reply's body, where it came in chunks with their frames. */
  body = "";
  #text = "";

  /** Takes what came in; says whether a reply is whole. */
  take(chunk: Uint8Array): boolean {
    // In Latin-1 one character is one byte, so that lengths are right. The bodies are ASCII.
    this.#text += latin1(chunk);
    const head = this.#text.indexOf("\r\n\r\n");
    if (head === -1) return false;
    const length = this.#text.startsWith("HTTP/1.1 204")
      ? "0"
      : /\r\ncontent-length: *(\d+)/i.exec(this.#text.slice(0, head + 2))?.[1];
    const whole = length === undefined
      ? this.#text.endsWith("\r\n0\r\n\r\n")
      : this.#text.length >= head + 4 + Number(length);
    if (!whole) return false;
    this.status = Number(this.#text.slice(9, 12));
    this.body = this.#text.slice(head + 4);
    this.#text = "";
    return true;
  }
}

/** Opens a connection. */
export function openSocket(port: number, host: string = "127.0.0.1"): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const socket = connect({ port, host, noDelay: true });
    socket.once("connect", () => resolve(socket));
    socket.once("error", reject);
  });
}

/** A request as bytes. */
export function requestBytes(
  method: string,
  path: string,
  body: string,
  headers: readonly string[] = [],
): Uint8Array {
  const bytes = new TextEncoder().encode(body);
  const head = [
    `${method} ${path} HTTP/1.1`,
    "host: localhost",
    "content-type: application/json",
    `content-length: ${bytes.byteLength}`,
    ...headers,
  ];
  return new Uint8Array([...new TextEncoder().encode(`${head.join("\r\n")}\r\n\r\n`), ...bytes]);
}

function latin1(chunk: Uint8Array): string {
  return Buffer.from(chunk.buffer, chunk.byteOffset, chunk.byteLength).toString("latin1");
}
