/**
 * The snippets of the package's contract, as written, each with the helpers that it leaves to the
 * reader. Only the name of the package is a path here; `tests/npm/` uses the name.
 *
 * @module
 */
import assert from "node:assert/strict";
import type { AddressInfo } from "node:net";
import { Readable } from "node:stream";
import type { ReadableStream as NodeReadableStream } from "node:stream/web";
import express from "express";
import createFastify from "fastify";
import { Hono } from "hono";
import {
  createExpressAdapter,
  createFetchHandler,
  createHash,
  MemoryStorage,
  type RealityNodeMeta,
  RealityServer,
  type RealityServerOptions,
  type RealityStorage,
  type ServerStats,
  type SSEOptions,
  type SyncRequest,
  type SyncResponse,
} from "../mod.ts";
import { test } from "./harness.ts";
import { EventReader, RawClient, until } from "./http/client.ts";
import { listenFetch } from "./runtimes/fetch.ts";
import { type Listening, listenNode } from "./runtimes/node.ts";

test("the quick start runs, mounted on Hono, Express and Fastify", async () => {
  const hashOfCurrentState = "abc123";

  // 1. Create storage adapter
  const storage = new MemoryStorage();

  // 2. Create server instance
  const server = new RealityServer({
    storage,
    serverId: "server-1", // Unique per instance
    meshPeers: [], // Other server URLs for mesh
    redis: undefined, // Optional Redis for acceleration
  });

  // 3. Create HTTP handler
  const handler = createFetchHandler(server);

  // 4. Mount on your framework
  const listeners: Listening[] = [];
  {
    const app = new Hono();
    // Fetch API (Bun, Deno, Cloudflare Workers)
    app.post("/reality/sync", handler);
    listeners.push(await listenFetch(async (request) => await app.fetch(request)));
  }
  {
    const app = express();
    // Express/Fastify
    app.post("/reality/sync", createExpressAdapter(server));
    listeners.push(await listenNode(app));
  }
  {
    const app = createFastify();
    // Express/Fastify
    app.post("/reality/sync", createExpressAdapter(server));
    listeners.push(await listenFastify(app));
  }

  // 5. Update nodes when data changes
  await server.updateNode("chat:room:general", hashOfCurrentState);

  for (const { origin, close } of listeners) {
    const { changed } = await sync(origin, { known: { "chat:room:general": 0 } });
    assert.equal(changed["chat:room:general"]?.hash, hashOfCurrentState);
    await close();
  }
  await server.close();
});

test("the options of the contract are accepted", async () => {
  const storage: RealityStorage = new MemoryStorage();
  const serverId: string = "server-1";
  const meshPeers: string[] = [];
  const options: RealityServerOptions = {
    // Required
    storage,
    // Optional
    serverId,
    meshPeers,
    redis: undefined,
    onError: (error) => void error,
  };
  const server = new RealityServer(options);
  assert.equal(server.serverId, serverId);
  await server.close();
});

test("updating a node with a hash made of its state notifies its followers", async () => {
  const server = new RealityServer({ storage: new MemoryStorage() });
  const room = { messages: [{ id: 1 }] };
  const newMessage = { id: 2 };
  {
    // After adding a message
    room.messages.push(newMessage);

    // Update the Reality node with a hash of the current state
    const hash = createHash(JSON.stringify(room.messages.map((m) => m.id)));
    await server.updateNode("chat:room:general", hash);

    // Clients subscribed to 'chat:room:general' will detect the change on next sync
  }
  const { changed } = await server.handleSync({ known: { "chat:room:general": 0 } });
  assert.equal(changed["chat:room:general"]?.hash, await createHash("[1,2]"));
  await server.close();
});

test("every hash strategy of the contract creates a valid hash", async () => {
  const server = new RealityServer({ storage: new MemoryStorage() });
  const items = [{ id: 1 }, { id: 2 }];
  const record = { version: 7 };
  const hashes: (string | Promise<string>)[] = [];
  {
    // Option 1: Hash of IDs (fast, detects additions/deletions)
    const hash = createHash(items.map((i) => i.id).join(","));
    hashes.push(hash);
  }
  {
    // Option 2: Hash of content (detects all changes)
    const hash = createHash(JSON.stringify(items));
    hashes.push(hash);
  }
  {
    // Option 3: Timestamp (simple, always changes)
    const hash = String(Date.now());
    hashes.push(hash);
  }
  {
    // Option 4: Version counter (from database)
    const hash = String(record.version);
    hashes.push(hash);
  }
  for (const hash of hashes) {
    await server.updateNode("items", hash);
    assert.equal((await server.getNode("items"))?.hash, await hash);
  }
  await server.close();
});

