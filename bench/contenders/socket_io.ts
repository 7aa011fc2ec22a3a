/**
 * What socket.io does, over WebSockets: a socket.io room for each key, joined by its followers. With a Redis it has the Redis
 * adapter, as its own pages say it is used with several servers.
 *
 * @module
 */
import type { Server as HTTPServer } from "node:http";
import { HASH, keyOf } from "../workload.ts";
import { importPackage } from "./packages.ts";
import type { Served } from "./served.ts";

interface Socket {
  readonly rooms: ReadonlySet<string>;
  readonly id: string;
  on(event: "follow", listener: (key: string, acknowledge: () => void) => void): void;
  join(room: string): unknown;
  leave(room: string): unknown;
}

interface IO {
  readonly engine: { readonly clientsCount: number };
  attach(server: HTTPServer): void;
  on(event: "connection", listener: (socket: Socket) => void): void;
  to(room: string): { emit(event: string, message: object): void };
}

interface SocketIOModule {
  readonly Server: new (options: object) => IO;
}

/** Two connections to one Redis. */
export interface RedisPair {
  readonly publisher: unknown;
  readonly subscriber: unknown;
}

/** socket.io behind HTTP. */
export async function serveSocketIO(nodes: number, redis?: RedisPair): Promise<Served> {
  const { Server } = await importPackage<SocketIOModule>("socket.io");
  const options = { transports: ["websocket"], serveClient: false };
  const io = new Server(redis === undefined ? options : { ...options, adapter: await adapterOf(redis) });
  const versions = new Map<string, number>();
  for (let i = 0; i < nodes; i++) versions.set(keyOf(i), i + 1);
  io.on("connection", (socket) => {
    socket.on("follow", async (key, acknowledge) => {
      for (const room of socket.rooms) if (room !== socket.id) await socket.leave(room);
      await socket.join(key);
      acknowledge();
    });
  });
  return {
    attach: (server) => io.attach(server),
    change(key) {
      const version = versions.size + 1;
      versions.set(key, version);
      io.to(key).emit("update", { key, version, hash: HASH, updatedAt: Date.now() });
    },
    watch: () => Promise.resolve({ waiting: io.engine.clientsCount, reads: 0 }),
  };
}

async function adapterOf({ publisher, subscriber }: RedisPair): Promise<unknown> {
  const { createAdapter } = await importPackage<{
    createAdapter(publisher: unknown, subscriber: unknown): unknown;
  }>("@socket.io/redis-adapter");
  return createAdapter(publisher, subscriber);
}
