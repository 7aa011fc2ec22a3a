/**
 * A real server on HTTP/1.1, and tabs of a Chromium that load the client from it.
 *
 * @module
 */
import assert from "node:assert/strict";
import { buildSync } from "esbuild";
import { createFetchHandler, MemoryStorage, RealityServer } from "../../mod.ts";
import { type Chromium, Profile, type Tab } from "./chromium.ts";

/** A sync that the server has not answered yet. */
export interface OpenSync {
  /** The name of the tab that sent it. */
  readonly tab: string;
  /** Whether the server may wait for a change. */
  readonly waits: boolean;
}

/** The page with all of the client that it uses. It is the same in each test. */
const script = buildSync({
  entryPoints: ["tests/browser/page.ts"],
  bundle: true,
  format: "esm",
  target: "es2022",
  write: false,
}).outputFiles[0]!.text;

/** A server, one value that changes, and tabs that show it. */
export class Stage implements AsyncDisposable {
  readonly #profile: Profile;
  readonly #realityServer = new RealityServer({ storage: new MemoryStorage() });
  readonly #handler = createFetchHandler(this.#realityServer);
  readonly #httpServer: Deno.HttpServer<Deno.NetAddr>;
  readonly #watchers = new Set<() => void>();
  /** Syncs that are not answered yet. */
  readonly open: Set<OpenSync> = new Set();
  /** The names of the tabs that sent syncs, in order. */
  readonly asked: string[] = [];
  readonly tabs: Map<string, Tab> = new Map();
  /** The value that pages must show. */
  value = 0;

  private constructor(profile: Profile) {
    this.#profile = profile;
    this.#httpServer = Deno.serve(
      { hostname: "127.0.0.1", port: 0, onListen() {} },
      (request) => this.#answer(request),
    );
  }

  /** Runs a test on it. */
  static async run(chromium: Chromium, act: (stage: Stage) => Promise<void>): Promise<void> {
    await using stage = new Stage(await Profile.create(chromium));
    await act(stage);
    assert.deepEqual(stage.#profile.exceptions, []);
  }

  /** The tabs whose syncs wait for a change. */
  get waiting(): string[] {
    return [...this.open].filter(({ waits }) => waits).map(({ tab }) => tab);
  }

  /** Opens a tab that shows the value. The options are those of its client. */
  async tab(name: string, options: unknown = {}): Promise<Tab> {
    const tab = await this.#profile.open(`${this.#url}/page/${name}?${JSON.stringify(options)}`);
    this.tabs.set(name, tab);
    return tab;
  }

  /** The address of a page without a client. */
  get emptyPage(): string {
    return `${this.#url}/empty`;
  }

  get #url(): string {
    return `http://127.0.0.1:${this.#httpServer.addr.port}`;
  }

  /** Changes the value. */
  async change(): Promise<number> {
    await this.#realityServer.updateNode("value", String(++this.value));
    return this.value;
  }

  /** Waits until these tabs show the value, and one request waits for a change. */
  async settled(...tabs: Tab[]): Promise<void> {
    await Promise.all(tabs.map((tab) => tab.run(`shows(${this.value})`)));
    await this.until(() => this.waiting.length > 0);
  }

  /** Changes the value, and waits until these tabs show it. */
  async changeAndSee(...tabs: Tab[]): Promise<void> {
    const value = await this.change();
    await Promise.all(tabs.map((tab) => tab.run(`shows(${value})`)));
  }

  /** Waits until a condition holds. It is checked when a sync arrives or ends. */
  async until(isTrue: () => boolean): Promise<void> {
    while (!isTrue()) await new Promise<void>((resolve) => this.#watchers.add(resolve));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#profile[Symbol.asyncDispose]();
    await this.#realityServer.close();
    await this.#httpServer.shutdown();
  }

  async #answer(request: Request): Promise<Response> {
    const { pathname } = new URL(request.url);
    if (pathname.startsWith("/reality")) return await this.#sync(request);
    if (pathname === "/api/value") {
      const stamp = await this.#realityServer.stamp(["value"]);
      return stamp.json(this.value);
    }
    if (pathname === "/page.js") {
      return new Response(script, { headers: { "content-type": "text/javascript" } });
    }
    const body = pathname === "/empty" ? "" : '<script type="module" src="/page.js"></script>';
    return new Response(`<!doctype html><title>Page</title>${body}`, {
      headers: { "content-type": "text/html" },
    });
  }

  async #sync(request: Request): Promise<Response> {
    const { pathname } = new URL(request.headers.get("referer")!);
    const tab = pathname.split("/").at(-1)!;
    const waits = request.method === "GET" || (await request.clone().json()).wait > 0;
    const open = { tab, waits };
    this.open.add(open);
    this.asked.push(tab);
    this.#notify();
    const end = () => {
      this.open.delete(open);
      this.#notify();
    };
    // Aborts when the answer was sent, or the connection has ended.
    request.signal.addEventListener("abort", end);
    return await this.#handler(request);
  }

  #notify(): void {
    const watchers = [...this.#watchers];
    this.#watchers.clear();
    for (const watcher of watchers) watcher();
  }
}
