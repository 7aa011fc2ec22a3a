/**
 * The TCP connections of a PostgreSQL client, which can be destroyed.
 *
 * A client of npm:postgres that is ended says goodbye and then waits for the other side to close. On a connection
 * whose bytes are lost that never happens, and the socket would stay for good.
 *
 * @module
 */
import { connect, type Socket } from "node:net";

/** Where a client of npm:postgres connects: its options. */
export interface SocketTarget {
  /** The hosts, one after the other. */
  readonly host: readonly string[];
  /** The port of each. */
  readonly port: readonly number[];
  /** The path of a Unix socket, in the place of all of them. */
  readonly path?: string | false;
}

/** Connects for one client, and destroys what it has connected. */
export class Sockets {
  readonly #timeout: number;
  readonly #sockets = new Set<Socket>();
  #isDestroyed = false;
  /** The host that is tried next. */
  #next = 0;
  #host: string | undefined;

  /** @param timeout How long a connection may take to be made, in milliseconds, over all hosts. */
  constructor(timeout: number) {
    this.#timeout = timeout;
  }

  /** The host of the connection that was made last: whose name or address its certificate must have. */
  get host(): string | undefined {
    return this.#host;
  }

  /**
   * Connects to the first host that can be reached, beginning with the one after the last that was.
   *
   * @throws {Error} When none can be, with the error of the last; or after `destroy`.
   */
  readonly connect = async ({ host: hosts, port: ports, path }: SocketTarget): Promise<Socket> => {
    if (path) return await this.#open(connect(path), this.#timeout);
    const count = hosts.length;
    for (let failures = 1;; failures++) {
      const place = this.#next;
      this.#next = (place + 1) % count;
      const [host, port] = [hosts[place] ?? "localhost", ports[place] ?? 5432];
      try {
        // The client looks at these for the name in the server's certificate.
        const socket = await this.#open(connect(port, host), this.#timeout / count);
        this.#host = host;
        return Object.assign(socket, { host, port });
      } catch (error) {
        if (failures === count) throw error;
      }
    }
  };

  /** Destroys what is connected or connecting, and lets nothing be connected any more. */
  destroy(): void {
    this.#isDestroyed = true;
    for (const socket of this.#sockets) socket.destroy();
  }

  #open(socket: Socket, timeout: number): Promise<Socket> {
    this.#sockets.add(socket);
    socket.once("close", () => this.#sockets.delete(socket));
    return new Promise((resolve, reject) => {
      const fail = (error: Error) => {
        clearTimeout(timer);
        socket.destroy();
        reject(error);
      };
      const lose = () => fail(new Error("The connection was given up"));
      const timer = setTimeout(() => fail(new Error(`no connection within ${timeout} ms`)), timeout);
      socket.once("error", fail);
      socket.once("close", lose);
      socket.once("connect", () => {
        clearTimeout(timer);
        socket.off("error", fail);
        socket.off("close", lose);
        resolve(socket);
      });
      if (this.#isDestroyed) lose();
    });
  }
}
