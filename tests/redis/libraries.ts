/**
 * The real clients: each library in each version that is supported.
 *
 * @module
 */
import { readdirSync } from "node:fs";
import { join, resolve } from "node:path";
import { pathToFileURL } from "node:url";
import type * as IORedis6 from "ioredis";
import type * as IORedis5 from "ioredis5";
import type * as NodeRedis6 from "redis";
import type * as NodeRedis4 from "redis4";
import type * as NodeRedis5 from "redis5";
import type { RedisPublisher, RedisSubscriber } from "../../src/redis/client.ts";

/** A client of any of them, as the tests use it. */
interface Client {
  get(key: string): Promise<unknown>;
  set(key: string, value: string): Promise<unknown>;
  eventNames(): (string | symbol)[];
  listenerCount(event: string | symbol): number;
}

/** Two clients of an application's, not connected yet. */
export interface Clients {
  readonly publisher: RedisPublisher & Client;
  readonly subscriber: RedisSubscriber & Client;
  /** Connects both; settles when they are there. */
  connect(): Promise<void>;
  /** The number by which Redis knows the connection that subscribes, asked before it does. */
  identify(): Promise<unknown>;
  /** Ends both. */
  end(): Promise<void>;
}

/** One library in one version. */
export interface Library {
  readonly name: string;
  /** Makes two clients. */
  open(url: string): Promise<Clients>;
}

/** All of them. */
export const libraries: readonly Library[] = [
  { name: "ioredis 6", open: (url) => openIORedis(url, 6) },
  { name: "ioredis 5", open: (url) => openIORedis(url, 5) },
  { name: "node-redis 4", open: (url) => openNodeRedis(url, 4) },
  { name: "node-redis 5", open: (url) => openNodeRedis(url, 5) },
  { name: "node-redis 6", open: (url) => openNodeRedis(url, 6) },
];

async function openIORedis(url: string, version: 5 | 6): Promise<Clients> {
  // Typed as the real ones are, so that both are checked against what a relay calls.
  const open: () => IORedis5.Redis | IORedis6.Redis = version === 5
    ? await load<typeof IORedis5>("ioredis", 5).then(({ Redis }) => () =>
      new Redis(url, { lazyConnect: true })
    )
    : await load<typeof IORedis6>("ioredis", 6).then(({ Redis }) => () =>
      new Redis(url, { lazyConnect: true })
    );
  const clients = [open(), open()] as const;
  return {
    publisher: clients[0],
    subscriber: clients[1],
    connect: async () => {
      await Promise.all(clients.map((client) => client.connect()));
    },
    identify: () => clients[1].client("ID"),
    end: async () => {
      await Promise.all(clients.map(async (client) => {
        // Between two attempts to connect it would never say that it has ended.
        const isOpen = ["connecting", "connect", "ready"].includes(client.status);
        const ended = new Promise<void>((resolve) => client.once("end", () => resolve()));
        client.disconnect();
        if (isOpen) await ended;
      }));
    },
  };
}

async function openNodeRedis(url: string, version: 4 | 5 | 6): Promise<Clients> {
  const open = version === 4
    ? await load<typeof NodeRedis4>("redis", 4).then(({ createClient }) => () => createClient({ url }))
    : version === 5
    ? await load<typeof NodeRedis5>("redis", 5).then(({ createClient }) => () => createClient({ url }))
    : await load<typeof NodeRedis6>("redis", 6).then(({ createClient }) => () => createClient({ url }));
  const clients = [open(), open()] as const;
  // Without a listener of its own, an error would end the process once the relay has closed.
  for (const client of clients) client.on("error", () => {});
  return {
    publisher: clients[0],
    subscriber: clients[1],
    connect: async () => {
      await Promise.all(clients.map((client) => client.connect()));
    },
    identify: () => clients[1].sendCommand(["CLIENT", "ID"]),
    end: async () => {
      await Promise.all(clients.map(async (client) => {
        if (client.isOpen) await client.disconnect();
      }));
    },
  };
}

/** Loads a package in a version that is not the project's own, which only Deno finds by another name. */
async function load<T>(name: string, version: number): Promise<T> {
  const folder = "node_modules/.deno";
  const found = readdirSync(folder).find((entry) => entry.startsWith(`${name}@${version}.`));
  if (found === undefined) throw new Error(`Cannot find ${name} ${version}: run deno install`);
  const main = name === "redis" ? "dist/index.js" : "built/index.js";
  return await import(pathToFileURL(resolve(join(folder, found, "node_modules", name, main))).href);
}
