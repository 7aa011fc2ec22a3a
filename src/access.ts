/**
 * Decides which clients may read.
 *
 * @module
 */
import type { AbortSignalLike } from "./abort_signal.ts";
import type { Hooks } from "./hooks.ts";
import { isVersion, kindOf } from "./store/node.ts";
import type { Authorize, ReadingRights } from "./options.ts";
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
