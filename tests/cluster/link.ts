/**
 * A line between two processes that a test can trouble: whoever connects to its port reaches the target, or not.
 *
 * @module
 */
import { type AddressInfo, connect, createServer, type Server, type Socket } from "node:net";

/** What can be wrong with a line. */
export type Trouble =
  /** Bytes are lost both ways; connections stay open and silent. */
  | "silent"
  /** Bytes come late. */
  | "slow"
  /** Nobody can connect, and connections that were open are lost. */
  | "refused"
  /** Connections are lost as soon as somebody asks through them. */
  | "reset"
  /** What is asked gets through; the connection is lost when the answer comes. */
  | "cut";

/** How late bytes come on a slow line, in milliseconds. */
const DELAY = 150;

/** Two sockets that a line has joined. */
interface Pair {
  readonly near: Socket;
  readonly far: Socket | undefined;
  /** Whether bytes were lost on it, after which it cannot go on. */
  isBroken: boolean;
}

/** One directed line: requests pass one way, answers the other. */
export class Link {
  readonly #server: Server;
  readonly #pairs = new Set<Pair>();
  readonly #timers = new Set<ReturnType<typeof setTimeout>>();
  #trouble: Trouble | undefined;
  #isBlocked = false;
  /** How many bytes have passed, both ways. */
  passed = 0;
  /** The port to which it leads, on this machine; undefined when nobody is there. */
  target: number | undefined;

  private constructor(server: Server) {
    this.#server = server;
    server.on("connection", (near) => this.#join(near));
  }

  /** Listens on a free port. */
  static async open(target?: number): Promise<Link> {
    const server = createServer();
    await new Promise<void>((resolve, reject) => {
      server.once("error", reject);
      server.listen(0, "127.0.0.1", resolve);
    });
    const link = new Link(server);
    link.target = target;
    return link;
  }

  /** Where to connect. */
  get port(): number {
    return (this.#server.address() as AddressInfo).port;
  }

  /** Troubles it, or makes it well again. */
  set trouble(trouble: Trouble | undefined) {
    this.#change(() => this.#trouble = trouble);
  }

  /** Whether it is silent, whatever else is wrong with it. From then on no byte gets through. */
  set isBlocked(isBlocked: boolean) {
    this.#change(() => this.#isBlocked = isBlocked);
  }

  /** Closes it with all its connections. */
  async close(): Promise<void> {
    const closed = new Promise((resolve) => this.#server.close(resolve));
    for (const timer of this.#timers) clearTimeout(timer);
    this.#timers.clear();
    for (const pair of this.#pairs) lose(pair);
    await closed;
  }

  get #state(): Trouble | undefined {
    return this.#isBlocked ? "silent" : this.#trouble;
  }

  #change(change: () => void): void {
    change();
    for (const pair of this.#pairs) {
      if (this.#state === "refused" || pair.isBroken && this.#state !== "silent") lose(pair);
    }
  }

  #join(near: Socket): void {
    near.on("error", () => {});
    if (this.#state === "refused" || this.target === undefined) return void near.destroy();
    // Where bytes are lost, so is the request for a connection, which the other side learns only by waiting.
    const far = this.#state === "silent" ? undefined : connect(this.target, "127.0.0.1");
    const pair: Pair = { near, far, isBroken: far === undefined };
    this.#pairs.add(pair);
    near.once("close", () => {
      this.#pairs.delete(pair);
      far?.destroy();
    });
    if (far === undefined) return void near.resume();
    far.on("error", () => {});
    for (const socket of [near, far]) socket.setNoDelay(true);
    this.#pass(pair, near, far);
    this.#pass(pair, far, near);
  }

  /** Passes on what comes from one side, each piece and the end in their order. */
  #pass(pair: Pair, from: Socket, to: Socket): void {
    let late = 0;
    const send = (deliver: () => void) => {
      const now = performance.now();
      const wait = Math.max(late, this.#state === "slow" ? now + DELAY : 0) - now;
      if (wait <= 0) return deliver();
      late = now + wait;
      const timer = setTimeout(() => {
        this.#timers.delete(timer);
        deliver();
      }, wait);
      this.#timers.add(timer);
    };
    from.on("data", (bytes: Uint8Array) => {
      const state = this.#state;
      if (state === "reset" || state === "cut" && from === pair.far) return lose(pair);
      send(() => {
        if (this.#state === "silent") pair.isBroken = true;
        else if (!to.destroyed) {
          this.passed += bytes.byteLength;
          to.write(bytes);
        }
      });
    });
    const end = () =>
      send(() => {
        // A side that has gone is heard of no sooner than its bytes would be.
        if (this.#state === "silent") pair.isBroken = true;
        else to.end(() => to.destroy());
      });
    from.once("close", end);
  }
}

function lose({ near, far }: Pair): void {
  near.destroy();
  far?.destroy();
}
