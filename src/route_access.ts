/**
 * Decides which requests may write through the write routes.
 *
 * @module
 */
import type { AbortSignalLike } from "./abort_signal.ts";
import { RefusalError } from "./errors.ts";
import type { Hooks } from "./hooks.ts";
import type { AuthorizeWrite } from "./options.ts";

/** The parts of a request that are used to check whether it may write. */
export interface WriteRequest {
  /** A header's value by its lower-case name. */
  header(name: string): string | null;
  /** The request for the application's hook. */
  toRequest(): Request;
  /** What the host provides beside the request. */
  getContext(): unknown;
  /** Aborts when the client disconnects. */
  getSignal(): AbortSignalLike;
}

/** Decides which requests the write routes accept. Without tokens and hook, no one may write. */
export class RouteAccess {
  readonly #tokens: readonly string[];
  readonly #authorize: AuthorizeWrite | undefined;
  readonly #hooks: Pick<Hooks, "call">;
  #digests: readonly Uint8Array[] | undefined;

  /**
   * @param tokens The bearer tokens that may write.
   * @param authorize The application's hook, called when no token matches.
   * @param hooks Calls the hook.
   */
  constructor(
    tokens: readonly string[],
    authorize: AuthorizeWrite | undefined,
    hooks: Pick<Hooks, "call">,
  ) {
    this.#tokens = tokens;
    this.#authorize = authorize;
    this.#hooks = hooks;
  }

  /**
   * Checks the token, before the body is read.
   *
   * @returns Whether the request may write. If not, call {@linkcode RouteAccess.askWrite}.
   * @throws {RefusalError} `FORBIDDEN` without tokens and hook, `UNAUTHORIZED` when only a valid token may write.
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
   * @throws {RefusalError} `FORBIDDEN` when it does not return `true`.
   * @throws {RealityError} `HOOK` when it takes too long.
   */
  async askWrite(request: WriteRequest, keys: readonly string[]): Promise<void> {
    const authorize = this.#authorize;
    if (authorize !== undefined) {
      const call = () => authorize(request.toRequest(), keys, { context: request.getContext() });
      if (await this.#hooks.call("authorizeWrite", call, () => request.getSignal()) === true) return;
    }
    throw new RefusalError("ERR_REALITY_FORBIDDEN", "Cannot write: authorizeWrite did not allow it");
  }

  async #matches(token: string): Promise<boolean> {
    // Store the digests and not their promise: on Workers a request may not wait for a promise of another request.
    const known = this.#digests ??= await Promise.all(this.#tokens.map(digest));
    const found = await digest(token);
    // Compare all tokens to their end, so that the duration reveals nothing about them.
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
