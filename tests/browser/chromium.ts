/**
 * Starts Chromium and controls its tabs by the DevTools protocol. Playwright shows every page as visible, and loses pages that
 * return from the back/forward cache.
 *
 * @module
 */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";

const CHROMIUM = process.env.REALITY_CHROMIUM ?? "/usr/bin/chromium";
const FLAGS = [
  "--headless",
  "--no-sandbox",
  "--disable-gpu",
  "--disable-quic",
  "--no-first-run",
  "--disable-sync",
]
  .concat(["--disable-background-networking", "--disable-component-update", "--disable-extensions"])
  .concat(["--remote-debugging-port=0", "--host-resolver-rules=MAP app.test 127.0.0.1"]);

/** A method of the protocol that takes longer has failed, in milliseconds. */
const TIMEOUT_MS = 15_000;

// deno-lint-ignore no-explicit-any -- each method of the protocol has a shape of its own
type Result = any;
type Params = Readonly<Record<string, unknown>>;
/** Receives events of the protocol. `session` is absent for those of the browser itself. */
type Listener = (method: string, params: Result, session?: string) => void;

/** One Chromium for all tests of a process. */
export class Chromium {
  readonly #socket: WebSocket;
  /** Resolves when the process has ended and the profile is removed. */
  readonly #ended: Promise<void>;
  readonly #calls = new Map<number, { resolve(result: Result): void; reject(error: Error): void }>();
  readonly #listeners = new Set<Listener>();
  #lastId = 0;

