/**
 * The server under check: sends requests with a timeout, and creates new keys.
 *
 * @module
 */
import type { RealityNodeMeta, SyncRequest, SyncResponse } from "../../src/types.ts";
import { EventStream } from "./event_stream.ts";
import { assert, BrokenRule, format, skip, UncheckedRule } from "./outcome.ts";

/** Options of {@linkcode CheckedServer}. */
export interface ServerOptions {
  /** A bearer token of the write routes; `undefined` to change nothing. */
  readonly writeToken: string | undefined;
  /** The URL of a stamped answer of the application; `undefined` not to check stamps. */
  readonly stamped?: string | undefined;
  /** Headers of every request. */
  readonly headers: Readonly<Record<string, string>>;
  /** Time for one answer in addition to the `wait` of the request, in milliseconds. */
  readonly timeout: number;
}

/** Options of a request. */
export interface RequestOptions {
  /** Text and bytes are sent unchanged, other values as JSON. */
  readonly body?: unknown;
  readonly headers?: Readonly<Record<string, string>>;
  /** The `wait` of the request, in milliseconds. */
  readonly wait?: number;
}

/** An answer with its whole body. */
export interface Answer {
  /** The request: `POST /sync`. */
  readonly request: string;
  readonly status: number;
  readonly headers: Headers;
  readonly text: string;
  /** The body as JSON; `undefined` if it is not JSON. */
  readonly json: unknown;
  /** Time from the request to the end of the body, in milliseconds. */
  readonly elapsed: number;
}

/** The body of a refusal. */
export interface Refusal {
  /** The code without its prefix. */
  readonly code: string;
  readonly message: string;
}

/** An origin that does not exist. */
export const STRANGER = "https://reality-check.invalid";

/** How many times a request is sent again after a 429. */
const RETRIES = 3;

/** The server under check. */
export class CheckedServer {
  /** The URL of the base path, without a slash at the end. */
  readonly base: string;
  /** The prefix of all keys of this run. */
  readonly prefix: string = `reality-check:${crypto.randomUUID()}:`;
  /** Time for one answer, in milliseconds. */
  readonly timeout: number;
  readonly #writeToken: string | undefined;
  readonly #stamped: string | undefined;
  readonly #headers: Readonly<Record<string, string>>;
  readonly #written = new Set<string>();
  #keys = 0;

  /**
   * @param base The URL of the base path.
   * @param options The write token, the stamped answer, headers and the timeout.
   */
  constructor(base: string, options: ServerOptions) {
    this.base = base.replace(/\/+$/, "");
    this.timeout = options.timeout;
    this.#writeToken = options.writeToken;
    this.#stamped = options.stamped;
    // In lower case, so that the headers of a request replace these.
    this.#headers = Object.fromEntries(new Headers(options.headers));
  }

  /** Returns a key that was never used before. */
  newKey(): string {
    return `${this.prefix}${++this.#keys}`;
  }

  /**
   * Sends a request to a path below the base path, or to a whole URL, and reads the whole answer. After a 429 it waits for
   * `Retry-After` and sends it again.
   */
  async send(method: string, path: string, options: RequestOptions = {}): Promise<Answer> {
    for (let tries = 1;; tries++) {
      const answer = await this.#sendOnce(method, path, options);
      if (answer.status !== 429) return answer;
      const pause = Number(answer.headers.get("retry-after")) * 1000;
      if (tries > RETRIES || !(pause > 0 && pause <= this.timeout)) {
        throw new UncheckedRule(`${answer.request} was answered with 429: too many requests`);
      }
      await new Promise((resolve) => setTimeout(resolve, pause));
    }
  }

