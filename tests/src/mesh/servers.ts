/**
 * Several servers in one process, which talk to each other through a network that a test can cut.
 *
 * @module
 */
import "../../loaded_mesh.ts";
import type { RealityError } from "../../../src/errors.ts";
import type { RealityServerOptions } from "../../../src/options.ts";
import { RealityServer } from "../../../src/server.ts";
import type { RealityNodeMeta } from "../../../src/types.ts";
import { MemoryStorage } from "../../../storage/memory/memory_storage.ts";
import { settle } from "../../clock.ts";

/** The number of running calls of Web Crypto, which take longer than promises on a busy machine. */
let signing = 0;
const { subtle } = crypto;
Object.defineProperty(crypto, "subtle", {
  configurable: true,
  value: new Proxy(subtle, {
    get(target, name: keyof SubtleCrypto) {
      return (...args: unknown[]) => {
        signing++;
        const call = (target[name] as (...args: unknown[]) => Promise<unknown>).apply(target, args);
        return call.finally(() => signing--);
      };
    },
  }),
});

/** A request on its way from one server to another. */
export interface Call {
  readonly from: string;
  readonly to: string;
  /** The request's body. */
  readonly body: { readonly gossip: Readonly<Record<string, unknown>> };
}

/** Servers `a`, `b`, …, each of which lists all others unless told otherwise. */
export class Servers {
  readonly all: Map<string, RealityServer> = new Map();
  readonly calls: Call[] = [];
  readonly errors: [id: string, error: RealityError][] = [];
  /** Decides which calls fail. */
  cut: (from: string, to: string) => boolean = () => false;
  #pending = 0;
  readonly #ids: readonly string[];
  readonly #options: Partial<RealityServerOptions>;

  /**
   * @param ids The servers' names, each also its host.
   * @param options What all of them are given.
   */
  constructor(ids: readonly string[], options: Partial<RealityServerOptions> = {}) {
    this.#ids = ids;
    this.#options = options;
    for (const id of ids) this.start(id);
  }

  /** Starts a server, or starts it anew. */
  start(id: string, options: Partial<RealityServerOptions> = {}): RealityServer {
    const server = new RealityServer({
      storage: new MemoryStorage(),
      serverId: id,
      meshPeers: this.#ids.filter((other) => other !== id).map(urlOf),
      onError: (error) => this.errors.push([id, error]),
      ...this.#options,
      ...options,
      mesh: { ...this.#options.mesh, ...options.mesh, fetch: (request) => this.#carry(id, request) },
    });
    this.all.set(id, server);
    return server;
  }

  /** The server of that name. */
  get(id: string): RealityServer {
    const server = this.all.get(id);
    if (server === undefined) throw new Error(`No server ${id}`);
    return server;
  }

  /** Lets each server exchange messages with all of its peers. */
  async meet(): Promise<void> {
    for (const server of this.all.values()) await server.handleSync({ known: {} });
    const others = this.all.size - 1;
    for (const server of this.all.values()) {
      for (let i = 0; (await server.getMeshPeers()).length < others; i++) {
        await server.handleSync({ known: { [`unknown:${i}`]: 1 } });
        await settle();
      }
    }
    await this.rest();
  }

  /** Waits until no call is running and none was sent while promises settled. */
  async rest(): Promise<void> {
    for (let quiet = 0, before = -1; quiet < 20; quiet++) {
      if (this.calls.length !== before || this.#pending > 0 || signing > 0) quiet = 0;
      before = this.calls.length;
      await settle();
    }
  }

  /** Waits until the node is so on all of these servers, woken by its changes. */
  async reach(key: string, fits: (node: RealityNodeMeta | null) => boolean, ids?: string[]): Promise<void> {
    for (const id of ids ?? this.all.keys()) {
      for (let node = await this.get(id).getNode(key); !fits(node); node = await this.get(id).getNode(key)) {
        const known = { [key]: node?.version ?? 0 };
        const { changed } = await this.get(id).handleSync({ known, wait: 5_000 });
        if (Object.keys(changed).length === 0) {
          throw new Error(`Server ${id} has not received ${key} within 5 s`);
        }
      }
    }
  }

  /** Stops all of them, and waits for their running calls. */
  async close(): Promise<void> {
    await Promise.all([...this.all.values()].map((server) => server.close()));
    await this.rest();
  }

  async #carry(from: string, request: Request): Promise<Response> {
    const to = new URL(request.url).hostname;
    const server = this.all.get(to);
    this.#pending++;
    try {
      this.calls.push({ from, to, body: await request.clone().json() });
      if (server === undefined || this.cut(from, to)) throw new TypeError("connection refused");
      return await server.getFetchHandler()(request);
    } finally {
      this.#pending--;
    }
  }
}

/** Where a server of that name is asked. */
export function urlOf(id: string): string {
  return `http://${id}:3000`;
}
