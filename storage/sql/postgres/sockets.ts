/**
 * The connections of a PostgreSQL client, with TLS or without, which can be destroyed.
 *
 * A client of npm:postgres that is ended says goodbye and then waits for the other side to close. On a connection
 * whose bytes are lost that never happens, and the socket would stay for good.
 *
 * @module
 */
import { connect, type Socket } from "node:net";
import { negotiateTLS, startTLS, type TLSSettings, untilEvent } from "./secure_socket.ts";

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
  readonly #tls: TLSSettings;
  /** What is connected or connecting. Of a connection with TLS, only its TLS socket. */
  readonly #sockets = new Set<Socket>();
  #isDestroyed = false;
  #wasConnected = false;
  /** The host that is tried next. */
  #next = 0;

  /**
   * @param timeout How long a connection may take to be made, in milliseconds, over all hosts, including TLS.
   * @param tls How connections are encrypted.
   */
  constructor(timeout: number, tls: TLSSettings) {
    this.#timeout = timeout;
    this.#tls = tls;
  }

  /**
   * Connects to the first host that can be reached, beginning with the one after the last that was.
   *
   * @throws {Error} When none can be, with the error of the last; after `destroy`; and with one host, at the second call:
   *   a client would connect without a pause as long as the server closes its connections before they are ready.
   */
  readonly connect = async ({ host: hosts, port: ports, path }: SocketTarget): Promise<Socket> => {
    const count = hosts.length;
    if (this.#wasConnected && count === 1) {
      throw new Error("The server closed the connection before it was ready");
    }
    this.#wasConnected = true;
    if (path) return await this.#open(connect(path), undefined, this.#timeout);
    for (let failures = 1;; failures++) {
      const place = this.#next;
      this.#next = (place + 1) % count;
      const [host, port] = [hosts[place] ?? "localhost", ports[place] ?? 5432];
      try {
        const socket = await this.#open(connect(port, host), host, this.#timeout / count);
        // The client names them in its errors.
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

  async #open(connecting: Socket, host: string | undefined, timeout: number): Promise<Socket> {
    let socket = this.#add(connecting);
    const timer = setTimeout(
      () => socket.destroy(new Error(`no connection within ${timeout} ms`)),
      timeout,
    );
    try {
      await untilEvent(socket, "connect");
      if (await negotiateTLS(socket, this.#tls)) {
        // A write of the TLS socket would fail if the connection below it were destroyed.
        this.#sockets.delete(socket);
        socket = this.#add(startTLS(socket, host, this.#tls));
        await untilEvent(socket, "secureConnect");
      }
      return socket;
    } catch (error) {
      socket.destroy();
      throw error;
    } finally {
      clearTimeout(timer);
    }
  }

  #add(socket: Socket): Socket {
    keepErrorListener(socket);
    this.#sockets.add(socket);
    socket.once("close", () => this.#sockets.delete(socket));
    return this.#isDestroyed ? socket.destroy() : socket;
  }
}

/**
 * Ignores a socket's errors where nothing else listens to them. npm:postgres removes all listeners when the socket is closed,
 * and Node may report the error of a write after that. Without a listener it would end the process.
 */
function keepErrorListener(socket: Socket): void {
  const ignore = () => {};
  const removeAll = socket.removeAllListeners;
  socket.on("error", ignore);
  Object.assign(socket, {
    removeAllListeners(...events: [event?: string | symbol]): Socket {
      removeAll.apply(socket, events);
      return socket.off("error", ignore).on("error", ignore);
    },
  });
}
