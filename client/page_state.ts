/**
 * Whether the page is visible and online.
 *
 * @module
 */

/** Whether requests make sense now. */
export interface PageState {
  /** `hidden` while the page is not visible, `offline` while there is no network. */
  readonly current: "active" | "hidden" | "offline";
  /** Calls back whenever `current` may have changed. Returns a function that ends it. */
  watch(listener: () => void): () => void;
  /** How to reach the other tabs of the browser; absent where that is not possible. */
  readonly tabs?: PageTabs;
}

/** What the tabs of a browser have in common: locks and messages. `navigator` and `globalThis` fit. */
export interface PageTabs {
  /** Holds a lock until the promise of the callback settles. */
  readonly locks: {
    request(
      name: string,
      options: { signal: AbortSignal },
      callback: () => Promise<void> | undefined,
    ): PromiseLike<unknown>;
  };
  /** Sends messages to all channels of the same name. */
  readonly BroadcastChannel: new (name: string) => {
    onmessage: ((event: MessageEvent) => void) | null;
    postMessage(message: unknown): void;
    close(): void;
  };
}

/** The globals of a page that say so. */
interface PageGlobals {
  readonly location?: { readonly hostname: string };
  readonly document?: { readonly visibilityState: string };
  readonly navigator?: { readonly onLine?: boolean; readonly locks?: PageTabs["locks"] };
  readonly BroadcastChannel?: PageTabs["BroadcastChannel"];
}

/**
 * Events after which the state may be another one. The value says whether the page then is in the back/forward cache, frozen, or
 * about to be discarded.
 */
const EVENTS: Readonly<Record<string, boolean | undefined>> = {
  visibilitychange: undefined,
  pagehide: true,
  pageshow: false,
  freeze: true,
  resume: false,
  online: undefined,
  offline: undefined,
};

/** Hosts that are reached without a network. Browsers say that a computer without one is offline. */
const LOOPBACK = /(^|\.)localhost$|^127\.|^\[::1/;

/** The state of the page that the code runs in. Where there is no page it is always `active`. */
export function browserPage(): PageState {
  const { document, location, navigator, BroadcastChannel } = globalThis as PageGlobals;
  const locks = navigator?.locks;
  let isAway = false;
  return {
    ...(document && locks && BroadcastChannel && { tabs: { locks, BroadcastChannel } }),
    get current() {
      if (isAway || document?.visibilityState === "hidden") return "hidden";
      return document && navigator?.onLine === false && !LOOPBACK.test(location!.hostname)
        ? "offline"
        : "active";
    },
    watch(listener) {
      if (!document) return () => {};
      const onEvent = ({ type, target }: Event) => {
        // Elements of the application may have events of these names. The document and the window have no parent node.
        if ((target as Node).parentNode) return;
        isAway = EVENTS[type] ?? isAway;
        listener();
      };
      // Events of the document reach the window while they are captured.
      for (const name in EVENTS) {
        globalThis.addEventListener(name, onEvent, true);
      }
      return () => {
        for (const name in EVENTS) {
          globalThis.removeEventListener(name, onEvent, true);
        }
      };
    },
  };
}
