/**
 * The locks and channels of a browser whose tabs close, crash and hang.
 *
 * @module
 */
import type { PageTabs } from "../../client/page_state.ts";

/** Calls back after that many milliseconds. */
type After = (ms: number, callback: () => void) => unknown;

interface LockRequest {
  readonly tab: FakeTab;
  grant(): void;
}

/** A browser. Messages take a millisecond, and locks are granted in the order of the requests. */
export class FakeBrowser {
  readonly after: After;
  readonly channels: Set<FakeChannel> = new Set();
  /** Name → requests; the first one holds the lock. */
  readonly locks: Map<string, LockRequest[]> = new Map();

  constructor(after: After) {
    this.after = after;
  }

  /** Opens a tab. */
  open(): FakeTab {
    return new FakeTab(this);
  }

  /** The tab that has the lock. There must be one lock at most. */
  get leader(): FakeTab | undefined {
    const [requests, ...others] = this.locks.values();
    if (others.length > 0) throw new Error("There are several locks");
    return requests?.[0]?.tab;
  }

  release(name: string, request: LockRequest): void {
    const requests = this.locks.get(name)!;
    const wasHeld = requests[0] === request;
    if (!requests.includes(request)) return;
    requests.splice(requests.indexOf(request), 1);
    if (requests.length === 0) this.locks.delete(name);
    else if (wasHeld) this.grant(name);
  }

  grant(name: string): void {
    const request = this.locks.get(name)![0]!;
    this.after(1, () => {
      if (this.locks.get(name)?.[0] === request) request.grant();
    });
  }
}

/** What a page uses of a tab. */
export class FakeTab implements PageTabs {
  readonly #browser: FakeBrowser;
  readonly #channels: FakeChannel[] = [];
  #isCrashed = false;
  #missed: (() => void)[] | undefined;
  readonly locks: PageTabs["locks"];
  readonly BroadcastChannel: PageTabs["BroadcastChannel"];

  constructor(browser: FakeBrowser) {
    this.#browser = browser;
    this.locks = { request: (name, options, callback) => this.#request(name, options.signal, callback) };
    const openChannel = (name: string) => {
      const channel = new FakeChannel(browser, this, name);
      this.#channels.push(channel);
      return channel;
    };
    this.BroadcastChannel = class {
      constructor(name: string) {
        return openChannel(name);
      }
    } as unknown as PageTabs["BroadcastChannel"];
  }

  /** Ends it without a word: its locks are freed, and nothing reaches it any more. */
  crash(): void {
    this.#isCrashed = true;
    for (const channel of this.#channels) channel.close();
    for (const [name, requests] of [...this.#browser.locks]) {
      for (const request of requests.filter(({ tab }) => tab === this)) this.#browser.release(name, request);
    }
  }

  /** Stops it: it keeps its locks, and what is for it comes when it goes on. */
  hang(): void {
    this.#missed ??= [];
  }

  /** Lets it go on. */
  goOn(): void {
    const missed = this.#missed ?? [];
    this.#missed = undefined;
    for (const callback of missed) callback();
  }

  /** Runs code of the tab now, or when it goes on. */
  run(callback: () => void): void {
    if (this.#isCrashed) return;
    if (this.#missed) this.#missed.push(callback);
    else callback();
  }

  async #request(
    name: string,
    signal: AbortSignal,
    callback: () => Promise<void> | undefined,
  ): Promise<unknown> {
    const browser = this.#browser;
    const requests = browser.locks.get(name) ?? [];
    browser.locks.set(name, requests);
    let request: LockRequest;
    const granted = new Promise<void>((resolve, reject) => {
      request = { tab: this, grant: () => this.run(resolve) };
      signal.addEventListener("abort", () => {
        reject(signal.reason);
      });
    });
    requests.push(request!);
    if (requests.length === 1) browser.grant(name);
    try {
      await granted;
      return await callback();
    } finally {
      browser.release(name, request!);
    }
  }
}

class FakeChannel {
  readonly #browser: FakeBrowser;
  readonly #tab: FakeTab;
  readonly #name: string;
  onmessage: ((event: MessageEvent) => void) | null = null;

  constructor(browser: FakeBrowser, tab: FakeTab, name: string) {
    this.#browser = browser;
    this.#tab = tab;
    this.#name = name;
    browser.channels.add(this);
  }

  postMessage(message: unknown): void {
    const { channels, after } = this.#browser;
    if (!channels.has(this)) return;
    const data = structuredClone(message);
    for (const channel of channels) {
      if (channel === this || channel.#name !== this.#name) continue;
      after(1, () =>
        channel.#tab.run(() => {
          if (channels.has(channel)) channel.onmessage?.({ data } as MessageEvent);
        }));
    }
  }

  close(): void {
    this.#browser.channels.delete(this);
  }
}