test("the request of the contract gets the response of the contract", async () => {
  const server = new RealityServer({ storage: new MemoryStorage({ counter: "sequential" }) });
  const { origin, close } = await listenFetch(createFetchHandler(server));
  for (let i = 0; i < 6; i++) await server.updateNode("chat:room:general", i === 5 ? "abc123" : `${i}`);
  const body = `{
  "known": {
    "chat:room:general": 5,
    "user:profile:123": 0
  }
}`;
  const raw = await RawClient.connect(origin);
  raw.send(`POST /reality/sync HTTP/1.1\r\nContent-Type: application/json\r\nHost: a\r\n`);
  raw.send(`Content-Length: ${body.length}\r\n\r\n${body}`);
  const answer = await raw.receiveAnswer();
  await raw.close();
  assert.equal(answer.status, 200);
  assert.match(answer.head, /content-type: application\/json/i);
  const { changed, mesh } = JSON.parse(answer.body);
  const { updatedAt } = changed["chat:room:general"];
  assert.equal(typeof updatedAt, "number");
  assert.deepEqual(changed, {
    "chat:room:general": { key: "chat:room:general", version: 6, hash: "abc123", updatedAt },
  });
  assert.deepEqual(mesh, { peers: [], serverVersion: 6 });
  await server.close();
  await close();
});

test("the fetch snippet answers on its path, and no other", async () => {
  const server = await serverWithNode();
  let listening = Promise.resolve<Listening | undefined>(undefined);
  const Bun = {
    serve(options: { fetch(req: Request): Promise<Response> | Response }): void {
      listening = listenFetch(async (request) => await options.fetch(request));
    },
  };
  {
    const handler = createFetchHandler(server);

    // Bun
    Bun.serve({
      fetch(req) {
        if (new URL(req.url).pathname === "/reality/sync") {
          return handler(req);
        }
        return new Response("Not Found", { status: 404 });
      },
    });
  }
  const { origin, close } = await listening ?? assert.fail();
  assert.equal((await sync(origin, { known: { a: 0 } })).changed.a?.hash, "1");
  assert.equal(await (await fetch(`${origin}/else`)).text(), "Not Found");
  await server.close();
  await close();
});

test("the Express snippet answers", async () => {
  const server = await serverWithNode();
  const app = express();
  app.use(express.json());
  app.post("/reality/sync", createExpressAdapter(server));
  const { origin, close } = await listenNode(app);
  assert.equal((await sync(origin, { known: { a: 0 } })).changed.a?.hash, "1");
  await server.close();
  await close();
});

test("the Fastify snippet answers", async () => {
  const server = await serverWithNode();
  const fastify = createFastify();
  fastify.post("/reality/sync", async (request, reply) => {
    const response = await createFetchHandler(server)(
      new Request("http://localhost/reality/sync", {
        method: "POST",
        headers: { "content-type": "application/json" },
        body: JSON.stringify(request.body),
      }),
    );
    reply.status(response.status).send(await response.json());
  });
  const { origin, close } = await listenFastify(fastify);
  assert.equal((await sync(origin, { known: { a: 0 } })).changed.a?.hash, "1");
  const refused = await post(origin, { known: 7 });
  assert.equal(refused.status, 400);
  assert.equal((await refused.json()).error.code, "ERR_REALITY_BAD_REQUEST");
  await server.close();
  await close();
});

test("the SSE snippet streams from Express, and notices a client that disconnects", async () => {
  const server = new RealityServer({ storage: new MemoryStorage() });
  const app = express();
  // Server-side SSE compatibility endpoint
  app.get("/events", async (req, res) => {
    const response = await server.handleSSECompat(req, {
      keys: ["notifications:all"],
      heartbeatInterval: 30000,
    });
    // Stream response to client
    res.writeHead(response.status, Object.fromEntries(response.headers));
    Readable.fromWeb(response.body as NodeReadableStream).on("error", () => {}).pipe(res);
  });
  const { origin, close } = await listenNode(app);
  const events = new EventReader(await fetch(`${origin}/events`));
  await until(async () => (await server.getStats()).waiters === 1, "the stream waits");
  await server.updateNode("notifications:all", "1");
  assert.equal(JSON.parse((await events.nextEvent("update")).data ?? "").hash, "1");
  await events.cancel();
  await until(async () => (await server.getStats()).streams === 0, "the stream is over");
  await server.close();
  await close();
});

