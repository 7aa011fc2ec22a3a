/**
 * TLS on a connection to a PostgreSQL server.
 *
 * npm:postgres could do this over a connection that it is given. But it removes its error listeners while the socket is being
 * closed, and it writes to a socket that it has ended during the handshake. Both would end the process.
 *
 * @module
 */
import { isIP, type Socket } from "node:net";
import { connect, type ConnectionOptions, type TLSSocket } from "node:tls";

/** How connections are encrypted, as npm:postgres reads it from the settings, the address and the environment. */
export interface TLSSettings {
  /**
   * Without a value, connections are not encrypted. `"require"`, `"allow"` and `"prefer"` do not check the certificate.
   * Every other string does. An object has options for `tls.connect`.
   */
  readonly ssl?: unknown;
  /** `"direct"` begins with TLS. Otherwise the server is asked for TLS first. */
  readonly sslnegotiation?: unknown;
}

/** The message SSLRequest: its length and its code. */
const SSL_REQUEST: Uint8Array = Uint8Array.of(0, 0, 0, 8, 4, 210, 22, 47);

/** The answers to SSLRequest. */
const [ACCEPTED, REJECTED] = [0x53, 0x4e];

const UNVERIFIED: readonly unknown[] = ["require", "allow", "prefer"];

/**
 * Agrees with the server on whether to use TLS.
 *
 * @param socket A connection on which nothing was sent.
 * @param settings How it is encrypted.
 * @returns Whether the connection goes on with TLS.
 * @throws {Error} When the server does not offer TLS and the settings require it, and when its answer is no answer to
 *   SSLRequest.
 */
export async function negotiateTLS(socket: Socket, { ssl, sslnegotiation }: TLSSettings): Promise<boolean> {
  if (!ssl || sslnegotiation === "direct") return Boolean(ssl);
  const answer = untilEvent(socket, "data");
  socket.write(SSL_REQUEST);
  const [data] = await answer as [Uint8Array];
  // An attacker could send plain text before the handshake, to be taken for an answer after it (CVE-2021-23222).
  if (data.length > 1) throw new Error("The server sent plain text after its answer to the request for TLS");
  if (data[0] === ACCEPTED) return true;
  if (data[0] !== REJECTED) throw new Error("The server's answer to the request for TLS is unknown");
  if (ssl !== "prefer") throw new Error("The server does not support TLS, which the address requires");
  return false;
}

/**
 * Begins TLS on a connection. The handshake is done with the event `secureConnect`.
 *
 * @param socket The connection. Destroying the result destroys it.
 * @param host The host's name or IP address, which the certificate must have if it is checked.
 * @param settings How it is encrypted.
 */
export function startTLS(socket: Socket, host: string | undefined, settings: TLSSettings): TLSSocket {
  const { ssl, sslnegotiation } = settings;
  const options: ConnectionOptions = {
    socket,
    // Without a host, the certificate of an IP address would be checked for "localhost".
    ...(host === undefined ? {} : { host }),
    ...(host === undefined || isIP(host) !== 0 ? {} : { servername: host }),
    ...(sslnegotiation === "direct" ? { ALPNProtocols: ["postgresql"] } : {}),
    ...(UNVERIFIED.includes(ssl) ? { rejectUnauthorized: false } : {}),
    ...(typeof ssl === "object" ? ssl : {}),
  };
  return connect(options);
}

/**
 * Settles with the arguments of the next event of that name.
 *
 * @throws {Error} The socket's error, or another one when it is closed first.
 */
export function untilEvent(socket: Socket, event: string): Promise<readonly unknown[]> {
  return new Promise((resolve, reject) => {
    const settle = () => {
      socket.off(event, succeed).off("error", fail).off("close", lose);
    };
    const succeed = (...args: readonly unknown[]) => {
      settle();
      resolve(args);
    };
    const fail = (error: Error) => {
      settle();
      reject(error);
    };
    const lose = () => fail(new Error("The connection was closed before it was ready"));
    socket.on(event, succeed).on("error", fail).on("close", lose);
    if (socket.destroyed) lose();
  });
}
