/**
 * A server that negotiates TLS as PostgreSQL does.
 *
 * @module
 */
import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { type AddressInfo, connect, createServer, type Server, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createServer as createTLSServer, type TLSSocket } from "node:tls";
import { findProgram, install } from "../../../run/databases.ts";
import { run } from "../../../run/server.ts";

/** What the server does with its connections. */
export interface TLSServerOptions {
  /**
   * What it sends when the client asks for TLS. If it begins with `S`, the handshake follows. If it is empty, the server
   * expects the handshake at once.
   *
   * @default {"S"}
   */
  readonly answer?: string;
  /** Receives each connection after the negotiation. By default it is closed. */
  readonly serve?: (socket: Socket | TLSSocket) => void;
}

/** The running server. */
export interface TLSTestServer {
  readonly port: number;
  /** The path of the certificate. It is valid for the name `localhost` only. */
  readonly certificate: string;
  /** How many connections it has accepted. */
  readonly connections: number;
  /** Settles after the next handshake in which the client accepted the certificate. */
  nextHandshake(): Promise<void>;
  /** Settles when all connections are closed. */
  closed(): Promise<void>;
}

/** Runs with a server on a free port of this machine. */
export async function withTLSServer(
  { answer = "S", serve = (socket) => socket.resume().end() }: TLSServerOptions,
  play: (server: TLSTestServer) => Promise<void>,
): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), "reality-tls-"));
  const sockets = new Set<Socket>();
  const servers: Server[] = [];
  let connections = 0;
  const track = (socket: Socket) => {
    sockets.add(socket.on("error", () => {}));
    return socket.once("close", () => sockets.delete(socket));
  };
  const listen = async (server: Server) => {
    servers.push(server);
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    return (server.address() as AddressInfo).port;
  };
  try {
    const [key, certificate] = createCertificate(folder);
    const tlsServer = createTLSServer(
      { key: readFileSync(key), cert: readFileSync(certificate), ALPNProtocols: ["postgresql"] },
      (socket) => serve(socket.on("error", () => {})),
    );
    const inner = await listen(tlsServer.on("connection", track));
    const joinTLS = (socket: Socket) => {
      const line = track(connect(inner, "127.0.0.1"));
      socket.once("close", () => line.destroy());
      line.once("close", () => socket.destroy());
      socket.pipe(line).pipe(socket);
    };
    const outer = createServer((socket) => {
      connections++;
      track(socket);
      if (answer === "") return joinTLS(socket);
      socket.once("data", (request) => {
        assert.deepEqual(Buffer.from(request), Buffer.of(0, 0, 0, 8, 4, 210, 22, 47));
        socket.write(answer);
        if (answer === "S") joinTLS(socket);
        else serve(socket);
      });
    });
    await play({
      port: await listen(outer),
      certificate,
      get connections() {
        return connections;
      },
      nextHandshake: () => new Promise((resolve) => tlsServer.once("secureConnection", () => resolve())),
      closed: async () => {
        while (sockets.size > 0) {
          await Promise.all(
            [...sockets].map((socket) => new Promise((resolve) => socket.once("close", resolve))),
          );
        }
      },
    });
  } finally {
    for (const socket of sockets) socket.destroy();
    await Promise.all(servers.map((server) => new Promise((resolve) => server.close(resolve))));
    rmSync(folder, { recursive: true });
  }
}

/** Creates a private key and its certificate, and returns their paths. */
function createCertificate(folder: string): readonly [key: string, certificate: string] {
  const openssl = findProgram("openssl") ?? install("openssl", () => findProgram("openssl"));
  const [key, certificate] = [join(folder, "key"), join(folder, "crt")];
  const curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"];
  const names = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"];
  run([openssl, "req", "-new", "-x509", ...curve, ...names, "-keyout", key, "-out", certificate]);
  return [key, certificate];
}
