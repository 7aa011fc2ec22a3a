/**
 * Asks an application over HTTP which keys a client may read: an `authorize` hook for applications in any language.
 *
 * @module
 */
import { RealityError, RefusalError } from "../src/errors.ts";
import type { AllowedKeys } from "../src/options.ts";
import { describe, redactURL } from "../src/redact.ts";

/** The options of {@linkcode authorizeByURL}. */
export interface AuthorizeURLOptions {
  /** The URL of the application. */
  readonly url: string;
  /** Headers of the client to forward besides {@linkcode SENT_HEADERS}, in lower case. */
  readonly headers: readonly string[];
  /** Returns the time, in milliseconds. */
  readonly now?: () => number;
  /** Time for one answer, in milliseconds. @default {5000} */
  readonly timeout?: number;
  /** Size of the cache of answers, in bytes. @default {16777216} */
  readonly maxCacheBytes?: number;
}

/** The `authorize` hook of a server. */
export type AuthorizeRequest = (request: Request, keys: readonly string[]) => Promise<AllowedKeys>;

/** The headers that are always forwarded: they identify the client. */
export const SENT_HEADERS: readonly string[] = ["authorization", "cookie", "origin", "x-api-key"];

/** The longest time for which an answer is cached, in seconds. */
const MAX_EXPIRES_IN = 86_400;

/** Memory of a cached answer without its keys, in bytes. */
const ENTRY_BYTES = 400;

/** A cached answer. */
interface Answer {
  readonly allowed: AllowedKeys;
  /** The time until which it is used. */
  readonly until: number;
  readonly bytes: number;
}

/**
 * Creates an `authorize` hook that sends `POST` with `{ "keys": […] }` and headers of the client. It expects
 * `{ "keys": true | false | […], "expiresIn": seconds }`. An answer is cached for `expiresIn` seconds, for the same headers
 * and keys; without `expiresIn` it is not cached. 401 and 403 are forwarded to the client. Any other answer is a failure:
 * the client gets 503.
 */
export function authorizeByURL(options: AuthorizeURLOptions): AuthorizeRequest {
  return new Application(options).authorize;
}

class Application {
  readonly #options: AuthorizeURLOptions;
  readonly #names: readonly string[];
  readonly #now: () => number;
  /** By digest of headers and keys; the most recently used is last. */
  readonly #answers = new Map<string, Answer>();
  readonly #pending = new Map<string, Promise<AllowedKeys>>();
  #bytes = 0;

  constructor(options: AuthorizeURLOptions) {
    this.#options = options;
    this.#names = [...new Set([...SENT_HEADERS, ...options.headers])];
    this.#now = options.now ?? (() => performance.now());
  }

  readonly authorize: AuthorizeRequest = async ({ headers }, keys) => {
    const sent = this.#names.flatMap((name) => {
      const value = headers.get(name);
      return value === null ? [] : [[name, value] as const];
    });
    const question = await digest(JSON.stringify([sent, keys]));
    const known = this.#recall(question);
    if (known !== undefined) return known;
    const other = this.#pending.get(question);
    if (other !== undefined) return await other;
    const pending = this.#ask(sent, keys, question).finally(() => this.#pending.delete(question));
    this.#pending.set(question, pending);
    return await pending;
  };

  #recall(question: string): AllowedKeys | undefined {
    const answer = this.#answers.get(question);
    if (answer === undefined) return undefined;
    this.#forget(question, answer);
    if (answer.until <= this.#now()) return undefined;
    this.#store(question, answer);
    return answer.allowed;
  }

  async #ask(
    sent: readonly (readonly [string, string])[],
    keys: readonly string[],
    question: string,
  ): Promise<AllowedKeys> {
    const askedAt = this.#now();
    let response: Response;
    let answer: unknown;
    try {
      response = await fetch(this.#options.url, {
        method: "POST",
        headers: [...sent.map(([name, value]): [string, string] => [name, value]), [
          "content-type",
          "application/json",
        ]],
        body: JSON.stringify({ keys }),
        redirect: "error",
        signal: AbortSignal.timeout(this.#options.timeout ?? 5_000),
      });
      answer = response.status === 200 ? await response.json() : await response.body?.cancel();
    } catch (error) {
      throw this.#fail(describe(error));
    }
    const { status } = response;
    if (status === 401 || status === 403) {
      throw status === 401
        ? new RefusalError(
          "ERR_REALITY_UNAUTHORIZED",
          "Cannot read: the application does not know this client",
        )
        : new RefusalError("ERR_REALITY_FORBIDDEN", "Cannot read: the application does not allow it");
    }
    if (status !== 200) throw this.#fail(`it answered ${status}`);
    const { allowed, expiresIn } = readAnswer(answer) ?? {};
    if (allowed === undefined || expiresIn === undefined) {
      throw this.#fail('its answer is not { "keys": true, false or […], "expiresIn": seconds }');
    }
    if (expiresIn > 0) {
      const bytes = ENTRY_BYTES + (typeof allowed === "boolean" ? 0 : JSON.stringify(allowed).length * 2);
      this.#store(question, { allowed, until: askedAt + expiresIn * 1_000, bytes });
    }
    return allowed;
  }

  #store(question: string, answer: Answer): void {
    this.#answers.set(question, answer);
    this.#bytes += answer.bytes;
    for (const [oldest, { bytes }] of this.#answers) {
      if (this.#bytes <= (this.#options.maxCacheBytes ?? 16_777_216)) break;
      this.#answers.delete(oldest);
      this.#bytes -= bytes;
    }
  }

  #forget(question: string, answer: Answer): void {
    this.#answers.delete(question);
    this.#bytes -= answer.bytes;
  }

  #fail(why: string): RealityError {
    const url = redactURL(this.#options.url);
    return new RealityError("ERR_REALITY_HOOK", `Cannot ask ${url} who may read: ${why}`);
  }
}

function readAnswer(
  answer: unknown,
): { readonly allowed: AllowedKeys; readonly expiresIn: number } | undefined {
  const { keys, expiresIn = 0 } = (answer ?? {}) as { keys?: unknown; expiresIn?: unknown };
  const isList = Array.isArray(keys) && keys.every((key) => typeof key === "string");
  if (typeof keys !== "boolean" && !isList) return undefined;
  if (typeof expiresIn !== "number" || !(expiresIn >= 0)) return undefined;
  return { allowed: keys as AllowedKeys, expiresIn: Math.min(expiresIn, MAX_EXPIRES_IN) };
}

/** The cache has digests as its keys: headers contain secrets, and lists of keys are long. */
async function digest(text: string): Promise<string> {
  const bytes = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(text));
  return String.fromCharCode(...new Uint8Array(bytes));
}
