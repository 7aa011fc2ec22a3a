/**
 * The limit of the sync benches: a handler that only parses, looks up and stringifies. It checks nothing, shares
 * nothing, cannot fail, and reads from a `Map`.
 *
 * @module
 */
import { HASH, keyOf } from "../workload.ts";
import { HEAD, readText, type Served } from "./served.ts";

interface Meta {
  key: string;
  version: number;
  hash: string;
  updatedAt: number;
}

/** A bare server of some nodes. */
export class Limit {
  readonly #nodes = new Map<string, Meta>();

  /** @param nodes How many nodes it keeps. */
  constructor(nodes: number) {
    for (let i = 0; i < nodes; i++) this.update(keyOf(i), HASH);
  }

  /** Gives a node its next version. */
  update(key: string, hash: string): void {
    this.#nodes.set(key, { key, version: this.#nodes.size + 1, hash, updatedAt: Date.now() });
  }

  /** Answers a body with a body. */
  answer(body: string): string {
    const { known } = JSON.parse(body) as { known: Record<string, number> };
    const changed: Record<string, Meta> = {};
    for (const key in known) {
      const node = this.#nodes.get(key);
      if (node !== undefined && node.version !== known[key]) changed[key] = node;
    }
    const mesh = { peers: [], serverVersion: this.#nodes.size };
    return JSON.stringify({ changed, mesh, epoch: "0mgr3w2xk-1a2b3c4d", serverTime: Date.now() });
  }

  /** Answers a request with a response. */
  async fetch(request: Request): Promise<Response> {
    return new Response(this.answer(await request.text()), { headers: HEAD });
  }
}

/** The limit behind HTTP. */
export function serveLimit(nodes: number): Served {
  const limit = new Limit(nodes);
  return {
    fetch: (request) => limit.fetch(request),
    listener: async (request, response) => {
      const body = limit.answer(await readText(request));
      response.writeHead(200, HEAD);
      response.end(body);
    },
    change: (key) => limit.update(key, HASH),
    watch: () => Promise.resolve({ waiting: 0, reads: 0 }),
  };
}
