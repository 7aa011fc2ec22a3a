/**
 * A request and the answer that it must get: most of the HTTP kit is lists of these.
 *
 * @module
 */
import assert from "node:assert/strict";
import type { Adapter } from "./adapter.ts";
import { type Client, JSON_TYPE, toInit } from "./adapter_client.ts";
import type { SceneName } from "./scenes.ts";

/** A request and its expected answer. */
export interface Exchange {
  readonly title: string;
  readonly scene?: SceneName;
  readonly method?: string;
  /** Under the base path, unless `whole`. @default {"/sync"} */
  readonly path?: string;
  /** The path is not under the base path. */
  readonly whole?: true;
  readonly headers?: Record<string, string>;
  /** Sent unchanged if it is text or bytes, otherwise as JSON. */
  readonly body?: unknown;
  readonly status: number;
  /** The error code, without its prefix. */
  readonly code?: string;
  /** A pattern of the error message. */
  readonly message?: RegExp;
  /** The expected headers; `null` for a missing one. */
  readonly answers?: Record<string, string | RegExp | null>;
  /** The expected body, parsed as JSON; `""` for an empty one. */
  readonly json?: unknown;
  /** The error concerns the bytes of the body: a framework may send it itself. */
  readonly bytes?: true;
}

/** Expects a 400. */
export const bad = { status: 400, code: "BAD_REQUEST" } as const;
/** Expects a 405 to a request without a body. */
export const withoutBody = { status: 405, code: "METHOD", body: undefined } as const;
/** The headers of an answer in JSON that no cache may store. */
export const NO_STORE: Record<string, string | RegExp> = {
  "content-type": /^application\/json/,
  "cache-control": "no-store",
};

/** The headers of an answer in JSON to a POST, which no cache may store without a header that allows it. */
export const JSON_ONLY: Record<string, string | RegExp | null> = {
  "content-type": /^application\/json/,
  "cache-control": null,
};

/** Sends the request of an exchange and checks the answer. */
export async function check(adapter: Adapter, client: Client, exchange: Exchange): Promise<void> {
  const { method = "POST", path = "/sync", headers = JSON_TYPE, body, status, code, message } = exchange;
  const url = exchange.whole ? new URL(path, client.url("")).href : client.url(path);
  const hasOwn = exchange.body === undefined && exchange.headers === undefined;
  const response = await fetch(url, toInit(method, body, hasOwn ? {} : headers));
  const text = await response.text();
  assert.equal(response.status, status, text);
  const theirs = (adapter.parsesBodies && exchange.bytes) || (adapter.ownNotFound && status === 404);
  if (theirs) return;
  for (const [name, expected] of Object.entries(exchange.answers ?? {})) {
    const found = response.headers.get(name);
    if (expected instanceof RegExp) assert.match(found ?? "", expected, name);
    else assert.equal(found, expected, name);
  }
  if (exchange.json === "") assert.equal(text, "");
  else if (exchange.json !== undefined) assert.deepEqual(JSON.parse(text), exchange.json);
  if (status < 400) return;
  assert.equal(response.headers.get("cache-control"), "no-store");
  if (method === "HEAD") return assert.equal(text, "");
  // An answer of `/ready` is not an error and has another body.
  if (exchange.json !== undefined) return;
  const { error, ...rest } = JSON.parse(text);
  assert.deepEqual([Object.keys(rest), Object.keys(error)], [[], ["code", "message"]]);
  if (code !== undefined) assert.equal(error.code, `ERR_REALITY_${code}`);
  if (message !== undefined) assert.match(error.message, message);
  assert.doesNotMatch(text, /password|\bat .*\.ts/);
}
