/**
 * Clients for tests of adapters besides `fetch`: a socket for requests that no client would send, and a reader of event
 * streams.
 *
 * @module
 */
import { once } from "node:events";
import { connect, type Socket } from "node:net";

/** The longest time that a test waits for anything, in milliseconds. */
const PATIENCE = 10_000;

/** Polls until a condition holds. */
export async function until(condition: () => Promise<boolean>, what: string): Promise<void> {
  const deadline = Date.now() + PATIENCE;
  while (!await condition()) {
    if (Date.now() > deadline) throw new Error(`Waited in vain until ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 2));
  }
}

/** Waits for a promise with a time limit. */
export async function soon<T>(promise: Promise<T>, what: string, patience: number = PATIENCE): Promise<T> {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`Waited in vain for ${what}`)), patience);
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}

/** A connection that sends given bytes. */
export class RawClient {
  readonly #socket: Socket;
  readonly #closed: Promise<void>;
  #received = "";
  #bytes = 0;
  readonly #decoder = new TextDecoder();
  #wake = () => {};

  private constructor(socket: Socket) {
    this.#socket = socket;
    // A connection that the server closes is a result, not a failure of the test.
    socket.on("error", () => {});
    socket.on("data", (chunk: Uint8Array) => {
      this.#bytes += chunk.byteLength;
      this.#received += this.#decoder.decode(chunk, { stream: true });
      this.#wake();
    });
    this.#closed = new Promise((resolve) =>
      socket.once("close", () => {
        this.#wake();
        resolve();
      })
    );
  }

  /** Connects to the host and port of a URL. */
  static async connect(url: string): Promise<RawClient> {
    const { hostname, port } = new URL(url);
    const socket = connect(Number(port), hostname);
    const client = new RawClient(socket);
    await once(socket, "connect");
    return client;
  }

  /** All that came in so far, as text. */
  get received(): string {
    return this.#received;
  }

  /** How many bytes came in so far. */
  get bytes(): number {
    return this.#bytes;
  }

  /** Sends text or bytes, as they are. */
  send(text: string | Uint8Array): void {
    this.#socket.write(text);
  }

  /** Stops reading, so that data piles up at the sender. */
  pause(): void {
    this.#socket.pause();
  }

  /** Reads on until a text comes in. */
  async resumeUntil(text: string): Promise<void> {
    this.#socket.resume();
    await this.receive((received) => received.includes(text, received.length - 100_000));
  }

  /** Waits until what came in fits, or the connection is closed; gives all that came in. */
  async receive(fits: (received: string) => boolean): Promise<string> {
    const arrived = (async () => {
      while (!fits(this.#received) && !this.#socket.destroyed) {
        await new Promise<void>((resolve) => this.#wake = resolve);
      }
    })();
    await soon(arrived, `bytes after ${JSON.stringify(this.#received.slice(-200))}`);
    return this.#received;
  }

  /** Waits for one whole answer with a `Content-Length`; gives its head and body, and forgets it. */
  async receiveAnswer(): Promise<{ status: number; head: string; body: string }> {
    const length = (received: string): number => {
      const end = received.indexOf("\r\n\r\n");
      if (end === -1) return Infinity;
      return end + 4 + Number(/^content-length: *(\d+)/im.exec(received.slice(0, end + 2))?.[1] ?? 0);
    };
    const received = await this.receive((text) => text.length >= length(text));
    const end = length(received);
    this.#received = received.slice(end);
    const [head = "", body = ""] = received.slice(0, end).split("\r\n\r\n");
    return { status: Number(head.split(" ")[1]), head, body };
  }

  /** Waits until the other side closes the connection. */
  async closed(): Promise<void> {
    await soon(this.#closed, "the connection's end");
  }

  /** Closes the connection. */
  async close(): Promise<void> {
    this.#socket.destroy();
    await this.#closed;
  }
}

/** One block of an event stream. */
export interface Frame {
  event?: string;
  data?: string;
  id?: string;
  retry?: string;
  /** What follows a colon at the beginning of a line. */
  comment?: string;
}

/** Reads an event stream block by block. */
export class EventReader {
  readonly #reader: ReadableStreamDefaultReader<Uint8Array>;
  readonly #decoder = new TextDecoder();
  #text = "";

  constructor(response: Response) {
    if (response.body === null) throw new Error(`The answer ${response.status} has no body`);
    this.#reader = response.body.getReader();
  }

  /** The next block; `null` at the stream's end. */
  async next(): Promise<Frame | null> {
    while (!this.#text.includes("\n\n")) {
      const { done, value } = await soon(this.#reader.read(), "an event");
      if (done) return null;
      this.#text += this.#decoder.decode(value, { stream: true });
    }
    const end = this.#text.indexOf("\n\n");
    const block = this.#text.slice(0, end);
    this.#text = this.#text.slice(end + 2);
    const frame: Record<string, string> = {};
    for (const line of block.split("\n")) {
      const [, name = "", value = ""] = /^([^:]*): ?(.*)$/.exec(line) ?? [];
      frame[name === "" ? "comment" : name] = value;
    }
    return frame;
  }

  /** The next event of this name; others are passed over. */
  async nextEvent(name: string): Promise<Frame> {
    for (let frame = await this.next(); frame !== null; frame = await this.next()) {
      if (frame.event === name) return frame;
    }
    throw new Error(`The stream ended before an event "${name}"`);
  }

  /** Closes the connection. */
  async cancel(): Promise<void> {
    await this.#reader.cancel();
  }
}
