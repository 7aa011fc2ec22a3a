/**
 * Asks the application by HTTP who may read what: a server's `authorize`, for applications in any language.
 *
 * @module
 */
import { RealityError, RefusalError } from "../src/errors.ts";
import type { AllowedKeys } from "../src/options.ts";
import { describe, redactURL } from "../src/redact.ts";

/** How the application is asked. */
export interface AuthorizeURLOptions {
  /** Where. */
  readonly url: string;
  /** Headers of the request that it is sent beside {@linkcode SENT_HEADERS}, in lower case. */
  readonly headers: readonly string[];
  /** The time, in milliseconds. */
  readonly now?: () => number;
  /** How long one answer may take, in milliseconds. @default {5000} */
  readonly timeout?: number;
  /** How many bytes of answers may be kept. @default {16777216} */
  readonly maxCacheBytes?: number;
}

/** What a server takes as `authorize`, for requests that come by any door. */
export type AuthorizeRequest = (request: Request, keys: readonly string[]) => Promise<AllowedKeys>;

/** The headers of a request that say who asks. Nothing else of it is passed on. */
export const SENT_HEADERS: readonly string[] = ["authorization", "cookie", "origin", "x-api-key"];

/** The longest time for which an answer is used, in seconds. */
const MAX_EXPIRES_IN = 86_400;

/** What an answer that is kept takes beside its keys, in bytes. */
const ENTRY_BYTES = 400;

/** An answer. */
interface Answer {
  readonly allowed: AllowedKeys;
  /** Until when it is used, by the clock. */
  readonly until: number;
  readonly bytes: number;
}

/**
 * Makes an `authorize` that sends `POST` with `{ "keys": […] }` and the client's own headers, and expects
 * `{ "keys": true | false | […], "expiresIn": seconds }`. An answer is used again until then, for the same headers and
 * keys; without `expiresIn` each question is asked. 401 and 403 go to the client; whatever else is no answer: 503.
 */
export function authorizeByURL(options: AuthorizeURLOptions): AuthorizeRequest {
  return new Application(options).authorize;
}

class Application {
  readonly #options: AuthorizeURLOptions;
  readonly #names: readonly string[];
  readonly #now: () => number;
  /** By question, the one that was used last at the end. */
  readonly #answers = new Map<string, Answer>();
  readonly #asking = new Map<string, Promise<AllowedKeys>>();
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
    const other = this.#asking.get(question);
    if (other !== undefined) return await other;
    const asking = this.#ask(sent, keys, question).finally(() => this.#asking.delete(question));
    this.#asking.set(question, asking);
    return await asking;
  };

  #recall(question: string): AllowedKeys | undefined {
    const answer = this.#answers.get(question);
    if (answer === undefined) return undefined;
    this.#forget(question, answer);
    if (answer.until <= this.#now()) return undefined;
    this.#keep(question, answer);
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
        ? new RefusalError("ERR_REALITY_UNAUTHORIZED", "Cannot read: the application wants to know who asks")
        : new RefusalError("ERR_REALITY_FORBIDDEN", "Cannot read: the application does not allow it");
    }
    if (status !== 200) throw this.#fail(`it answered ${status}`);
    const { allowed, expiresIn } = readAnswer(answer) ?? {};
    if (allowed === undefined || expiresIn === undefined) {
      throw this.#fail('its answer is not { "keys": true, false or […], "expiresIn": seconds }');
    }
    if (expiresIn > 0) {
      const bytes = ENTRY_BYTES + (typeof allowed === "boolean" ? 0 : JSON.stringify(allowed).length * 2);
      this.#keep(question, { allowed, until: askedAt + expiresIn * 1_000, bytes });
    }
    return allowed;
  }

  #keep(question: string, answer: Answer): void {
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

/** Headers have secrets, and questions many keys: neither is kept. */
async function digest(text: string): Promise<string> {
  const bytes = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(text));
  return String.fromCharCode(...new Uint8Array(bytes));
}