  private constructor(socket: WebSocket, ended: Promise<void>) {
    this.#socket = socket;
    this.#ended = ended;
    socket.addEventListener("message", ({ data }) => {
      const { id, method, params, sessionId, result, error } = JSON.parse(data);
      if (id === undefined) {
        for (const listener of [...this.#listeners]) listener(method, params, sessionId);
        return;
      }
      const call = this.#calls.get(id);
      this.#calls.delete(id);
      if (error) call?.reject(new Error(error.message));
      else call?.resolve(result);
    });
  }

  /** Starts it with an empty profile. */
  static async start(): Promise<Chromium> {
    const profile = mkdtempSync(join(tmpdir(), "reality-chromium-"));
    const child = spawn(CHROMIUM, [...FLAGS, `--user-data-dir=${profile}`], {
      stdio: ["ignore", "ignore", "pipe"],
    });
    const ended = once(child, "close").then(() => rmSync(profile, { recursive: true, force: true }));
    // When a run is cut off, no test closes it.
    globalThis.addEventListener("unload", () => {
      if (child.exitCode === null) child.kill("SIGKILL");
    });
    let text = "";
    const url = await new Promise<string>((resolve, reject) => {
      void ended.then(() => reject(new Error(`Chromium ended: ${text}`)));
      child.stderr.setEncoding("utf8").on("data", (part: string) => {
        text += part;
        const [, found] = /DevTools listening on (\S+)/.exec(text) ?? [];
        if (found) resolve(found);
      });
    });
    const socket = new WebSocket(url);
    await once(socket, "open");
    return new Chromium(socket, ended);
  }

  /** Closes it. */
  async close(): Promise<void> {
    await this.send("Browser.close");
    await this.#ended;
  }

  /** Calls a method of the protocol, in a session or of the browser itself. */
  async send(method: string, params: Params = {}, sessionId?: string): Promise<Result> {
    const answered = Promise.withResolvers<Result>();
    const id = this.post(method, params, sessionId);
    this.#calls.set(id, answered);
    const timer = setTimeout(() => answered.reject(new Error("no answer in time")), TIMEOUT_MS);
    try {
      return await answered.promise;
    } catch (error) {
      const text = params.expression ?? "";
      throw new Error(`Chromium failed at ${method} ${text}: ${(error as Error).message}`);
    } finally {
      clearTimeout(timer);
      this.#calls.delete(id);
    }
  }

  /** Calls a method without waiting for its answer. Returns the id of the call. */
  post(method: string, params: Params, sessionId: string | undefined): number {
    const id = ++this.#lastId;
    this.#socket.send(JSON.stringify({ id, method, params, sessionId }));
    return id;
  }

  /** Listens to events. Returns a function that ends it. */
  listen(listener: Listener): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** Waits for an event. Call it before what causes the event. */
  next(matches: (...event: Parameters<Listener>) => boolean): Promise<Result> {
    return new Promise((resolve) => {
      const stop = this.listen((method, params, session) => {
        if (!matches(method, params, session)) return;
        stop();
        resolve(params);
      });
    });
  }
}

/** Tabs that share storage, locks and connections, as those of one person do. */
export class Profile implements AsyncDisposable {
  readonly #chromium: Chromium;
  readonly #id: string;
  readonly #sessions = new Set<string>();
  readonly #stop: () => void;
  /** What was thrown in pages and caught by nothing. */
  readonly exceptions: string[] = [];

  private constructor(chromium: Chromium, id: string) {
    this.#chromium = chromium;
    this.#id = id;
    this.#stop = chromium.listen((method, { exceptionDetails }, session) => {
      if (method !== "Runtime.exceptionThrown" || !this.#sessions.has(session!)) return;
      this.exceptions.push(exceptionDetails.exception?.description ?? exceptionDetails.text);
    });
  }

  /** Creates an empty one. */
  static async create(chromium: Chromium): Promise<Profile> {
    const { browserContextId } = await chromium.send("Target.createBrowserContext");
    return new Profile(chromium, browserContextId);
  }

  /** Opens a tab in a window of its own, so that it is visible. The script runs before those of each page. */
  async open(url: string, script = ""): Promise<Tab> {
    const chromium = this.#chromium;
    const { targetId } = await chromium.send("Target.createTarget", {
      url: "about:blank",
      browserContextId: this.#id,
      newWindow: true,
    });
    const { sessionId } = await chromium.send("Target.attachToTarget", { targetId, flatten: true });
    this.#sessions.add(sessionId);
    const tab = new Tab(chromium, targetId, sessionId);
    await Promise.all([tab.send("Page.enable"), tab.send("Runtime.enable"), tab.send("Network.enable")]);
    if (script) await tab.send("Page.addScriptToEvaluateOnNewDocument", { source: script });
    await tab.goto(url);
    return tab;
  }

  /** Closes all tabs. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop();
    await this.#chromium.send("Target.disposeBrowserContext", { browserContextId: this.#id });
  }
}

/** One tab. */
export class Tab {
  readonly #chromium: Chromium;
  readonly #target: string;
  readonly #session: string;

  constructor(chromium: Chromium, target: string, session: string) {
    this.#chromium = chromium;
    this.#target = target;
    this.#session = session;
  }

  /** Calls a method of the protocol for this tab. */
  send(method: string, params?: Params): Promise<Result> {
    return this.#chromium.send(method, params, this.#session);
  }

  /** Evaluates an expression in the page. Waits for a promise. */
  async run<T>(expression: string): Promise<T> {
    const { result, exceptionDetails } = await this.send("Runtime.evaluate", {
      expression,
      awaitPromise: true,
      returnByValue: true,
    });
    if (exceptionDetails) throw new Error(exceptionDetails.exception?.description ?? exceptionDetails.text);
    return result.value;
  }

  /** Loads another page. */
  async goto(url: string): Promise<void> {
    const loaded = this.#next("Page.loadEventFired");
    await this.send("Page.navigate", { url });
    await loaded;
  }

  /** Goes back to the page before. Returns whether it came from the back/forward cache. */
  async back(): Promise<boolean> {
    const navigated = this.#next("Page.frameNavigated");
    const { currentIndex, entries } = await this.send("Page.getNavigationHistory");
    await this.send("Page.navigateToHistoryEntry", { entryId: entries[currentIndex - 1].id });
    return (await navigated).type === "BackForwardCacheRestore";
  }

  /** Hides the page: minimizes its window. */
  async hide(): Promise<void> {
    await this.#setWindow("minimized");
    await this.run(`visible(false)`);
  }

  /** Shows the page. */
  async show(): Promise<void> {
    await this.#setWindow("normal");
    await this.run(`visible(true)`);
  }

  /** Cuts the page off the network, or connects it again. */
  async setOffline(offline: boolean): Promise<void> {
    const throughput = { latency: 0, downloadThroughput: -1, uploadThroughput: -1 };
    await this.send("Network.emulateNetworkConditions", { offline, ...throughput });
  }

  /** Hides the page and freezes it: its timers and tasks stand still. */
  async freeze(): Promise<void> {
    await this.hide();
    await this.send("Page.setWebLifecycleState", { state: "frozen" });
  }

  /** Ends {@linkcode freeze}. */
  async thaw(): Promise<void> {
    await this.send("Page.setWebLifecycleState", { state: "active" });
    await this.show();
  }

  /** Kills the process of the page. */
  async crash(): Promise<void> {
    const crashed = this.#next("Inspector.targetCrashed");
    await this.send("Inspector.enable");
    // The process ends before it answers.
    this.#chromium.post("Page.crash", {}, this.#session);
    await crashed;
  }

  /** Lets the page hang, as an endless loop does: it keeps its lock and answers nothing. Returns a function that ends it. */
  async hang(): Promise<() => Promise<void>> {
    await this.send("Debugger.enable");
    const paused = this.#next("Debugger.paused");
    const ended = this.run("debugger");
    await paused;
    return async () => {
      await this.send("Debugger.disable");
      await ended;
    };
  }

  /** Closes the tab. */
  async close(): Promise<void> {
    const targetId = this.#target;
    const gone = this.#chromium.next((method, params) =>
      method === "Target.detachedFromTarget" && params.targetId === targetId
    );
    await this.#chromium.send("Target.closeTarget", { targetId });
    await gone;
  }

  #next(name: string): Promise<Result> {
    return this.#chromium.next((method, _, session) => method === name && session === this.#session);
  }

  async #setWindow(windowState: string): Promise<void> {
    const { windowId } = await this.send("Browser.getWindowForTarget");
    await this.send("Browser.setWindowBounds", { windowId, bounds: { windowState } });
  }
}
