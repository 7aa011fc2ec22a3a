/**
 * TLS to PostgreSQL, without a database.
 *
 * @module
 */
import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { createServer, type Socket } from "node:net";
import { setImmediate } from "node:timers/promises";
import type { TLSSocket } from "node:tls";
import postgres from "postgres";
import { readAddress } from "../../../../storage/sql/postgres/address.ts";
import { openPool } from "../../../../storage/sql/postgres/open_pool.ts";
import { openPostgres } from "../../../../storage/sql/postgres/postgres_storage.ts";
import { Sockets } from "../../../../storage/sql/postgres/sockets.ts";
import { test } from "../../../harness.ts";
import { type TLSTestServer, withTLSServer } from "./tls_server.ts";

/** The message of the error that the first statement fails with. */
async function getError({ port }: { readonly port: number }, query: string): Promise<string> {
  const storage = openPostgres(`postgres://me@127.0.0.1:${port}/app?${query}`, { listen: false });
  try {
    return await storage.getMaxVersion().then(() => "no error", (error: Error) => error.message);
  } finally {
    await storage.close();
  }
}

/** Receives the first message on a connection, and closes it. */
function createReader(): { serve(socket: Socket | TLSSocket): void; readonly messages: string[] } {
  const messages: string[] = [];
  const serve = (socket: Socket | TLSSocket) => {
    socket.once("data", (data) => {
      messages.push([
        "encrypted" in socket,
        "alpnProtocol" in socket && socket.alpnProtocol,
        /user\0me\0/.test(Buffer.from(data).toString()),
      ].join());
      socket.end();
    });
  };
  return { serve, messages };
}

const connectTo = ({ port }: TLSTestServer, sockets: Sockets) =>
  sockets.connect({ host: ["127.0.0.1"], port: [port] });

test("openPostgres() checks the certificate against the host that it connects to, also for an IP address", async () => {
  await withTLSServer({}, async (server) => {
    const root = `sslrootcert=${encodeURIComponent(server.certificate)}`;
    const isOther = /does not match certificate|altnames/;
    assert.match(await getError(server, "sslmode=verify-full"), /self.signed/);
    assert.match(await getError(server, `sslmode=verify-full&${root}`), isOther);
    assert.match(await getError(server, `sslmode=verify-ca&${root}`), isOther);
  });
});

test("openPostgres() encrypts its first message, and does not check the certificate for sslmode=require", async () => {
  const { serve, messages } = createReader();
  await withTLSServer({ serve }, async (server) => {
    for (const mode of ["require", "allow", "prefer"]) await getError(server, `sslmode=${mode}`);
    const root = `sslrootcert=${encodeURIComponent(server.certificate)}`;
    await getError(server, `sslmode=verify-full&${root}&host=localhost`);
  });
  assert.deepEqual(messages, Array(4).fill("true,false,true"));
});

test("openPostgres() begins with TLS and the protocol's name for sslnegotiation=direct", async () => {
  const { serve, messages } = createReader();
  await withTLSServer({ serve, answer: "" }, async (server) => {
    await getError(server, "sslmode=require&sslnegotiation=direct");
  });
  assert.deepEqual(messages, ["true,postgresql,true"]);
});

test("openPostgres() continues without TLS for sslmode=prefer only, if the server does not support it", async () => {
  const { serve, messages } = createReader();
  await withTLSServer({ serve, answer: "N" }, async (server) => {
    await getError(server, "sslmode=prefer");
    assert.deepEqual(messages, ["false,false,true"]);
    for (const query of ["sslmode=require", "sslmode=allow", "sslmode=verify-full", "ssl=true"]) {
      assert.match(await getError(server, query), /does not support TLS, which the address requires/);
    }
    assert.equal(messages.length, 1);
  });
});

test("openPostgres() rejects bytes that follow the answer to the request for TLS, and other answers", async () => {
  const { serve, messages } = createReader();
  for (const answer of ["SR", "NR"]) {
    await withTLSServer({ serve, answer }, async (server) => {
      assert.match(await getError(server, "sslmode=prefer"), /sent plain text after its answer/);
    });
  }
  await withTLSServer({ serve, answer: "E" }, async (server) => {
    assert.match(await getError(server, "sslmode=prefer"), /answer to the request for TLS is unknown/);
  });
  assert.deepEqual(messages, []);
});

test("openPostgres() connects once for a statement if the server closes its connections", async () => {
  await withTLSServer({}, async (server) => {
    assert.match(await getError(server, "sslmode=require"), /closed the connection before it was ready/);
    assert.equal(server.connections, 1);
  });
});

test("openPostgres() can end a client at each moment of the TLS handshake", async () => {
  await withTLSServer({}, async (server) => {
    // With two hosts, the client connects again until it is ended.
    const hosts = `127.0.0.1:${server.port},127.0.0.1:${server.port}`;
    const address = readAddress(`postgres://me@${hosts}/app?sslmode=require`);
    const options = { size: 1, statementTimeout: 4000, maxLifetime: 60_000, isPooler: true };
    for (let i = 0; i < 60; i++) {
      const pool = openPool(address, options, postgres);
      const handshake = server.nextHandshake();
      const failed = assert.rejects(pool.unsafe("SELECT 1"));
      await handshake;
      for (let turns = i % 20; turns > 0; turns--) await setImmediate();
      await pool.end();
      await failed;
    }
    await server.closed();
  });
});

test("Sockets destroys a connection with TLS that is writing, and ignores errors that follow", async () => {
  await withTLSServer({ serve: (socket) => void socket.pause() }, async (server) => {
    const sockets = new Sockets(4000, { ssl: "require" });
    const socket = await connectTo(server, sockets);
    // npm:postgres does this.
    const closed = new Promise<void>((resolve) =>
      socket.on("close", () => {
        socket.removeAllListeners();
        resolve();
      })
    );
    for (let i = 0; i < 8; i++) socket.write(new Uint8Array(1 << 20));
    sockets.destroy();
    await closed;
    await setImmediate();
    socket.emit("error", new Error("late"));
    const ended = new Sockets(4000, { ssl: "require" });
    ended.destroy();
    await assert.rejects(connectTo(server, ended), /closed before it was ready/);
  });
});

test("Sockets tries the next host if one fails to negotiate TLS, and limits the time for it", async () => {
  let isSilent = false;
  const faulty = createServer((socket) => {
    socket.on("error", () => {}).on("data", () => isSilent || socket.end());
  });
  await new Promise<void>((resolve) => faulty.listen(0, "127.0.0.1", resolve));
  const { port } = faulty.address() as { port: number };
  try {
    await withTLSServer({ serve: (socket) => void socket.pause() }, async (server) => {
      const sockets = new Sockets(20_000, { ssl: "require" });
      const socket = await sockets.connect({ host: ["127.0.0.1", "127.0.0.1"], port: [port, server.port] });
      assert.equal((socket as Socket & { port: number }).port, server.port);
      sockets.destroy();
    });
    isSilent = true;
    const late = new Sockets(20, { ssl: "require" });
    await assert.rejects(late.connect({ host: ["127.0.0.1"], port: [port] }), /no connection within 20 ms/);
  } finally {
    await new Promise((resolve) => faulty.close(resolve));
  }
});
