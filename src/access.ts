/**
 * Decides which clients may read, and which may write through the write routes.
 *
 * @module
 */
import { RefusalError } from "./errors.ts";
import type { AbortSignalLike } from "./abort_signal.ts";
import type { Hooks } from "./hooks.ts";
import { isVersion, kindOf } from "./store/node.ts";
import type { Authorize, AuthorizeWrite, MetricsHook, ReadingRights } from "./options.ts";
import type { StorageReading } from "./store/contract.ts";

/** What one client may read at this moment. */
export interface Rights {
  /** The keys; `null` for all that it asks for. */
  readonly keys: ReadonlySet<string> | null;
  /** Until when, in milliseconds since 1970. */
  readonly expiresAt: number;
}

/** Asks which of its keys a client may read. Called each time before the client is told something. */
export type AskRights = () => Promise<Rights>;

/**
 * Asks the application's hook what a request may read.
 *
 * @throws {TypeError} When the answer of the hook is neither a boolean nor a set of keys.
 */
export async function askRights(ask: () => ReadingRights | Promise<ReadingRights>): Promise<Rights> {
  const answer: unknown = await ask();
  const isList = Array.isArray(answer) || answer instanceof Set;
  const isDetailed = typeof answer === "object" && answer !== null && !isList && "keys" in answer;
  if (!isDetailed) return { keys: readKeys(answer), expiresAt: Infinity };
  const { keys: allowed, expiresAt = Infinity } = answer as { keys: unknown; expiresAt?: unknown };
  if (expiresAt !== Infinity && !isVersion(expiresAt)) {
    throw new TypeError(`Cannot read the answer of "authorize": its expiresAt is ${kindOf(expiresAt)}`);
  }
  return { keys: readKeys(allowed), expiresAt: expiresAt as number };
}

/** Masks a reading: a key that the client may not read looks like a key without a node. */
export function mask(reading: StorageReading, rights: Rights | undefined, now: number): StorageReading {
  if (rights === undefined || rights.keys === null && rights.expiresAt > now) return reading;
  const allowed = rights.expiresAt > now ? rights.keys : null;
  const { nodes } = reading;
  return { ...reading, nodes: { get: (key) => allowed?.has(key) ? nodes.get(key) : undefined } };
}

/** Whether a client with these rights may read all of these keys. */
export function seesAll(rights: Rights | undefined, keys: readonly string[], now: number): boolean {
  if (rights === undefined) return true;
  const { keys: allowed, expiresAt } = rights;
  return expiresAt > now && (allowed === null || keys.every((key) => allowed.has(key)));
}

function readKeys(answer: unknown): ReadonlySet<string> | null {
  if (answer === true) return null;
  if (answer === false) return new Set();
  if (Array.isArray(answer) || answer instanceof Set) return new Set(answer as Iterable<string>);
  throw new TypeError(
    `Cannot read the answer of "authorize": expected true, false or the keys allowed, got ${kindOf(answer)}`,
  );
}

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

/** The client of a request that reads. */
export interface ReadSource {
  /** Provides the signal that aborts when the client disconnects, if there is one. */
  getSignal(): AbortSignalLike | undefined;
  /** The request for the application's hook; left out for a trusted caller, which may read everything. */
  readonly toRequest?: (() => Request) | undefined;
  /** What the host provides beside the request. */
  getContext?(): unknown;
}

/** Decides which keys a client may read. */
export class ReadAccess {
  readonly #authorize: Authorize | undefined;
  readonly #hooks: Pick<Hooks, "call">;

  /**
   * @param authorize The application's hook; undefined: every client may read everything.
   * @param hooks Calls the hook.
   */
  constructor(authorize: Authorize | undefined, hooks: Pick<Hooks, "call">) {
    this.#authorize = authorize;
    this.#hooks = hooks;
  }

  /** Returns a function that asks what a client may read of these keys; undefined if it may read all of them. */
  createAsk(keys: readonly string[], source: ReadSource): AskRights | undefined {
    const authorize = this.#authorize;
    if (authorize === undefined || source.toRequest === undefined) return undefined;
    const call = () => authorize(source.toRequest!(), keys, { context: source.getContext?.() });
    return () => askRights(() => this.#hooks.call("authorize", call, () => source.getSignal()));
  }
}

/** Decides which requests the write routes and the metrics route accept. Without tokens and hook, no one may write. */
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

  /**
   * Asks the function that was given as the option `metrics`.
   *
   * @throws {RefusalError} `FORBIDDEN` when it does not return `true`.
   * @throws {RealityError} `HOOK` when it takes too long.
   */
  async askMetrics(
    hook: MetricsHook,
    request: WriteRequest,
  ): Promise<void> {
    const call = () => hook(request.toRequest(), { context: request.getContext() });
    if (await this.#hooks.call("metrics", call, () => request.getSignal()) === true) return;
    throw new RefusalError("ERR_REALITY_FORBIDDEN", "The option metrics refuses this request");
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
