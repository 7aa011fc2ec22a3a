/**
 * Reads server-sent events block by block.
 *
 * @module
 */
import { BrokenRule, format } from "./outcome.ts";

/** One block of a stream: an event, or a comment. */
export interface EventBlock {
  readonly event?: string;
  readonly data?: string;
  readonly id?: string;
  readonly retry?: string;
  /** The text after a colon at the beginning of a line. */
  readonly comment?: string;
}

/** An open stream. */
export class EventStream {
  /** The headers of the answer. */
  readonly headers: Headers;
  readonly #reader: ReadableStreamDefaultReader<Uint8Array> | undefined;
  readonly #controller: AbortController;
  readonly #timeout: number;
  readonly #decoder = new TextDecoder();
  #text = "";
  #reading: Promise<string | null> | undefined;

  /**
   * @param response The answer.
   * @param controller Aborts the request.
   * @param timeout Time for an expected block, in milliseconds.
   */
  constructor(response: Response, controller: AbortController, timeout: number) {
    this.headers = response.headers;
    this.#reader = response.body?.getReader();
    this.#controller = controller;
    this.#timeout = timeout;
  }

  /** Returns the next block; `null` at the end of the stream or if no block arrives in time. */
  async next(timeout: number = this.#timeout): Promise<EventBlock | null> {
    const deadline = performance.now() + timeout;
    while (!this.#text.includes("\n\n")) {
      const chunk = await this.#within(deadline - performance.now());
      if (chunk === null) return null;
      this.#text += chunk.replaceAll("\r\n", "\n");
    }
    const end = this.#text.indexOf("\n\n");
    const block = this.#text.slice(0, end);
    this.#text = this.#text.slice(end + 2);
    const fields = block.split("\n").map((line) => {
      const [, name = line, value = ""] = /^([^:]*): ?(.*)$/.exec(line) ?? [];
      return [name === "" ? "comment" : name, value];
    });
    return Object.fromEntries(fields);
  }

  /** Returns all blocks up to the first one that matches. Throws if no such block arrives in time. */
  async until(fits: (block: EventBlock) => boolean, what: string): Promise<EventBlock[]> {
    const blocks: EventBlock[] = [];
    const deadline = performance.now() + this.#timeout;
    for (;;) {
      const block = await this.next(deadline - performance.now());
      if (block === null) {
        throw new BrokenRule(`no ${what} arrived within ${this.#timeout} ms, only ${format(blocks)}`);
      }
      blocks.push(block);
      if (fits(block)) return blocks;
    }
  }

  /** Returns the opening of the stream: all blocks up to the first id, without that of an interrupted opening. */
  async open(): Promise<EventBlock[]> {
    return await this.until(({ id, retry }) => id !== undefined && retry === undefined, "id");
  }

  /** Disconnects. */
  async close(): Promise<void> {
    this.#controller.abort();
    await this.#reader?.cancel().catch(() => {});
    await this.#reading?.catch(() => {});
  }

  /** Returns the next text within some milliseconds. Later text is returned by the next call. */
  async #within(ms: number): Promise<string | null> {
    if (ms <= 0) return null;
    this.#reading ??= this.#read();
    let timer: ReturnType<typeof setTimeout> | undefined;
    const late = new Promise<undefined>((resolve) => timer = setTimeout(() => resolve(undefined), ms));
    try {
      const chunk = await Promise.race([this.#reading, late]);
      if (chunk === undefined) return null;
      this.#reading = undefined;
      return chunk;
    } finally {
      clearTimeout(timer);
    }
  }

  async #read(): Promise<string | null> {
    try {
      const { done, value } = await this.#reader?.read() ?? { done: true };
      return done || value === undefined ? null : this.#decoder.decode(value, { stream: true });
    } catch {
      return null;
    }
  }
}
