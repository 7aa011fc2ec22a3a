/**
 * Sends requests to the server and parses its answers.
 *
 * @module
 */
import type { ClientClock } from "./clock.ts";
import { limitPause, parseRetryAfter } from "./pause.ts";
import type { Answer, Question } from "./subscriptions.ts";
import type { ClientOptions, KeyChange } from "./types.ts";

/** The part of the options that requests need, with defaults filled in. */
export interface RequestConfig {
  /** The base path without a slash at its end. */
  readonly url: string;
  readonly headers: ClientOptions["headers"];
  readonly fetch: typeof globalThis.fetch;
  readonly clock: ClientClock;
}

/** An answer of the server. */
export interface SyncAnswer extends Answer {
  /** The pause that the server asks for, in milliseconds. */
  readonly pause: number;
  /** The clock of the server, in milliseconds since 1970. */
  readonly serverTime: number;
}

/** What a refusal says. Every error of this module has these fields or none. */
export interface Refusal {
  readonly status?: number;
  /** How long not to ask again, in milliseconds. */
  readonly retryAfter?: number;
}

/** Asks which of the known versions are old. The server may wait for so many milliseconds before it answers. */
export async function sync(
  config: RequestConfig,
  { known, epoch }: Pick<Question, "known" | "epoch">,
  { wait, signal }: { readonly wait: number; readonly signal: AbortSignal },
): Promise<SyncAnswer> {
  const response = await send(config, "/sync", {
    method: "POST",
    body: JSON.stringify({
      known: Object.fromEntries(known),
      ...(epoch && { epoch }),
      wait: Math.round(wait),
    }),
    signal,
  });
  return parseAnswer(await response.json());
}

/** Checks an answer. */
export function parseAnswer(body: unknown): SyncAnswer {
  const answer = Object(body);
  if (
    typeof answer.epoch !== "string" ||
    Object(answer.changed) !== answer.changed
  ) {
    throw new Error(
      'Cannot sync: expected an answer with "epoch" and "changed"',
    );
  }
  const changed = new Map(
    Object.entries(answer.changed).map(([key, meta]) => [key, parseChange(key, meta)] as const),
  );
  return { ...answer, changed, pause: limitPause(answer.pause) };
}

/** Sends a request. Rejects with a {@linkcode Refusal} if the status is not one of success. */
export async function send(
  config: RequestConfig,
  path: string,
  init: RequestInit,
): Promise<Response> {
  // Browsers refuse to call their `fetch` as a method of another object.
  const { fetch } = config;
  const headers = new Headers(
    typeof config.headers === "function" ? await config.headers() : config.headers,
  );
  if (init.body) headers.set("content-type", "application/json");
  const url = config.url + path;
  const response = await fetch(url, { ...init, headers });
  if (response.ok) return response;
  void response.body?.cancel().catch(() => {});
  const { status } = response;
  const refusal: Refusal = {
    status,
    retryAfter: parseRetryAfter(
      response.headers.get("retry-after"),
      config.clock.now(),
    ),
  };
  throw Object.assign(
    new Error(`Cannot sync: the server answered ${status} at ${url}`),
    refusal,
  );
}

/** Checks what the server said about a key. */
export function parseChange(key: string, meta: unknown): KeyChange {
  const { version } = Object(meta);
  if (!Number.isSafeInteger(version) || version < 0) throw new Error("Cannot sync: expected a version");
  return { ...meta as KeyChange, key };
}
