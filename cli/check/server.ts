/**
 * The server that is checked, and how it is asked: every request bounded in time, every key a new one.
 *
 * @module
 */
import type { RealityNodeMeta, SyncRequest, SyncResponse } from "../../src/types.ts";
import { EventStream } from "./event_stream.ts";
import { BrokenRule, leave, must, show, UncheckedRule } from "./verdict.ts";

/** How a server is asked. */
export interface ServerOptions {
  /** A bearer token that opens the write routes; `undefined` to change nothing. */
  readonly writeToken: string | undefined;
  /** Headers of every request. */
  readonly headers: Readonly<Record<string, string>>;
  /** Milliseconds that one answer may take, beside the time that was asked to wait. */
  readonly timeout: number;
}

/** A request, as a rule words it. */
export interface Question {
  /** Sent as it is when text or bytes, else as JSON. */
  readonly body?: unknown;
  readonly headers?: Readonly<Record<string, string>>;
  /** Milliseconds that the answer is asked to wait. */
  readonly wait?: number;
}

/** An answer, read to its end. */
export interface Answer {
  /** What was asked: `POST /sync`. */
  readonly request: string;
  readonly status: number;
  readonly headers: Headers;
  readonly text: string;
  /** The body as JSON; `undefined` when it is none. */
  readonly json: unknown;
  /** Milliseconds from the request to the body's end. */
  readonly elapsed: number;
}

/** What a refusal's body says. */
export interface Refusal {
  /** Without the prefix that all codes have. */
  readonly code: string;
  readonly message: string;
}

/** How often a request is sent again that came too often. */
const RETRIES = 3;

/** One server under check. */
export class CheckedServer {
  /** Where its routes hang, without a slash at the end. */
  readonly base: string;
  /** What all keys of this run begin with. */
  readonly prefix: string = `reality-check:${crypto.randomUUID()}:`;
  /** Milliseconds that one answer may take. */
  readonly timeout: number;
  readonly #writeToken: string | undefined;
  readonly #headers: Readonly<Record<string, string>>;
  readonly #written = new Set<string>();
  #keys = 0;

  /**
   * @param base Where its routes hang.
   * @param options How it is asked.
   */
  constructor(base: string, options: ServerOptions) {
    this.base = base.replace(/\/+$/, "");
    this.timeout = options.timeout;
    this.#writeToken = options.writeToken;
    // In one spelling, so that what a rule sends replaces what is always sent.
    this.#headers = Object.fromEntries(new Headers(options.headers));
  }

  /** A key that nobody has used before. */
  newKey(): string {
    return `${this.prefix}${++this.#keys}`;
  }

  /** Sends a request and reads the answer to its end; one that came too often is sent again when it may be. */
  async ask(method: string, path: string, question: Question = {}): Promise<Answer> {
    for (let tries = 1;; tries++) {
      const answer = await this.#askOnce(method, path, question);
      if (answer.status !== 429) return answer;
      const pause = Number(answer.headers.get("retry-after")) * 1000;
      if (tries > RETRIES || !(pause > 0 && pause <= this.timeout)) {
        throw new UncheckedRule(`${answer.request} was answered with 429: too many requests`);
      }
      await new Promise((resolve) => setTimeout(resolve, pause));
    }
  }

  /** Asks a sync that must be answered with 200, in the shape of one. */
  async sync(request: SyncRequest, question: Question = {}): Promise<SyncResponse & { elapsed: number }> {
    const { wait } = request;
    const answer = await this.ask("POST", "/sync", {
      ...question,
      body: request,
      ...(wait === undefined ? {} : { wait }),
    });
    must(answer.status === 200, () => `${describe(answer)} to ${show(request)}`);
    const { changed } = answer.json as Partial<SyncResponse> ?? {};
    must(typeof changed === "object" && changed !== null, () => `no "changed" in ${show(answer.json)}`);
    return { ...answer.json as SyncResponse, elapsed: answer.elapsed };
  }

  /** What a server says to one version of one key; `undefined` for nothing. */
  async compare(key: string, version: number, epoch?: string): Promise<RealityNodeMeta | undefined> {
    const { changed } = await this.sync({
      known: { [key]: version },
      ...(epoch === undefined ? {} : { epoch }),
    });
    return changed[key];
  }

  /** Writes new states of keys; the rule is left unchecked where there is no token. */
  async update(...keys: string[]): Promise<Record<string, number>> {
    const updates = keys.map((key) => ({ key, hash: crypto.randomUUID() }));
    return await this.write("/update", keys, { updates });
  }

  /** Asks a write route to change some keys; gives their new versions. */
  async write(path: string, keys: readonly string[], body: unknown): Promise<Record<string, number>> {
    const answer = await this.ask("POST", path, { body, headers: this.authorize(keys) });
    leaveIfNotThere(answer);
    must(answer.status === 200, () => `${describe(answer)} to a write with the token`);
    const { versions } = answer.json as { versions?: Record<string, number> } ?? {};
    must(
      keys.every((key) => Number.isSafeInteger(versions?.[key])),
      () => `no version of every key written in ${show(answer.json)}`,
    );
    return versions as Record<string, number>;
  }

