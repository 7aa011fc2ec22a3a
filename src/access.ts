/**
 * Who may write through the write routes.
 *
 * @module
 */
import { RefusalError } from "./errors.ts";
import type { AuthorizeWrite } from "./options.ts";

/** What is looked at of a request that wants to write. */
export interface WriteRequest {
  /** A header's value by its lower-case name. */
  header(name: string): string | null;
  /** The request as the application's own hook sees it. */
  toRequest(): Request;
}

/** The lock of the write routes: closed unless there are tokens or a hook. */
export class WriteAccess {
  readonly #tokens: readonly string[];
  readonly #authorize: AuthorizeWrite | undefined;
  #digests: Promise<Uint8Array[]> | undefined;

  /**
   * @param tokens The bearer tokens that open the lock.
   * @param authorize The application's own say, asked when no token fits.
   */
  constructor(tokens: readonly string[], authorize: AuthorizeWrite | undefined) {
    this.#tokens = tokens;
    this.#authorize = authorize;
  }

  /**
   * Looks at the token, before anything of the body is read.
   *
   * @returns Whether the request may write; if not, {@linkcode WriteAccess.ask} has to be asked.
   * @throws {RefusalError} `FORBIDDEN` when nobody may write here, `UNAUTHORIZED` when only a right token would do.
   */
  async hasToken(request: WriteRequest): Promise<boolean> {
    if (this.#tokens.length === 0) {
      if (this.#authorize) return false;
      throw new RefusalError(
        "ERR_REALITY_FORBIDDEN",
        "Cannot write: this server was given neither writeTokens nor authorizeWrite",
      );
    }
    const [, token] = /^Bearer +([\x21-\x7e]{1,1024}) *$/i.exec(request.header("authorization") ?? "") ?? [];
    if (token !== undefined && await this.#matches(token)) return true;
    if (this.#authorize) return false;
    throw new RefusalError(
      "ERR_REALITY_UNAUTHORIZED",
      `Cannot write: ${token === undefined ? "no bearer token" : "the bearer token is not a known one"}`,
    );
  }

  /**
   * Asks the application's hook.
   *
   * @throws {RefusalError} `FORBIDDEN` when it says no.
   */
  async ask(request: WriteRequest, keys: readonly string[]): Promise<void> {
    if (await this.#authorize?.(request.toRequest(), keys) === true) return;
    throw new RefusalError("ERR_REALITY_FORBIDDEN", "Cannot write: authorizeWrite did not allow it");
  }

  async #matches(token: string): Promise<boolean> {
    this.#digests ??= Promise.all(this.#tokens.map(digest));
    const [known, found] = await Promise.all([this.#digests, digest(token)]);
    // Every token is compared to its end, so that the time taken tells nothing about any of them.
    let matches = false;
    for (const one of known) matches = equal(one, found) || matches;
    return matches;
  }
}

async function digest(token: string): Promise<Uint8Array> {
  return new Uint8Array(await crypto.subtle.digest("SHA-256", new TextEncoder().encode(token)));
}

function equal(a: Uint8Array, b: Uint8Array): boolean {
  let difference = a.length ^ b.length;
  for (let i = 0; i < a.length; i++) difference |= a[i]! ^ b[i]!;
  return difference === 0;
}
