/**
 * What every contender offers over HTTP, and what their adapters share.
 *
 * @module
 */
import type { IncomingMessage, RequestListener, Server } from "node:http";

/** A contender as its adapters and the bench need it. */
export interface Served {
  /** Answers what `Deno.serve` or `Bun.serve` brings. Left out, the contender stands on `node:http` everywhere. */
  readonly fetch?: (request: Request, host: unknown) => Promise<Response>;
  /** Answers what `node:http` brings. */
  readonly listener?: RequestListener;
  /** Takes connections from a server of `node:http` by itself. */
  readonly attach?: (server: Server) => void;
  /** Changes a node. */
  change(key: string): unknown;
  /** How many wait, and how many reads of the storage there were. */
  watch(): Promise<Watched>;
}

/** What a contender knows of itself. */
export interface Watched {
  readonly waiting: number;
  readonly reads: number;
}

/** The head of every answer of a bare contender. */
export const HEAD: Readonly<Record<string, string>> = {
  "content-type": "application/json",
  "cache-control": "no-store",
};

/** The body of a request. */
export function readText(request: IncomingMessage): Promise<string> {
  return new Promise((resolve) => {
    const chunks: Uint8Array[] = [];
    request.on("data", (chunk: Uint8Array) => chunks.push(chunk));
    request.on("end", () => resolve(Buffer.concat(chunks).toString()));
  });
}
