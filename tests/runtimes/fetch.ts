/**
 * Listens for a fetch handler with what the runtime at hand has for it.
 *
 * @module
 */
import { listenFetchOnNode, type Listening } from "./node.ts";

/** As much of the runtimes' own servers as is used here. */
interface Runtimes {
  Deno?: {
    serve(
      options: { port: number; hostname: string; onListen(): void },
      handler: (request: Request, info: unknown) => Promise<Response>,
    ): { addr: { port: number }; shutdown(): Promise<void> };
  };
  Bun?: {
    serve(
      options: {
        port: number;
        hostname: string;
        idleTimeout?: number;
        fetch: (request: Request, server: unknown) => Promise<Response>;
      },
    ): { port: number; stop(closeActiveConnections: boolean): Promise<void> };
  };
}

/** The name of the runtime's own server. */
export const serverName: string = "Bun" in globalThis
  ? "Bun.serve"
  : "Deno" in globalThis
  ? "Deno.serve"
  : "a bridge on Node";

/** Listens for a handler, with `Deno.serve`, `Bun.serve`, or a bridge over `node:http`. */
export async function listenFetch(
  handler: (request: Request, host?: unknown) => Promise<Response>,
): Promise<Listening> {
  const { Deno, Bun } = globalThis as Runtimes;
  const place = { port: 0, hostname: "127.0.0.1" };
  if (Bun) {
    const server = Bun.serve({ ...place, fetch: handler });
    return { origin: `http://127.0.0.1:${server.port}`, close: () => server.stop(true) };
  }
  if (Deno) {
    const server = Deno.serve({ ...place, onListen() {} }, handler);
    return { origin: `http://127.0.0.1:${server.addr.port}`, close: () => server.shutdown() };
  }
  return await listenFetchOnNode(handler);
}

/** Listens with `Bun.serve`, which closes what was silent for a second, or a few, since it looks rarely. */
export function listenBun(
  handler: (request: Request, server: unknown) => Response | Promise<Response>,
): Listening {
  const { Bun } = globalThis as Runtimes;
  if (Bun === undefined) throw new Error("This is not Bun");
  const fetch = async (request: Request, server: unknown) => await handler(request, server);
  const server = Bun.serve({ port: 0, hostname: "127.0.0.1", idleTimeout: 1, fetch });
  return { origin: `http://127.0.0.1:${server.port}`, close: () => server.stop(true) };
}