  /** Fetches the stamped answer of the application. Skips the rule if its URL is not known. */
  async sendStamped(headers: Readonly<Record<string, string>>): Promise<Answer> {
    if (this.#stamped === undefined) skip("needs --stamped");
    return await this.send("GET", this.#stamped, { headers });
  }

  /** The header `Origin` of a page: the one of the options, or that of an origin that does not exist. */
  get pageOrigin(): { readonly origin: string } {
    return { origin: this.#headers.origin ?? STRANGER };
  }

  /** Sends a sync. The answer must be a 200 with `changed`. */
  async sync(
    request: SyncRequest,
    options: RequestOptions = {},
  ): Promise<SyncResponse & { elapsed: number }> {
    const { wait } = request;
    const answer = await this.send("POST", "/sync", {
      ...options,
      body: request,
      ...(wait === undefined ? {} : { wait }),
    });
    assert(answer.status === 200, () => `${describe(answer)} to ${format(request)}`);
    const { changed } = answer.json as Partial<SyncResponse> ?? {};
    assert(typeof changed === "object" && changed !== null, () => `no "changed" in ${format(answer.json)}`);
    return { ...answer.json as SyncResponse, elapsed: answer.elapsed };
  }

  /** Sends one version of one key. Returns its meta if it is changed. */
  async compare(key: string, version: number, epoch?: string): Promise<RealityNodeMeta | undefined> {
    const { changed } = await this.sync({
      known: { [key]: version },
      ...(epoch === undefined ? {} : { epoch }),
    });
    return changed[key];
  }

  /** Writes new hashes of keys. Skips the rule if there is no token. */
  async update(...keys: string[]): Promise<Record<string, number>> {
    const updates = keys.map((key) => ({ key, hash: crypto.randomUUID() }));
    return await this.write("/update", keys, { updates });
  }

  /** Sends a write. Returns the new versions of the keys. */
  async write(path: string, keys: readonly string[], body: unknown): Promise<Record<string, number>> {
    const answer = await this.send("POST", path, { body, headers: this.authorize(keys) });
    skipIfNotMounted(answer);
    assert(answer.status === 200, () => `${describe(answer)} to a write with the token`);
    const { versions } = answer.json as { versions?: Record<string, number> } ?? {};
    assert(
      keys.every((key) => Number.isSafeInteger(versions?.[key])),
      () => `no version of every key written in ${format(answer.json)}`,
    );
    return versions as Record<string, number>;
  }

  /** Deletes a key. Returns the answer. */
  async remove(key: string): Promise<Answer> {
    const answer = await this.send("DELETE", `/nodes/${encodeURIComponent(key)}`, {
      headers: this.authorize([key]),
    });
    if (answer.status === 204) this.#written.delete(key);
    return answer;
  }

  /** Returns the headers of a write, and records its keys as written. Skips the rule if there is no token. */
  authorize(keys: readonly string[]): Record<string, string> {
    if (this.#writeToken === undefined) skip("needs --write-token");
    for (const key of keys) this.#written.add(key);
    return { authorization: `Bearer ${this.#writeToken}` };
  }

  /** Opens an event stream and waits for its headers. Skips the rule if the route is not mounted. */
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
      if (response.status === 404) skip("GET /events is not mounted");
      throw new BrokenRule(`GET /events was answered with ${response.status}`);
    } catch (error) {
      throw toBrokenRule(error, "GET /events", this.timeout, controller.signal);
    } finally {
      clearTimeout(timer);
    }
  }

  /** Deletes the written keys. Returns those that could not be deleted. */
  async deleteWritten(): Promise<string[]> {
    for (const key of [...this.#written]) await this.remove(key).catch(() => {});
    return [...this.#written];
  }

  async #sendOnce(
    method: string,
    path: string,
    { body, headers, wait = 0 }: RequestOptions,
  ): Promise<Answer> {
    const request = `${method} ${path.split("?")[0]}`;
    const url = /^https?:/.test(path) ? path : this.base + path;
    const isPlain = typeof body === "string" || body instanceof Uint8Array || body === undefined;
    const limit = this.timeout + wait;
    const controller = new AbortController();
    const timer = setTimeout(() => controller.abort(), limit);
    const start = performance.now();
    try {
      const response = await fetch(url, {
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
      throw toBrokenRule(error, request, limit, controller.signal);
    } finally {
      clearTimeout(timer);
    }
  }
}

/** Skips a rule if its route is not mounted: a server may mount a single route. */
export function skipIfNotMounted(answer: Answer): void {
  if (answer.status === 404) skip(`${answer.request} is not mounted`);
}

/** Describes an answer. */
export function describe(answer: Answer): string {
  const { code, message } = refusalOf(answer) ?? {};
  const said = code === undefined ? "" : ` ${code}: ${message}`;
  return `${answer.request} was answered with ${answer.status}${said}`;
}

/** Returns the body of a refusal; `undefined` if it has another shape, as that of a proxy. */
export function refusalOf(answer: Answer): Refusal | undefined {
  const { code, message } = (answer.json as { error?: Partial<Refusal> } | null | undefined)?.error ?? {};
  if (typeof code !== "string" || typeof message !== "string") return undefined;
  return { code: code.replace(/^ERR_REALITY_/, ""), message };
}

/**
 * Skips a rule if a proxy in front refused the request: a server refuses with JSON, a proxy with an HTML page. For example,
 * nginx refuses every URL with `%00`.
 */
export function skipIfRefusedByProxy(answer: Answer): void {
  const isPage = /^text\/html\b/i.test(answer.headers.get("content-type") ?? "");
  if (answer.status >= 400 && answer.status < 500 && isPage && refusalOf(answer) === undefined) {
    skip(`refused by a proxy in front: ${describe(answer)}`);
  }
}

/** Requires a refusal with this status and code. The refusal of a proxy in front needs the status only. */
export function assertRefused(answer: Answer, status: number, code: string): void {
  if (answer.status !== status) skipIfRefusedByProxy(answer);
  assert(answer.status === status, () => `${describe(answer)}, expected ${status} ${code}`);
  const refusal = refusalOf(answer);
  assert(refusal === undefined || refusal.code === code, () => `${describe(answer)}, expected ${code}`);
}

/** Requires that `HEAD` is answered with 200 and without a body. */
export async function assertHead(server: CheckedServer, path: string): Promise<void> {
  const answer = await server.send("HEAD", path);
  skipIfNotMounted(answer);
  assert(answer.status === 200 && answer.text === "", () => describe(answer));
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

function toBrokenRule(error: unknown, request: string, limit: number, signal: AbortSignal): Error {
  if (error instanceof BrokenRule || error instanceof UncheckedRule) return error;
  if (signal.aborted) return new BrokenRule(`${request} was not answered within ${limit} ms`);
  const { message, cause } = error as Error;
  const found = cause instanceof Error && cause.message !== "" ? cause.message : message;
  return new BrokenRule(`${request} failed: ${found}`);
}
