/**
 * The client of the HTTP kit: sends requests to one adapter, and reads and waits for the statistics of the server behind it.
 *
 * @module
 */
import assert from "node:assert/strict";
import type { ServerStats, SyncResponse } from "../../mod.ts";
import type { Test } from "../harness.ts";
import { type Adapter, type OpenAdapter, statsOf } from "./adapter.ts";
import { soon, until } from "./client.ts";
import { type Operation, type SceneName, TOKENS } from "./scenes.ts";

/** The headers of a request with a JSON body. */
export const JSON_TYPE = { "content-type": "application/json" };
/** The headers of a request that may write. */
export const AUTHORIZED: Record<string, string> = { authorization: `Bearer ${TOKENS[0]}` };
/** The headers of a write with a JSON body. */
export const WRITE: Record<string, string> = { ...JSON_TYPE, ...AUTHORIZED };

/** Keys that break code which treats them as more than text. */
export const STRANGE_KEYS: readonly string[] = [
  "__proto__",
  "constructor",
  "hasOwnProperty",
  "toString",
  "then",
  `"quoted" and \\ back`,
  "emoji 🙂 ключ",
  "a/b?c=d&e#f%25+g",
  " edges ",
  "x".repeat(512),
  "é".repeat(256),
  "'; DROP TABLE nodes; --",
];

/** Registers a test of an adapter with a server of this scene. */
export type OnAdapter = (title: string, scene: SceneName, run: (client: Client) => Promise<void>) => void;

/** Returns a function that registers tests of one adapter. */
export function registerOn(test: Test, adapter: Adapter): OnAdapter {
  return (title, scene, run) =>
    test(`${adapter.name}: ${title}`, async () => {
      const open = await adapter.open(scene);
      try {
        await run(new Client(open, adapter.noticesLate));
      } finally {
        await open.close();
      }
    });
}

/** A client of an adapter. */
export class Client {
  readonly #adapter: OpenAdapter;
  readonly #noticesLate: boolean;

  constructor(adapter: OpenAdapter, noticesLate = false) {
    this.#adapter = adapter;
    this.#noticesLate = noticesLate;
  }

  url(path: string): string {
    return this.#adapter.url(path);
  }

  operate(operation: Operation): Promise<unknown> {
    return this.#adapter.operate(operation);
  }

  get(path: string, headers: Record<string, string> = {}): Promise<Response> {
    return this.send("GET", path, undefined, headers);
  }

  post(path: string, body: unknown, headers: Record<string, string> = JSON_TYPE): Promise<Response> {
    return this.send("POST", path, body, headers);
  }

  send(
    method: string,
    path: string,
    body: unknown,
    headers: Record<string, string>,
    signal?: AbortSignal,
  ): Promise<Response> {
    return fetch(this.url(path), toInit(method, body, headers, signal));
  }

  async sync(body: unknown, signal?: AbortSignal): Promise<SyncResponse> {
    const response = await this.send("POST", "/sync", body, JSON_TYPE, signal);
    assert.equal(response.status, 200);
    return await response.json();
  }

  async reports(): Promise<string[]> {
    return await this.operate({ do: "reports" }) as string[];
  }

  /** Waits until so many requests wait. */
  async hasWaiters(count: number): Promise<void> {
    await until(async () => (await this.stats()).waiters === count, `${count} wait`);
  }

  /** Waits until so many streams are open. */
  async hasStreams(count: number): Promise<void> {
    await until(async () => (await this.stats()).streams === count, `${count} streams are open`);
  }

  /** Waits until the server has closed the streams of this key, whose clients are gone. */
  async isLeft(key: string): Promise<void> {
    const isOver = async () => {
      const { streams, waiters } = await this.stats();
      if (streams + waiters === 0) return true;
      if (this.#noticesLate) await this.operate({ do: "update", key, hash: String(Math.random()) });
      return false;
    };
    await until(isOver, "no stream is open");
  }

  /** Checks that the server still answers. */
  async isWell(): Promise<void> {
    const response = await soon(this.get("/health"), "an answer");
    assert.equal(response.status, 200);
    await response.body?.cancel();
  }

  stats(): Promise<ServerStats> {
    return statsOf(this.#adapter);
  }
}

/** Makes the options of `fetch`. A body that is neither text nor bytes is sent as JSON. */
export function toInit(
  method: string,
  body: unknown,
  headers: Record<string, string>,
  signal?: AbortSignal,
): RequestInit {
  const raw = typeof body === "string" || body instanceof Uint8Array;
  return {
    method,
    headers,
    ...(body === undefined ? {} : { body: raw ? body as BodyInit : JSON.stringify(body) }),
    ...(signal === undefined ? {} : { signal }),
  };
}

/** The head of a sync whose body is sent by hand. */
export function syncHead(client: Client, header: string): string {
  return `POST ${new URL(client.url("/sync")).pathname} HTTP/1.1\r\nHost: a\r\n` +
    `Content-Type: application/json\r\n${header}\r\n\r\n`;
}

/** The node that tells a client that a key has no node any more. */
export function absent(key: string): unknown {
  return { key, version: 0, hash: "", updatedAt: 0, deleted: true };
}
