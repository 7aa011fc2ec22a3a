/**
 * A client beside a real server in one process, on a clock and a page that the test controls.
 *
 * @module
 */
import { type ClientOptions, createClient, type KeyChange, type RealityClient } from "../../client/mod.ts";
import { createFetchHandler, type GroupsOptions, MemoryStorage, RealityServer } from "../../mod.ts";
import { FakeClock } from "../clock.ts";

/** A request that the client sent. */
export interface SentRequest {
  readonly method: string;
  /** With the query. */
  readonly path: string;
  readonly credentials: RequestCredentials | undefined;
  /** The time by the clock. */
  readonly at: number;
  readonly headers: Headers;
  /** The parsed body of a sync. */
  readonly body: {
    readonly known: Record<string, number>;
    readonly epoch?: string;
    readonly wait: number;
  };
  readonly signal: AbortSignal;
}

/** A page whose state the test sets. */
export class FakePage {
  readonly #listeners = new Set<() => void>();
  current: "active" | "hidden" | "offline" = "active";

  /** How many listeners there are. */
  get listeners(): number {
    return this.#listeners.size;
  }

  watch(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** Changes the state. */
  become(state: "active" | "hidden" | "offline"): void {
    this.current = state;
    for (const listener of this.#listeners) listener();
  }
}

/** A server, and clients that reach it by function calls. */
export class Scene implements AsyncDisposable {
  readonly clock: FakeClock = new FakeClock();
  readonly page: FakePage = new FakePage();
  readonly server: RealityServer;
  readonly sent: SentRequest[] = [];
  readonly errors: unknown[] = [];
  readonly #clients: RealityClient[] = [];
  /** The server's answer to a request. */
  readonly respond: (request: Request) => Promise<Response>;
  /** Answers in place of the server, if it returns something. */
  intercept: (request: SentRequest) => Response | Promise<Response> | undefined = () => undefined;

  /** Creates the server with these limits, and with groups if any are given. */
  constructor(limits: { maxKeys?: number; maxWaiters?: number } = {}, groups?: GroupsOptions) {
    const { clock } = this;
    this.server = new RealityServer({
      storage: new MemoryStorage({ counter: "sequential" }),
      clock,
      onError: (error) => this.errors.push(error),
      limits,
      groups,
      public: (key) => !key.startsWith("private:"),
    });
    this.respond = createFetchHandler(this.server);
  }

  /** Creates a client of the server. */
  client(options: Partial<ClientOptions> = {}): RealityClient {
    const { clock, page } = this;
    const client = createClient({
      url: "http://localhost/reality/",
      clock,
      page,
      fetch: this.fetch,
      onError: (error) => this.errors.push(error),
      ...options,
    });
    this.#clients.push(client);
    return client;
  }

  /** The known versions of each request. */
  get questions(): Record<string, number>[] {
    return this.sent.filter(({ path }) => path.endsWith("/sync")).map(({ body }) => body.known);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const client of this.#clients) client.close();
    await this.server.close();
  }

  /** Sends a request to the server. */
  readonly fetch: typeof globalThis.fetch = async (input, init = {}) => {
    const url = String(input);
    const request = new Request(url, init);
    const sent: SentRequest = {
      method: request.method,
      path: url.slice("http://localhost".length),
      credentials: init.credentials,
      at: this.clock.elapsed(),
      headers: request.headers,
      body: JSON.parse(String(init.body ?? "null")),
      signal: init.signal!,
    };
    this.sent.push(sent);
    return await (this.intercept(sent) ?? this.respond(request));
  };
}

/** A listener that records what it is told. Its fetches last until the test ends them. */
export class Fetches {
  /** The changes of each call. */
  readonly calls: (readonly KeyChange[])[] = [];
  readonly signals: AbortSignal[] = [];
  readonly #pending: { resolve: (value?: unknown) => void; reject: (error: Error) => void }[] = [];

  readonly listener = (
    changed: ReadonlyMap<string, KeyChange>,
    { signal }: { signal: AbortSignal },
  ): Promise<unknown> => {
    this.calls.push([...changed.values()]);
    this.signals.push(signal);
    return new Promise((resolve, reject) => this.#pending.push({ resolve, reject }));
  };

  /** Key → version of each call. */
  get versions(): Record<string, number>[] {
    return this.calls.map((changes) => Object.fromEntries(changes.map(({ key, version }) => [key, version])));
  }

  /** Ends the oldest fetch. */
  done(value?: unknown): void {
    this.#pending.shift()!.resolve(value);
  }

  /** Fails the oldest fetch. */
  fail(): void {
    this.#pending.shift()!.reject(new Error("Cannot reach the application"));
  }
}