  /** Takes a key away, and gives the answer. */
  async remove(key: string): Promise<Answer> {
    const answer = await this.ask("DELETE", `/nodes/${encodeURIComponent(key)}`, {
      headers: this.authorize([key]),
    });
    if (answer.status === 204) this.#written.delete(key);
    return answer;
  }

  /** The headers that open the write routes for keys, which are remembered as written. */
  authorize(keys: readonly string[]): Record<string, string> {
    if (this.#writeToken === undefined) leave("needs --write-token");
    for (const key of keys) this.#written.add(key);
    return { authorization: `Bearer ${this.#writeToken}` };
  }

  /** Opens an event stream, whose headers have come; the rule is left unchecked where there are none. */
  async openStream(keys: readonly string[], headers: Record<string, string> = {}): Promise<EventStream> {
    const query = keys.map((key) => `keys=${encodeURIComponent(key)}`).join("&");
    const controller = new AbortController();
    const timer = setTimeout(() => controller.abort(), this.timeout);
    try {
      const response = await fetch(`${this.base}/events?${query}`, {
        headers: { ...this.#headers, ...headers },
        redirect: "manual",
        signal: controller.signal,
      });
      if (response.status === 200) return new EventStream(response, controller, this.timeout);
      await response.body?.cancel();
      if (response.status === 404) leave("GET /events is not mounted");
      throw new BrokenRule(`GET /events was answered with ${response.status}`);
    } catch (error) {
      throw toBroken(error, "GET /events", this.timeout, controller.signal);
    } finally {
      clearTimeout(timer);
    }
  }

  /** Takes away what was written; gives the keys that are still there. */
  async cleanUp(): Promise<string[]> {
    for (const key of [...this.#written]) await this.remove(key).catch(() => {});
    return [...this.#written];
  }

  async #askOnce(method: string, path: string, { body, headers, wait = 0 }: Question): Promise<Answer> {
    const request = `${method} ${path.split("?")[0]}`;
    const isPlain = typeof body === "string" || body instanceof Uint8Array || body === undefined;
    const limit = this.timeout + wait;
    const controller = new AbortController();
    const timer = setTimeout(() => controller.abort(), limit);
    const start = performance.now();
    try {
      const response = await fetch(`${this.base}${path}`, {
        method,
        headers: {
          ...(body === undefined ? {} : { "content-type": "application/json" }),
          ...this.#headers,
          ...headers,
        },
        redirect: "manual",
        signal: controller.signal,
        ...(body === undefined ? {} : { body: (isPlain ? body : JSON.stringify(body)) as BodyInit }),
      });
      const text = await response.text();
      const elapsed = performance.now() - start;
      return {
        request,
        status: response.status,
        headers: response.headers,
        text,
        json: parse(text),
        elapsed,
      };
    } catch (error) {
      throw toBroken(error, request, limit, controller.signal);
    } finally {
      clearTimeout(timer);
    }
  }
}

/** Leaves a rule unchecked whose route is not there: one may be mounted without the others. */
export function leaveIfNotThere(answer: Answer): void {
  if (answer.status === 404) leave(`${answer.request} is not mounted`);
}

/** An answer in words. */
export function describe(answer: Answer): string {
  const { code, message } = refusalOf(answer) ?? {};
  const said = code === undefined ? "" : ` ${code}: ${message}`;
  return `${answer.request} was answered with ${answer.status}${said}`;
}

/** What a refusal says; `undefined` for a body of another shape, as what stands in front of a server has it. */
export function refusalOf(answer: Answer): Refusal | undefined {
  const { code, message } = (answer.json as { error?: Partial<Refusal> } | null | undefined)?.error ?? {};
  if (typeof code !== "string" || typeof message !== "string") return undefined;
  return { code: code.replace(/^ERR_REALITY_/, ""), message };
}

/**
 * Leaves a rule unchecked where the request was refused by what stands in front: a server has JSON for its refusals, a
 * proxy a page. nginx, for one, has no URL with `%00` reach a server.
 */
export function leaveIfProxied(answer: Answer): void {
  const isPage = /^text\/html\b/i.test(answer.headers.get("content-type") ?? "");
  if (answer.status >= 400 && answer.status < 500 && isPage && refusalOf(answer) === undefined) {
    leave(`what stands in front refuses by itself: ${describe(answer)}`);
  }
}

/** Requires that an answer is a refusal with this status and code; what stands in front may refuse in its own words. */
export function mustRefuse(answer: Answer, status: number, code: string): void {
  if (answer.status !== status) leaveIfProxied(answer);
  must(answer.status === status, () => `${describe(answer)}, expected ${status} ${code}`);
  const refusal = refusalOf(answer);
  must(refusal === undefined || refusal.code === code, () => `${describe(answer)}, expected ${code}`);
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

function toBroken(error: unknown, request: string, limit: number, signal: AbortSignal): Error {
  if (error instanceof BrokenRule || error instanceof UncheckedRule) return error;
  if (signal.aborted) return new BrokenRule(`${request} was not answered within ${limit} ms`);
  const { message, cause } = error as Error;
  const found = cause instanceof Error && cause.message !== "" ? cause.message : message;
  return new BrokenRule(`${request} broke off: ${found}`);
}
