/**
 * Every adapter on a socket, and a client that sends arbitrary requests.
 *
 * @module
 */
import { readdirSync } from "node:fs";
import { createRequire } from "node:module";
import type { AddressInfo } from "node:net";
import express from "express";
import fastify from "fastify";
import { Hono } from "hono";
import { createExpressAdapter } from "../../adapters/express.ts";
import { createFetchHandler } from "../../adapters/fetch.ts";
import { createNodeHandler } from "../../adapters/node.ts";
import { RawClient } from "../http/client.ts";
import { listenFetch, serverName } from "../runtimes/fetch.ts";
import { type Listening, listenNode } from "../runtimes/node.ts";
import type { Body, HostileRequest } from "./corpus.ts";
import type { HostileScene } from "./scene.ts";

/** An adapter, by name, and how it is put before a server. */
export interface HostileAdapter {
  readonly name: string;
  listen(scene: HostileScene): Promise<Listening>;
}

/** The adapter of `node:http`. */
export const NODE_ADAPTER: HostileAdapter = {
  name: "createNodeHandler()",
  listen: ({ server, handler }) => listenNode(createNodeHandler(server, handler)),
};

/** All of them. */
export const ADAPTERS: readonly HostileAdapter[] = [
  NODE_ADAPTER,
  {
    name: `createFetchHandler() before ${serverName}`,
    listen: ({ server, handler }) => listenFetch(createFetchHandler(server, handler)),
  },
  {
    name: "createExpressAdapter() in Express 5",
    listen: ({ server, handler }) =>
      listenNode(createApp(express).use(createExpressAdapter(server, handler))),
  },
  {
    name: "createExpressAdapter() in Express 5 behind express.json()",
    listen: ({ server, handler }) =>
      listenNode(
        createApp(express).use(express.json({ limit: "1mb" })).use(createExpressAdapter(server, handler)),
      ),
  },
  {
    name: "createExpressAdapter() in Express 4",
    listen: ({ server, handler }) =>
      listenNode(createApp(requireExpress4()).use(createExpressAdapter(server, handler))),
  },
  { name: "createExpressAdapter() in Fastify", listen: listenFastify },
  {
    name: `createFetchHandler() in Hono before ${serverName}`,
    listen: ({ server, handler }) => {
      const app = new Hono();
      const answer = createFetchHandler(server, handler);
      app.all("/reality/*", (context) => answer(context.req.raw));
      return listenFetch(async (request) => await app.fetch(request));
    },
  },
];

/** Writes a request out as HTTP/1.1, whatever is in it. A body goes with its length unless that is given. */
export function writeRequest({ method, target, headers, body }: HostileRequest): Uint8Array<ArrayBuffer> {
  const content = toBytes(body ?? "");
  const fields = headers.map(([name, value]) => `${name}: ${value}\r\n`);
  if (body !== undefined) fields.push(`Content-Length: ${content.byteLength}\r\n`);
  const head = `${method} ${target} HTTP/1.1\r\n${fields.join("")}\r\n`;
  const bytes = new Uint8Array(head.length + content.byteLength);
  // A header's bytes are taken as they are, one for each character.
  for (let i = 0; i < head.length; i++) bytes[i] = head.charCodeAt(i);
  bytes.set(content, head.length);
  return bytes;
}

/**
 * Sends bytes over a connection of their own and waits for an answer's head.
 *
 * @returns The status; 0 when the connection was closed without an answer.
 */
export async function sendBytes(origin: string, bytes: Uint8Array): Promise<number> {
  const client = await RawClient.connect(origin);
  try {
    client.send(bytes);
    const received = await client.receive((text) => text.includes("\r\n\r\n"));
    return Number(/^HTTP\/1\.[01] (\d{3})/.exec(received)?.[1] ?? 0);
  } finally {
    await client.close();
  }
}

/** Sends a body to `/reality/sync` as any client does. */
export async function sync(origin: string, body: string): Promise<{ status: number; body: string }> {
  const response = await fetch(`${origin}/reality/sync`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body,
  });
  return { status: response.status, body: await response.text() };
}

function toBytes(body: Body): Uint8Array<ArrayBuffer> {
  return typeof body === "string" ? new TextEncoder().encode(body) : body;
}

/** An application that keeps its errors to itself. */
function createApp(framework: typeof express): ReturnType<typeof express> {
  const app = framework();
  app.set("env", "test");
  return app;
}

/** Express 4 beside Express 5: a package of the same name, which only its folder tells apart. */
function requireExpress4(): typeof express {
  const packages = "node_modules/.deno";
  const folder = readdirSync(packages).find((name) => name.startsWith("express@4."));
  if (folder === undefined) throw new Error("Express 4 is not installed");
  return createRequire(import.meta.url)(`../../${packages}/${folder}/node_modules/express`);
}

async function listenFastify({ server, handler }: HostileScene): Promise<Listening> {
  const app = fastify({
    onProtoPoisoning: "ignore",
    onConstructorPoisoning: "ignore",
    forceCloseConnections: true,
  });
  app.all("/reality/*", createExpressAdapter(server, handler));
  await app.listen({ port: 0, host: "127.0.0.1" });
  return {
    origin: `http://127.0.0.1:${(app.server.address() as AddressInfo).port}`,
    async close() {
      app.server.closeAllConnections();
      await app.close();
    },
  };
}
