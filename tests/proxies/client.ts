/**
 * What tests ask through a proxy, and whom they look for behind it.
 *
 * @module
 */
import assert from "node:assert/strict";
import { request as httpRequest } from "node:http";
import { type AddressInfo, createServer, type Socket } from "node:net";
import type { RealityServerOptions, SyncResponse } from "../../mod.ts";
import { until } from "../http/client.ts";
import type { Backend } from "./backends.ts";

/** What a JSON body is sent with. */
export const JSON_TYPE = { "content-type": "application/json" };

/** Asks what changed. */
export function ask(origin: string, known: Record<string, number>, wait = 0): Promise<Response> {
  const body = JSON.stringify({ known, wait });
  return fetch(`${origin}/reality/sync`, { method: "POST", headers: JSON_TYPE, body });
}

/** Sends a sync and returns its answer. */
export async function sync(origin: string, known: Record<string, number>, wait = 0): Promise<SyncResponse> {
  const response = await ask(origin, known, wait);
  assert.equal(response.status, 200);
  return await response.json();
}

/** The status of an answer, whose body is left. */
export async function statusOf(answer: Promise<Response>): Promise<number> {
  const response = await answer;
  await response.body?.cancel();
  return response.status;
}

/** The hash that an event tells of. */
export function hashOf({ data = "" }: { data?: string }): string {
  return JSON.parse(data).hash;
}

/** Waits until a client waits at one of two servers. Returns that server first. */
export async function findWaiting(backends: readonly [Backend, Backend]): Promise<[Backend, Backend]> {
  let found = -1;
  await until(async () => {
    const stats = await Promise.all(backends.map(({ server }) => server.getStats()));
    found = stats.findIndex(({ waiters }) => waiters > 0);
    return found !== -1;
  }, "a client waits");
  return found === 0 ? [...backends] : [backends[1], backends[0]];
}

/** Asks from another address of this machine. */
export async function askFrom(
  localAddress: string,
  origin: string,
  headers: Record<string, string>,
): Promise<void> {
  await new Promise<void>((resolve, reject) => {
    const options = { method: "POST", localAddress, agent: false, headers: { ...JSON_TYPE, ...headers } };
    const request = httpRequest(`${origin}/reality/sync`, options, (response) => {
      response.resume().once("end", resolve);
    });
    request.once("error", reject);
    request.end('{"known":{}}');
  });
}

/** A server that does not keep what it offers. */
export interface BrokenServer {
  readonly origin: string;
  /** How many connections it has closed on clients. */
  readonly broken: number;
  close(): Promise<void>;
}

/** A server that answers one request on each connection, offers to keep it, and closes it at the next. */
export async function listenOnce(): Promise<BrokenServer> {
  let broken = 0;
  const sockets = new Set<Socket>();
  const listener = createServer((socket) => {
    sockets.add(socket);
    let isAnswered = false;
    socket.on("error", () => {});
    socket.on("data", () => {
      if (isAnswered) {
        broken++;
        return void socket.destroy();
      }
      isAnswered = true;
      socket.write("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}");
    });
  });
  await new Promise<void>((resolve) => listener.listen(0, "127.0.0.1", resolve));
  return {
    origin: `http://127.0.0.1:${(listener.address() as AddressInfo).port}`,
    get broken() {
      return broken;
    },
    async close() {
      for (const socket of sockets) socket.destroy();
      await new Promise((resolve) => listener.close(resolve));
    },
  };
}

/**
 * A server that notes whom it takes each client for, and which host the client asked.
 *
 * @param found Where it notes them: the address that `rateLimit.key` is told, then the host that `authorize` is shown.
 */
export function watchful(found: (string | null)[]): Partial<RealityServerOptions> {
  return {
    trustProxy: ["127.0.0.1"],
    authorize: (request) => found.push(new URL(request.url).host) > 0,
    rateLimit: {
      limit: 1_000,
      window: 60_000,
      key: (_request, { address }) => {
        found.push(address);
        return null;
      },
    },
  };
}