test("the class has the methods of the contract", async () => {
  /** As it was written; updateNode() has returned the meta since ifChanged came. */
  interface Contract {
    // Update a node's version
    updateNode(key: string, hash: string): Promise<RealityNodeMeta>;
    // Get node metadata
    getNode(key: string): Promise<RealityNodeMeta | null>;
    // Handle sync request
    handleSync(request: SyncRequest): Promise<SyncResponse>;
    // Get mesh peers
    getMeshPeers(): Promise<string[]>;
    // Get server stats
    getStats(): Promise<ServerStats>;
    // SSE compatibility handler
    handleSSECompat(request: Request, options: SSEOptions): Promise<Response>;
  }
  const server = new RealityServer({
    storage: new MemoryStorage({ counter: "sequential" }),
    serverId: "server-1",
  });
  const contract: Contract = server;
  const written = await contract.updateNode("a", "1");
  const node = await contract.getNode("a");
  assert.deepEqual(written, node);
  assert.deepEqual(node, { key: "a", version: 1, hash: "1", updatedAt: node?.updatedAt });
  assert.equal(await contract.getNode("b"), null);
  assert.deepEqual((await contract.handleSync({ known: { a: 0 } })).changed.a, node);
  assert.deepEqual(await contract.getMeshPeers(), []);
  assert.equal((await contract.getStats()).serverId, "server-1");
  const response = await contract.handleSSECompat(new Request("http://localhost/events"), { keys: ["a"] });
  assert.equal(response.headers.get("content-type"), "text/event-stream");
  await response.body?.cancel();
  await server.close();
});

test("a storage with only the interface of the contract works", async () => {
  /** As it was written. */
  interface Contract {
    getNode(key: string): Promise<RealityNodeMeta | null>;
    setNode(key: string, meta: RealityNodeMeta): Promise<void>;
    incrementVersion(key: string): Promise<number>;
    listChangedSince(version: number): Promise<RealityNodeMeta[]>;
    getNodes(keys: string[]): Promise<Map<string, RealityNodeMeta>>;
    getMaxVersion(): Promise<number>;
    deleteNode(key: string): Promise<void>;
    isHealthy(): Promise<boolean>;
  }
  const ours: Contract = new MemoryStorage({ counter: "sequential" });
  const storage: Contract = {
    getNode: (key) => ours.getNode(key),
    setNode: (key, meta) => ours.setNode(key, meta),
    incrementVersion: (key) => ours.incrementVersion(key),
    listChangedSince: (version) => ours.listChangedSince(version),
    getNodes: (keys) => ours.getNodes(keys),
    getMaxVersion: () => ours.getMaxVersion(),
    deleteNode: (key) => ours.deleteNode(key),
    isHealthy: () => ours.isHealthy(),
  };
  const server = new RealityServer({ storage });
  await server.updateNode("a", "1");
  assert.equal((await server.handleSync({ known: { a: 0 } })).changed.a?.version, 1);
  await server.close();
});

async function serverWithNode(): Promise<RealityServer> {
  const server = new RealityServer({ storage: new MemoryStorage() });
  await server.updateNode("a", "1");
  return server;
}

async function listenFastify(app: ReturnType<typeof createFastify>): Promise<Listening> {
  await app.listen({ port: 0, host: "127.0.0.1" });
  return {
    origin: `http://127.0.0.1:${(app.server.address() as AddressInfo).port}`,
    async close() {
      app.server.closeAllConnections();
      await app.close();
    },
  };
}

function post(origin: string, body: unknown): Promise<Response> {
  return fetch(`${origin}/reality/sync`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify(body),
  });
}

async function sync(origin: string, body: SyncRequest): Promise<SyncResponse> {
  const response = await post(origin, body);
  assert.equal(response.status, 200);
  return await response.json();
}
