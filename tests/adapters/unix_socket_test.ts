/**
 * Behind a proxy that connects through a Unix socket, which has no address.
 *
 * @module
 */
import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { createServer, request as httpRequest } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createFetchHandler } from "../../adapters/fetch.ts";
import { createNodeHandler } from "../../adapters/node.ts";
import { MemoryStorage, RealityServer, type RealityServerOptions } from "../../mod.ts";
import { socketAddress } from "../../src/http/request_shape.ts";
import { test } from "../harness.ts";
import { serverName } from "../runtimes/fetch.ts";

/** The servers of the runtimes: the parts that are used. */
interface Runtimes {
  Deno?: {
    serve(
      options: { path: string; onListen(): void },
      handler: (request: Request, info: unknown) => Promise<Response>,
    ): { shutdown(): Promise<void> };
  };
  Bun?: {
    serve(
      options: { unix: string; fetch(request: Request, server: unknown): Promise<Response> },
    ): { stop(closeActiveConnections: boolean): Promise<void> };
  };
}

/** Listens on a Unix socket. Returns a function that closes it. */
type Listen = (server: RealityServer, path: string) => Promise<() => Promise<unknown>>;

const adapters: [string, Listen][] = [["node:http", listenNode]];
if (serverName !== "a bridge on Node") adapters.push([serverName, listenOwn]);

for (const [name, listen] of adapters) {
  test(`a proxy that connects through a Unix socket is trusted with trustProxy "unix", before ${name}`, async () => {
    for (const trustProxy of [["unix"], ["10.0.0.0/8", "unix"], 1]) {
      const { statuses, reports } = await askThrough(listen, { trustProxy });
      assert.deepEqual(statuses, [200, 429, 200, 429, 200]);
      assert.deepEqual(reports, []);
    }
  });

  test(`a Unix socket is not trusted by default, which is reported once with advice, before ${name}`, async () => {
    for (const trustProxy of [["127.0.0.1", "::/0", "0.0.0.0/0"], 0, []]) {
      const { statuses, reports } = await askThrough(listen, { trustProxy });
      assert.deepEqual(statuses, Array(5).fill(200));
      assert.equal(reports.length, 1);
      assert.match(reports[0] ?? "", /come through a Unix socket.*put "unix" into trustProxy/);
    }
  });
}

test("socketAddress() does not treat a connection that its client has reset as a Unix socket", () => {
  const open = { destroyed: false };
  assert.equal(socketAddress({ ...open, localAddress: "::1", remoteAddress: "192.0.2.1" }), "192.0.2.1");
  assert.equal(socketAddress(open), "unix");
  // Node, Deno and Bun have such a socket for a connection whose reset they have not read yet.
  assert.equal(socketAddress({ ...open, localAddress: "::1" }), null);
  assert.equal(socketAddress({ destroyed: true }), null);
  for (const none of [{}, null, undefined]) assert.equal(socketAddress(none), null);
});

async function askThrough(
  listen: Listen,
  options: Partial<RealityServerOptions>,
): Promise<{ statuses: (number | undefined)[]; reports: string[] }> {
  const folder = mkdtempSync(join(tmpdir(), "reality-unix-"));
  const path = join(folder, "socket");
  const reports: string[] = [];
  const server = new RealityServer({
    storage: new MemoryStorage(),
    rateLimit: { limit: 1, window: 3_600_000 },
    onError: (error) => reports.push(error.message),
    ...options,
  });
  const close = await listen(server, path);
  const statuses = [];
  for (const client of ["192.0.2.1", "192.0.2.1", "192.0.2.2", "192.0.2.2", "192.0.2.3"]) {
    statuses.push(await post(path, client));
  }
  await server.close();
  await close();
  rmSync(folder, { recursive: true });
  return { statuses, reports };
}

function post(socketPath: string, client: string): Promise<number | undefined> {
  return new Promise((resolve, reject) => {
    const headers = { "content-type": "application/json", "x-forwarded-for": client };
    const options = { socketPath, path: "/reality/sync", method: "POST", headers, agent: false };
    const request = httpRequest(options, (response) => {
      response.resume().once("end", () => resolve(response.statusCode));
    });
    request.once("error", reject);
    request.end('{"known":{}}');
  });
}

async function listenNode(server: RealityServer, path: string): Promise<() => Promise<unknown>> {
  const listener = createServer(createNodeHandler(server));
  await new Promise<void>((resolve) => listener.listen(path, resolve));
  return () => {
    const closed = new Promise((resolve) => listener.close(resolve));
    listener.closeAllConnections();
    return closed;
  };
}

function listenOwn(server: RealityServer, path: string): Promise<() => Promise<unknown>> {
  const { Deno, Bun } = globalThis as Runtimes;
  const handler = createFetchHandler(server);
  if (Bun) {
    const listener = Bun.serve({ unix: path, fetch: handler });
    return Promise.resolve(() => listener.stop(true));
  }
  const listener = Deno?.serve({ path, onListen() {} }, handler);
  return Promise.resolve(async () => await listener?.shutdown());
}
