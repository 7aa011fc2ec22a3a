/**
 * Thousands of clients that open a connection and send half a request: the server still answers others, and closes all of
 * these connections.
 *
 * @module
 */
import assert from "node:assert/strict";
import { once } from "node:events";
import { connect, type Socket } from "node:net";
import { createFetchHandler } from "../../adapters/fetch.ts";
import { createNodeHandler } from "../../adapters/node.ts";
import { MemoryStorage, RealityServer } from "../../mod.ts";
import { test } from "../harness.ts";
import { RawClient } from "../http/client.ts";
import { runtime } from "../runtimes/child.ts";
import { listenFetch, serverName } from "../runtimes/fetch.ts";
import { type Listening, listenNode } from "../runtimes/node.ts";

const CROWD = 1_000;
/** As many at the same time as the backlog of the system allows. */
const STEP = 100;

const HALF_HEAD = "POST /reality/sync HTTP/1.1\r\nHost: a\r\nContent-Ty";
const HEAD = "POST /reality/sync HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n";
const HALF_BODIES = [
  `${HEAD}Content-Length: 100\r\n\r\n{"known"`,
  `${HEAD}Content-Length: 100000\r\n\r\n`,
  `${HEAD}Transfer-Encoding: chunked\r\n\r\n8\r\n{"known"\r\n`,
];

interface Adapter {
  name: string;
  /** Whether connections without a request are closed. */
  looksAtHeads: boolean;
  listen(server: RealityServer): Promise<Listening>;
}

const limits = { headersTimeout: 500, requestTimeout: 2_000, connectionsCheckingInterval: 100 };
const adapters: readonly Adapter[] = [
  {
    name: "createNodeHandler()",
    looksAtHeads: runtime === "node",
    listen: (server) => listenNode(createNodeHandler(server), limits),
  },
  {
    name: `createFetchHandler() before ${serverName}`,
    looksAtHeads: false,
    listen: (server) => listenFetch(createFetchHandler(server)),
  },
];

for (const { name, looksAtHeads, listen } of adapters) {
  test(`${name} continues to serve beside ${2 * CROWD} clients that send half a request, and closes them`, async () => {
    const server = new RealityServer({
      storage: new MemoryStorage(),
      // One place more than the crowd uses: if one of its places were kept, the second crowd would leave none.
      limits: { maxRequests: CROWD + 1, maxReadingBytes: CROWD * 1_000, bodyTimeout: 300 },
    });
    const { origin, close } = await listen(server);
    const heads = new Crowd();
    try {
      await heads.open(origin, () => HALF_HEAD);
      for (let round = 0; round < 2; round++) {
        const bodies = new Crowd();
        await bodies.open(origin, (i) => HALF_BODIES[i % HALF_BODIES.length]!);
        await isServed(origin);
        await eventually(() => bodies.refused + bodies.lost === CROWD, () => `${bodies.refused} were told`);
        // On a busy machine some headers arrive too late, or clients close before they have read the refusal.
        assert.ok(bodies.refused > CROWD / 2, `${bodies.refused} of ${CROWD} were told`);
        bodies.close();
        await isServed(origin);
      }
      if (looksAtHeads) {
        await eventually(() => heads.lost === CROWD, () => `${heads.lost} were closed`);
      }
    } finally {
      heads.close();
      await server.close();
      await close();
    }
  });
}

/** Opens many sockets that send one text each. */
class Crowd {
  readonly #sockets: Socket[] = [];
  /** How many were told that their body did not come. */
  refused = 0;
  /** How many were closed without a 408, or with another status. */
  lost = 0;

  async open(origin: string, textOf: (i: number) => string): Promise<void> {
    const { hostname, port } = new URL(origin);
    for (let i = 0; i < CROWD; i += STEP) {
      const opening = Array.from({ length: STEP }, (_, j) => {
        const socket = connect(Number(port), hostname);
        this.#sockets.push(socket);
        socket.on("error", () => {});
        let received = "";
        let isTold = false;
        socket.on("data", (chunk) => {
          received += chunk;
          if (isTold || !received.includes("bodyTimeout")) return;
          isTold = true;
          this.refused++;
        });
        socket.once("close", () => {
          if (!isTold) this.lost++;
        });
        return once(socket, "connect").then(() => socket.write(textOf(i + j)));
      });
      await Promise.all(opening);
    }
  }

  close(): void {
    for (const socket of this.#sockets) socket.destroy();
  }
}

/** Waits for as long as a busy machine may take for thousands of connections. */
async function eventually(condition: () => boolean, found: () => string): Promise<void> {
  const deadline = Date.now() + 60_000;
  while (!condition()) {
    if (Date.now() > deadline) throw new Error(`Waited in vain: ${found()} of ${CROWD}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

/** Requests health and a sync, each on its own connection. */
async function isServed(origin: string): Promise<void> {
  const raw = await RawClient.connect(origin);
  raw.send("GET /reality/health HTTP/1.1\r\nHost: a\r\n\r\n");
  assert.equal((await raw.receiveAnswer()).status, 200);
  raw.send(`${HEAD}Content-Length: 12\r\n\r\n{"known":{}}`);
  assert.equal((await raw.receiveAnswer()).status, 200);
  await raw.close();
}
