import assert from "node:assert/strict";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { type AddressInfo, connect, createServer, type Server, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createServer as createTLSServer } from "node:tls";
import { openPostgres } from "../../../../storage/sql/postgres/postgres_storage.ts";
import { test } from "../../../harness.ts";
import { findProgram, install } from "../../../run/databases.ts";
import { run } from "../../../run/server.ts";

/** What a server does after its certificate was taken: it counts, and hangs up. */
interface Secured {
  readonly port: number;
  /** The path of the certificate, which is for the name `localhost` alone. */
  readonly certificate: string;
  handshakes: number;
}

/** Runs beside what looks like a PostgreSQL server with TLS until the first message. */
async function withServer(play: (server: Secured) => Promise<void>): Promise<void> {
  const openssl = findProgram("openssl") ?? install("openssl", () => findProgram("openssl"));
  const folder = mkdtempSync(join(tmpdir(), "reality-tls-"));
  const [key, certificate] = ["key", "crt"].map((name) => join(folder, name)) as [string, string];
  const sockets = new Set<Socket>();
  const servers: Server[] = [];
  const listen = async (server: Server) => {
    servers.push(server);
    server.on("connection", (socket) => sockets.add(socket.on("error", () => {})));
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    return (server.address() as AddressInfo).port;
  };
  try {
    run([
      ...[
        openssl,
        "req",
        "-new",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:prime256v1",
        "-nodes",
      ],
      ...[
        "-subj",
        "/CN=localhost",
        "-addext",
        "subjectAltName=DNS:localhost",
        "-keyout",
        key,
        "-out",
        certificate,
      ],
    ]);
    const inner = await listen(
      createTLSServer({ key: readFileSync(key), cert: readFileSync(certificate) }, (socket) => {
        secured.handshakes++;
        socket.on("error", () => {}).end();
      }),
    );
    const port = await listen(createServer((socket) =>
      // The client asks for TLS with 8 bytes.
      socket.once("data", () => {
        const line = connect(inner, "127.0.0.1");
        sockets.add(line.on("error", () => {}));
        socket.write("S");
        socket.pipe(line).pipe(socket);
      })
    ));
    const secured: Secured = { port, certificate, handshakes: 0 };
    await play(secured);
  } finally {
    for (const socket of sockets) socket.destroy();
    await Promise.all(servers.map((server) => new Promise((resolve) => server.close(resolve))));
    rmSync(folder, { recursive: true });
  }
}

test("openPostgres() has the certificate checked for the host that it connects to, an IP address as well", async () => {
  await withServer(async (server) => {
    const open = async (query: string) => {
      const address = `postgres://me@127.0.0.1:${server.port}/app?${query}`;
      const storage = openPostgres(address, { listen: false, statementTimeout: 500 });
      const error = await storage.getMaxVersion().then(() => undefined, (error: Error) => error);
      await storage.close();
      return error?.message ?? "";
    };
    const root = `sslrootcert=${encodeURIComponent(server.certificate)}`;
    assert.match(await open("sslmode=verify-full"), /self.signed/);
    assert.match(await open(`sslmode=verify-full&${root}`), /does not match certificate|altnames/);
    assert.match(await open(`sslmode=verify-ca&${root}`), /does not match certificate|altnames/);
    const before = server.handshakes;
    await open("sslmode=require");
    assert.ok(server.handshakes > before, "encrypted, and nothing checked");
  });
});
