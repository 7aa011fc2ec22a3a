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
}

/** The globals of a page that say so. */
interface PageGlobals {
  readonly document?: { readonly visibilityState: string };
  readonly navigator?: { readonly onLine?: boolean };
}

/** Events after which the state may be another one. `pageshow` also follows the back/forward cache. */
const EVENTS = [
  "visibilitychange",
  "pagehide",
  "pageshow",
  "freeze",
  "resume",
  "online",
  "offline",
];

/** The state of the page that the code runs in. Where there is no page it is always `active`. */
export function browserPage(): PageState {
  const { document, navigator } = globalThis as PageGlobals;
  /** From `pagehide` to `pageshow` the page is in the back/forward cache, or about to be discarded. */
  let isAway = false;
  return {
    get current() {
      if (isAway || document?.visibilityState === "hidden") return "hidden";
      return document && navigator?.onLine === false ? "offline" : "active";
    },
    watch(listener) {
      if (!document) return () => {};
      const onEvent = ({ type }: Event) => {
        if (type === "pagehide" || type === "freeze") isAway = true;
        else if (type === "pageshow" || type === "resume") isAway = false;
        listener();
      };
      // Events of the document reach the window while they are captured.
      for (const name of EVENTS) {
        globalThis.addEventListener(name, onEvent, true);
      }
      return () => {
        for (const name of EVENTS) {
          globalThis.removeEventListener(name, onEvent, true);
        }
      };
    },
  };
}
