/**
 * A link between two processes in which a test can cause faults: connections to its port reach the target, or fail.
 *
 * @module
 */
import { type AddressInfo, connect, createServer, type Server, type Socket } from "node:net";

/** The faults of a link. */
export type Trouble =
  /** Bytes are lost both ways; connections stay open and silent. */
  | "silent"
  /** Bytes come late. */
  | "slow"
  /** New connections are refused, and open ones are reset. */
  | "refused"
  /** Connections are reset at the next request. */
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
  /** Whether it stays open and silent, however well the line is. */
  isAbandoned: boolean;
  /** Callbacks for the moment when the link works again. */
  readonly held: (() => void)[];
}

/** One directed link: requests pass one way, answers the other. */
export class Link {
  readonly #server: Server;
  readonly #pairs = new Set<Pair>();
  readonly #timers = new Set<ReturnType<typeof setTimeout>>();
  #trouble: Trouble | undefined;
  #isBlocked = false;
  #isHeld = false;
  /** How many bytes have passed, both ways. */
  passed = 0;
  /** How many pieces of bytes, and connections, were lost or held. */
  kept = 0;
  /** The target's port on this machine; `undefined` without a target. */
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

  /** Causes a fault, or ends it. */
  set trouble(trouble: Trouble | undefined) {
    this.#change(() => this.#trouble = trouble);
  }

  /** Whether it is silent, whatever else is wrong with it. From then on no byte gets through. */
  set isBlocked(isBlocked: boolean) {
    this.#change(() => this.#isBlocked = isBlocked);
  }

  /** Whether bytes wait, and come once it is held no longer. */
  set isHeld(isHeld: boolean) {
    this.#change(() => this.#isHeld = isHeld);
  }

  /** Makes it well for connections that are made from now on; on those that are open every byte is lost, for good. */
  abandon(): void {
    for (const pair of this.#pairs) pair.isAbandoned = true;
    this.trouble = undefined;
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
      const isLost = pair.isBroken && !pair.isAbandoned && this.#state !== "silent";
      if (this.#state === "refused" || isLost) lose(pair);
      else if (!this.#isHeld) { for (const deliver of pair.held.splice(0)) deliver(); }
    }
  }

  #join(near: Socket): void {
    near.on("error", () => {});
    if (this.#state === "refused" || this.target === undefined) return void near.destroy();
    // If bytes are lost, so is the request for a connection, which the other side notices only by a timeout.
    const far = this.#state === "silent" ? undefined : connect(this.target, "127.0.0.1");
    const pair: Pair = { near, far, isBroken: far === undefined, isAbandoned: false, held: [] };
    this.#pairs.add(pair);
    near.once("close", () => {
      this.#pairs.delete(pair);
      far?.destroy();
    });
    if (far === undefined) {
      this.kept++;
      return void near.resume();
    }
    far.on("error", () => {});
    for (const socket of [near, far]) socket.setNoDelay(true);
    this.#pass(pair, near, far);
    this.#pass(pair, far, near);
  }

  /** Forwards the bytes of one side and its end, in order. */
  #pass(pair: Pair, from: Socket, to: Socket): void {
    let late = 0;
    const send = (deliver: () => void) => {
      if (this.#isHeld && !pair.isAbandoned || pair.held.length > 0) {
        this.kept++;
        return void pair.held.push(deliver);
      }
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
        if (this.#state === "silent" || pair.isAbandoned) {
          pair.isBroken = true;
          this.kept++;
        } else if (!to.destroyed) {
          this.passed += bytes.byteLength;
          to.write(bytes);
        }
      });
    });
    const end = () =>
      send(() => {
        // The end of a side arrives after its bytes.
        if (this.#state === "silent" || pair.isAbandoned) pair.isBroken = true;
        else to.end(() => to.destroy());
      });
    from.once("close", end);
  }
}

function lose({ near, far }: Pair): void {
  near.destroy();
  far?.destroy();
}
