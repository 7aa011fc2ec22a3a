/**
 * The code of the page that the tests open: a client with a live store and a followed key. It is bundled for Chromium.
 *
 * @module
 */
import { type ClientClock, type ClientOptions, createClient, parseStamp } from "../../client/mod.ts";

/** Timers of the page that are longer fire only when the test advances the clock, in milliseconds. */
const LONGEST_TIMER_MS = 900;

/** What tests call by name in the page. */
interface PageApi {
  /** Resolves when the live store and the followed key have this value, or a later one. */
  shows(value: number): Promise<void>;
  /** Resolves when the client has this state. */
  state(name: string): Promise<void>;
  /** Resolves when the page is visible, or hidden. */
  visible(isVisible: boolean): Promise<void>;
  /** Passes time. */
  advance(ms: number): void;
  /** Lets the time pass a hundred times as fast, or stops that. */
  hurry(isFast: boolean): void;
  /** Everything about the page that an assertion may need. */
  readonly log: { states: string[]; events: string[]; shown: number[]; fetches: number };
}

/** What the address of the page says after `?`, as JSON. */
interface PageOptions extends Partial<ClientOptions> {
  /** What is shown. */
  readonly key?: string;
}

const waiting = new Set<() => boolean>();
const log: PageApi["log"] = { states: [], events: [], shown: [], fetches: 0 };
let state = "";
let live = -1;
let followed = -1;

function changed(): void {
  for (const check of waiting) if (check()) waiting.delete(check);
}

function until(isDone: () => boolean): Promise<void> {
  return new Promise((resolve) => {
    waiting.add(() => {
      if (isDone()) resolve();
      return isDone();
    });
    changed();
  });
}

/** The time of the browser. Long timers stand still, so that a test does not depend on them. */
const timers = new Map<number, { at: number; callback: () => void }>();
let shift = 0;
let lastTimer = 0;
let fastTimer: ReturnType<typeof setInterval> | undefined;
const clock: ClientClock = {
  now: () => Date.now() + shift,
  elapsed: () => performance.now() + shift,
  random: () => Math.random(),
  after(ms, callback) {
    const id = ++lastTimer;
    timers.set(id, { at: clock.elapsed() + ms, callback });
    const timer = ms > LONGEST_TIMER_MS ? undefined : setTimeout(() => fire(id), ms);
    return () => {
      timers.delete(id);
      clearTimeout(timer);
    };
  },
};

function fire(id: number): void {
  const timer = timers.get(id);
  timers.delete(id);
  timer?.callback();
}

const { key = "a", ...options }: PageOptions = JSON.parse(
  decodeURIComponent(location.search.slice(1)) || "{}",
);

async function load(): Promise<Response> {
  log.fetches++;
  const response = await fetch(`/api/${key}`, { cache: "no-cache" });
  if (!response.ok) throw new Error(`The application answered ${response.status}`);
  return response;
}

const api: PageApi = {
  shows: (value) => until(() => live >= value && followed >= value),
  state: (name) => until(() => state === name),
  visible: (isVisible) => until(() => (document.visibilityState === "visible") === isVisible),
  advance(ms) {
    shift += ms;
    for (const [id, { at }] of timers) if (at <= clock.elapsed()) fire(id);
  },
  hurry(isFast) {
    clearInterval(fastTimer);
    if (isFast) fastTimer = setInterval(() => api.advance(1_000), 10);
  },
  log,
};

for (const name of ["visibilitychange", "pagehide", "pageshow", "freeze", "resume", "online", "offline"]) {
  globalThis.addEventListener(name, (event) => {
    log.events.push((event as PageTransitionEvent).persisted ? `${name} from the cache` : name);
    changed();
  }, true);
}
Object.assign(globalThis, api);

const client = createClient({ url: "/reality", clock, onError: () => {}, ...options });
client.subscribe((next) => {
  log.states.push(state = next);
  changed();
});
client.live<number>(load).subscribe(({ data = -1 }) => {
  if (data !== live) log.shown.push(live = data);
  changed();
});
client.follow([key], async () => {
  const response = await load();
  followed = await response.json();
  changed();
  return parseStamp(response.headers.get("reality-stamp"));
});
