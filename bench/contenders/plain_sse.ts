/**
 * Plain server-sent events: holds a response for each client and writes to those that follow a key.
 *
 * @module
 */
import { HASH, keyOf } from "../workload.ts";
import type { Served } from "./served.ts";

const HEADERS = { "content-type": "text/event-stream", "cache-control": "no-store" };

type Write = (text: string) => void;

/** Plain SSE behind HTTP. */
export function servePlainSSE(nodes: number): Served {
  const versions = new Map<string, number>();
  for (let i = 0; i < nodes; i++) versions.set(keyOf(i), i + 1);
  const followers = new Map<string, Set<Write>>();
  let waiting = 0;
  const frame = (key: string) =>
    `event: update\ndata: ${
      JSON.stringify({ key, version: versions.get(key), hash: HASH, updatedAt: Date.now() })
    }\n\n`;
  const follow = (url: string, write: Write): () => void => {
    const keys = new URL(url, "http://localhost").searchParams.getAll("keys");
    for (const key of keys) {
      const there = followers.get(key);
      if (there) there.add(write);
      else followers.set(key, new Set([write]));
      write(frame(key));
    }
    waiting++;
    let isOver = false;
    return () => {
      if (isOver) return;
      isOver = true;
      waiting--;
      for (const key of keys) followers.get(key)?.delete(write);
    };
  };
  return {
    fetch(request) {
      const encoder = new TextEncoder();
      let leave = () => {};
      const body = new ReadableStream<Uint8Array>({
        start(controller) {
          leave = follow(request.url, (text) => controller.enqueue(encoder.encode(text)));
        },
        cancel: () => leave(),
      });
      return Promise.resolve(new Response(body, { headers: HEADERS }));
    },
    listener(request, response) {
      response.writeHead(200, HEADERS);
      response.on("close", follow(request.url!, (text) => response.write(text)));
    },
    change(key) {
      versions.set(key, versions.size + 1);
      const text = frame(key);
      for (const write of followers.get(key) ?? []) write(text);
    },
    watch: () => Promise.resolve({ waiting, reads: 0 }),
  };
}
