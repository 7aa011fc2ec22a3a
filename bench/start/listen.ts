/**
 * Listens with the runtime's own HTTP server and prints the port.
 *
 * @module
 */
import type { Server } from "node:http";

type Fetch = (request: Request) => Response | Promise<Response>;

interface Host {
  Deno?: { serve(options: object, handler: Fetch): { addr: { port: number } } };
  Bun?: { serve(options: object): { port: number } };
}

/** Listens; on Node with the server that is made for it. */
export function listen(fetch: Fetch, create: () => Server): void {
  const { Deno, Bun } = globalThis as Host;
  const address = { hostname: "127.0.0.1", port: 0 };
  if (Deno) return console.log(Deno.serve({ ...address, onListen() {} }, fetch).addr.port);
  if (Bun) return console.log(Bun.serve({ ...address, fetch }).port);
  const server = create();
  server.listen(0, address.hostname, () => console.log((server.address() as { port: number }).port));
}
