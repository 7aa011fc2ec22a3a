/**
 * A real server on HTTP/1.1, and tabs of a Chromium that load the client from it.
 *
 * @module
 */
import assert from "node:assert/strict";
import { buildSync } from "esbuild";
import { createFetchHandler, type FetchHandler, MemoryStorage, RealityServer } from "../../mod.ts";
import type { ClientOptions } from "../../client/mod.ts";
import { type Chromium, Profile, type Tab } from "./chromium.ts";

/** A sync that the server has not answered yet. */
export interface OpenSync {
  /** The name of the tab that sent it. */
  readonly tab: string;
  /** Whether the server may wait for a change. */
  readonly waits: boolean;
}

/** A condition that does not hold after this time has failed, in milliseconds. */
const TIMEOUT_MS = 15_000;

/** The page with all of the client that it uses. It is the same in each test. */
const script = buildSync({
  entryPoints: ["tests/browser/page.ts"],
  bundle: true,
  format: "esm",
  target: "es2022",
  write: false,
}).outputFiles[0]!.text;

/** What a tab is opened with. */
export interface TabOptions {
  /** The value that it shows; `a` by default. The value `other` is on the server below `/other`. */
  readonly key?: string;
  /** Runs before the scripts of the page. */
  readonly script?: string;
  /** The path of the page, without its last part. */
  readonly path?: string;
  /** The host of the page; `127.0.0.1` by default. The other one, `app.test`, is no secure context. */
  readonly host?: string;
  /** Options of its client. */
  readonly client?: Partial<ClientOptions>;
}

/** A Reality server below a path. */
class ServerAt {
  readonly reality: RealityServer = new RealityServer({ storage: new MemoryStorage() });
  readonly handler: FetchHandler;

  constructor(path: string) {
    this.handler = createFetchHandler(this.reality, { basePath: `${path}/reality` });
  }
}

/** A server, values that change, and tabs that each show one of them. */
export class Stage implements AsyncDisposable {
  readonly #profile: Profile;
  readonly #servers = new Map(["", "/other"].map((path) => [path, new ServerAt(path)]));
  readonly #httpServer: Deno.HttpServer<Deno.NetAddr>;
  readonly #watchers = new Set<() => void>();
  /** Syncs that are not answered yet. */
  readonly open: Set<OpenSync> = new Set();
  /** The names of the tabs that sent syncs, in order. */
  readonly asked: string[] = [];
  readonly tabs: Map<string, Tab> = new Map();
  readonly #keys = new Map<Tab, string>();
  readonly #values = new Map<string, number>();

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

  /** Opens a tab. Its name is in the address of the page. */
  async tab(name: string, options: TabOptions = {}): Promise<Tab> {
    const { key = "a", script, path = "/page", host = "127.0.0.1", client } = options;
    const page = `http://${host}:${this.#httpServer.addr.port}${path}/${name}`;
    const tab = await this.#profile.open(`${page}?${JSON.stringify({ key, ...client })}`, script);
    this.tabs.set(name, tab);
    this.#keys.set(tab, key);
    return tab;
  }

  /** The address of a page without a client. */
  get emptyPage(): string {
    return `http://127.0.0.1:${this.#httpServer.addr.port}/empty`;
  }

  /** Changes a value. */
  async change(key = "a"): Promise<number> {
    const value = this.#value(key) + 1;
    this.#values.set(key, value);
    await this.#serverOf(key).reality.updateNode(key, String(value));
    return value;
  }

  /** Waits until these tabs show their values. */
  async shown(...tabs: Tab[]): Promise<void> {
    await Promise.all(tabs.map((tab) => tab.run(`shows(${this.#value(this.#keys.get(tab)!)})`)));
  }

  /** Waits until these tabs show their values, and one request waits for a change. */
  settled(...tabs: Tab[]): Promise<void> {
    return this.settledWith(1, ...tabs);
  }

  /** Waits until these tabs show their values, and so many requests wait for a change. */
  async settledWith(requests: number, ...tabs: Tab[]): Promise<void> {
    await this.shown(...tabs);
    await this.until(() => this.waiting.length === requests);
  }

  /** Changes the values that these tabs show, and waits until they do. */
  async changeAndSee(...tabs: Tab[]): Promise<void> {
    const keys = new Set(tabs.map((tab) => this.#keys.get(tab)!));
    await Promise.all([...keys].map((key) => this.change(key)));
    await this.shown(...tabs);
  }

  /** Waits until a condition holds. It is checked when a sync arrives or ends. */
  async until(isTrue: () => boolean): Promise<void> {
    const late = Promise.withResolvers<void>();
    const timer = setTimeout(() => {
      late.reject(new Error(`The condition does not hold while these syncs wait: ${this.waiting}`));
    }, TIMEOUT_MS);
    try {
      while (!isTrue()) {
        await Promise.race([late.promise, new Promise<void>((resolve) => this.#watchers.add(resolve))]);
      }
    } finally {
      clearTimeout(timer);
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#profile[Symbol.asyncDispose]();
    for (const { reality } of this.#servers.values()) await reality.close();
    await this.#httpServer.shutdown();
  }

  async #answer(request: Request): Promise<Response> {
    const { pathname } = new URL(request.url);
    const [, path, key] = /^(.*)\/reality\/|^\/api\/(.*)/.exec(pathname) ?? [];
    if (path !== undefined) return await this.#sync(request, this.#servers.get(path)!.handler);
    if (key !== undefined) {
      const stamp = await this.#serverOf(key).reality.stamp([key]);
      return stamp.json(this.#value(key));
    }
    if (pathname === "/page.js") {
      return new Response(script, { headers: { "content-type": "text/javascript" } });
    }
    const body = pathname === "/empty" ? "" : '<script type="module" src="/page.js"></script>';
    return new Response(`<!doctype html><title>Page</title>${body}`, {
      headers: { "content-type": "text/html" },
    });
  }

  /** The server of a key. */
  #serverOf(key: string): ServerAt {
    return this.#servers.get(key === "other" ? "/other" : "")!;
  }

  #value(key: string): number {
    return this.#values.get(key) ?? 0;
  }

  async #sync(request: Request, handler: FetchHandler): Promise<Response> {
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
    return await handler(request);
  }

  #notify(): void {
    const watchers = [...this.#watchers];
    this.#watchers.clear();
    for (const watcher of watchers) watcher();
  }
}
