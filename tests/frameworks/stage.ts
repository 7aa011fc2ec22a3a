/**
 * A server with an application beside it, and a document as the examples of `docs/frameworks.md` find it in a browser.
 *
 * @module
 */
import { Window } from "happy-dom";
import { createFetchHandler, MemoryStorage, RealityServer } from "../../mod.ts";

const KEY = "chat:general";

/** Names that exist without a document, but not in the version that belongs to it. */
const REPLACED = ["Event", "CustomEvent", "EventTarget", "FormData"];

/** The application: messages, and a title. */
export class Stage implements AsyncDisposable {
  readonly server: RealityServer = new RealityServer({ storage: new MemoryStorage() });
  readonly #http: Deno.HttpServer<Deno.NetAddr>;
  readonly #window: Window = new Window({ url: "http://localhost/" });
  readonly #streams = new Set<EventSource>();
  readonly #messages: string[] = [];
  /** What the messages depend on. */
  #keys = [KEY];
  #titles = 0;
  /** All timers that were set. Some packages leave one for seconds after a page has ended. */
  readonly #timers: ReturnType<typeof setTimeout>[] = [];
  readonly #warn = console.warn;
  #loads = 0;
  #isDown = false;
  #isStamped = true;

  /** Starts the server, and makes the document and relative addresses global. */
  constructor() {
    const [realFetch, realTimeout] = [fetch, setTimeout];
    const [RealEventSource, RealEvent, streams] = [EventSource, Event, this.#streams];
    const reality = createFetchHandler(this.server);
    this.#http = Deno.serve({ port: 0, hostname: "127.0.0.1", onListen: () => {} }, async (request) => {
      const { pathname } = new URL(request.url);
      return pathname.startsWith("/reality/") ? await reality(request) : await this.#answer(pathname);
    });
    const names = Object.getOwnPropertyNames(this.#window).filter((name) =>
      !(name in globalThis) || REPLACED.includes(name)
    );
    const values = this.#window as unknown as Record<string, unknown>;
    for (const name of names) {
      Object.defineProperty(globalThis, name, { value: values[name], configurable: true, writable: true });
    }
    const { addr } = this.#http;
    const origin = `http://127.0.0.1:${addr.port}`;
    const whole = (url: string | URL) => new URL(`${url}`.replace("http://localhost/", "/"), origin);
    const ownFetch = async (input: string | URL, init?: RequestInit) => {
      const response = await realFetch(whole(input), init);
      // A page may leave the body of a failed request unread. Deno takes that for a leak.
      return response.ok ? response : new Response(await response.text(), { status: response.status });
    };
    Object.defineProperty(globalThis, "location", { value: this.#window.location, configurable: true });
    const timers = this.#timers;
    const globals = {
      setTimeout: (...args: Parameters<typeof realTimeout>) => {
        const timer = realTimeout(...args);
        timers.push(timer);
        return timer;
      },
      // htmx looks for attributes that are handlers by XPath, which this document cannot. The examples have none.
      XPathEvaluator: class {
        createExpression = () => ({ evaluate: () => ({ iterateNext: () => null }) });
      },
      window: globalThis,
      fetch: ownFetch,
      EventSource: class extends RealEventSource {
        constructor(url: string | URL) {
          super(whole(url));
          streams.add(this);
        }
        override dispatchEvent(event: Event): boolean {
          // Deno's EventSource makes its events with the global class, which belongs to the document here.
          return super.dispatchEvent(
            event instanceof RealEvent ? event : new RealEvent((event as Event).type),
          );
        }
      },
    };
    Object.assign(globalThis, globals);
    // The examples report failed fetches there.
    console.warn = () => {};
  }

  /** How often messages were fetched. */
  get loads(): number {
    return this.#loads;
  }

  /** Empties the application. */
  reset(): void {
    this.#messages.length = 0;
    this.#keys = [KEY];
    this.#titles = 0;
  }

  /** Shows this in the document, and returns its first element. */
  show(html: string = "<main></main>"): Element {
    document.body.innerHTML = html;
    return document.body.firstElementChild!;
  }

  /** Adds a message, and changes one of the keys. */
  async add(text: string, key: string = KEY): Promise<void> {
    this.#messages.push(text);
    await this.server.invalidate(key);
  }

  /** Adds a message while the application fails, and lets it answer again after the next fetch has failed. */
  async addWhileDown(text: string): Promise<void> {
    this.#isDown = true;
    const loads = this.#loads;
    await this.add(text);
    await until(() => this.#loads > loads, () => "a fetch");
    this.#isDown = false;
  }

  /** Adds a message while answers have no stamp, and stamps them again after one of them. */
  async addWithoutStamp(text: string): Promise<void> {
    this.#isStamped = false;
    const loads = this.#loads;
    await this.add(text);
    await until(() => this.#loads > loads, () => "a fetch");
    this.#isStamped = true;
    // The page takes the answer in.
    await new Promise((resolve) => setTimeout(resolve, 50));
  }

  /** Adds a message. From then on the messages depend on one more key. */
  async addWithKey(text: string, key: string): Promise<void> {
    this.#keys = [KEY, key];
    await this.add(text);
  }

  /** Changes the title. */
  async rename(): Promise<void> {
    this.#titles++;
    await this.server.invalidate("title");
  }

  /** The field of the answer now. */
  async stampField(): Promise<string> {
    return (await this.server.stamp([KEY])).headers["reality-stamp"]!;
  }

  /** Settles when no client waits any more. */
  async drain(): Promise<void> {
    for (const stream of this.#streams) stream.close();
    this.#streams.clear();
    for (let i = 0; i < 200; i++) {
      const { waiters, streams } = await this.server.getStats();
      if (waiters + streams === 0) return;
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
    throw new Error("A client still waits");
  }

  async [Symbol.asyncDispose](): Promise<void> {
    console.warn = this.#warn;
    for (const timer of this.#timers) clearTimeout(timer);
    await this.server.close();
    await this.#http.shutdown();
    await this.#window.happyDOM.close();
  }

  async #answer(pathname: string): Promise<Response> {
    if (pathname === "/api/title") return new Response(`Title ${this.#titles}`);
    this.#loads++;
    if (this.#isDown) return new Response(null, { status: 503 });
    const headers = this.#isStamped ? (await this.server.stamp(this.#keys)).headers : {};
    if (pathname === "/api/messages") return Response.json(this.#messages, { headers });
    const html = this.#messages.map((text) => `<li>${text}</li>`).join("");
    return new Response(html, { headers: { ...headers, "content-type": "text/html" } });
  }
}

/** Settles when a condition holds. */
export async function until(condition: () => boolean, describe: () => string): Promise<void> {
  const end = performance.now() + 10_000;
  while (!condition()) {
    if (performance.now() > end) throw new Error(`Waited 10 s in vain: ${describe()}`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}
