/**
 * Servers that exchange messages over a fake connection that a test can read, cut and change. No socket is opened.
 *
 * @module
 */
import { RefusalError } from "../../../src/errors.ts";
import { CallbackProof } from "../../../src/mesh/callback_proof.ts";
import type { Proof } from "../../../src/mesh/proof.ts";
import { SecretProof } from "../../../src/mesh/secret_proof.ts";
import { Transport } from "../../../src/mesh/transport.ts";
import { FakeClock, settle } from "../../clock.ts";

/** The fields of an envelope, as they were sent. */
export type Fields = Record<string, unknown>;

/** One request as it was sent. */
export interface Heard {
  readonly url: string;
  readonly gossip: Fields;
}

/** A server that only proves and exchanges messages. It answers `message` with its name and `message`. */
export interface LineServer {
  readonly url: string;
  readonly proof: Proof;
  readonly transport: Transport;
  /** The messages that it has accepted. */
  readonly taken: string[];
  /** The configured URLs of their senders, if the proof tells them. */
  readonly from: (string | undefined)[];
  /** The URLs it lists. */
  readonly peers: string[];
}

/** How a server is made: with secrets, or else with peers. */
export interface LineServerOptions {
  readonly secrets?: readonly string[];
  readonly peers?: readonly string[];
  readonly clock?: FakeClock;
  readonly nameTimeout?: number;
  readonly maxNonces?: number;
}

/** The fake connection and its servers. */
export class Line {
  readonly clock: FakeClock = new FakeClock();
  readonly servers: Map<string, LineServer> = new Map<string, LineServer>();
  /** Every request that was sent. */
  readonly heard: Heard[] = [];
  /** Called before each request: returns an answer, or `undefined` to pass the request on. */
  before: (heard: Heard, request: Request) => Response | Promise<Response> | undefined = () => undefined;
  /** Changes the envelope of an answer. */
  bend: (gossip: Fields, heard: Heard) => unknown = (gossip) => gossip;

  /** Starts a server. An earlier one with this name is gone with its state. */
  start(name: string, options: LineServerOptions): LineServer {
    const url = urlOf(name);
    const wire = {
      clock: options.clock ?? this.clock,
      fetch: (request: Request) => this.fetch(request),
      timeout: 2000,
      maxBytes: 100_000,
    };
    const peers = (options.peers ?? []).map(urlOf);
    const proof = options.secrets === undefined
      ? new CallbackProof({ ...wire, id: name, peers: () => peers })
      : new SecretProof({ ...options, secrets: options.secrets, clock: wire.clock });
    const server = { url, proof, transport: new Transport({ ...wire, proof }), taken: [], from: [], peers };
    this.servers.set(url, server);
    return server;
  }

  /** Passes a request to its server, as an adapter would. */
  async fetch(request: Request): Promise<Response> {
    const heard = { url: request.url, gossip: (await request.json()).gossip };
    this.heard.push(heard);
    const early = this.before(heard, request);
    if (early !== undefined) return await early;
    return await this.deliver(heard);
  }

  /** Passes an envelope to a server without `before`. */
  async deliver(heard: Heard): Promise<Response> {
    const server = this.servers.get(heard.url);
    if (server === undefined) throw new TypeError("Connection refused");
    try {
      const opened = await server.proof.verify(heard.gossip);
      if (opened.kind === "reply") {
        return Response.json({ gossip: this.bend(opened.gossip as Fields, heard) });
      }
      server.taken.push(opened.message);
      server.from.push(opened.url);
      const gossip = await opened.createAnswer(`${new URL(server.url).hostname}: ${opened.message}`);
      return Response.json({ gossip: this.bend(gossip as Fields, heard) });
    } catch (error) {
      if (!(error instanceof RefusalError)) throw error;
      return Response.json({ error: { code: error.code, message: error.message } }, { status: error.status });
    }
  }

  /** Waits until this many requests were sent: signatures are made on threads, without the fake clock. */
  async sent(count: number): Promise<void> {
    for (let i = 0; this.heard.length < count; i++) {
      if (i === 10_000) throw new Error(`Only ${this.heard.length} requests were sent, not ${count}`);
      await settle();
    }
  }

  /** Waits until no more requests are sent without time passing. */
  async settled(): Promise<void> {
    for (let quiet = 0, before = -1; quiet < 5; quiet++) {
      if (this.heard.length !== before) quiet = 0;
      before = this.heard.length;
      await settle();
    }
  }

  /** The last request that carried a message. */
  get lastMessage(): Heard {
    return this.heard.findLast(({ gossip }) => "message" in gossip)!;
  }

  /** How many requests carried a field of that name. */
  count(field: string): number {
    return this.heard.filter(({ gossip }) => field in gossip).length;
  }
}

/** The URL of the server with that name. */
export function urlOf(name: string): string {
  return `http://${name}/reality/sync`;
}

/** Sends a message from one server to another and gives the answer. */
export async function say(from: LineServer, to: string, message: string): Promise<string> {
  return (await from.transport.send(urlOf(to), message)).message;
}
