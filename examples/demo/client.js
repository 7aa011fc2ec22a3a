// @ts-check
/**
 * Keeps a page current through Reality, by waiting sync requests or by Server-Sent Events. One plain module
 * without imports: copy it, it is yours.
 *
 * Reality never sends data, it says which keys to look at again. So a page does three things in turn: ask
 * what is newer than the versions it holds, fetch that from the application, and only then hold the new
 * versions. That order is the whole trick. A version is stored after a fetch that began later than the
 * telling, so a page never believes itself newer than what it shows; and whatever changes while a fetch runs
 * is told again, so nothing is lost.
 *
 * @module
 */

/**
 * @typedef {object} Meta What Reality says about one key.
 * @property {string} key
 * @property {number} version
 * @property {string} hash
 * @property {number} updatedAt Milliseconds since 1970 by the server's clock.
 * @property {boolean} [deleted]
 */

/**
 * @typedef {object} Stamp The versions that fetched data stands for, if the application's answer names them.
 * They must have been read before the data.
 * @property {string} epoch
 * @property {Record<string, number>} versions
 */

/**
 * @typedef {object} Status
 * @property {"live" | "away" | "asleep"} state Whether the server answers, does not, or is not asked because
 * nobody looks at the page.
 * @property {number} [retryIn] Milliseconds until the next attempt, when away.
 * @property {unknown} [error] What went wrong, when away.
 */

/**
 * @typedef {object} FollowOptions
 * @property {string} url Where the server listens: `/reality/sync`, or `/reality/events` for the stream.
 * @property {() => string[]} keys The keys to follow; asked anew before each request.
 * @property {(keys: string[], told: { changed: Record<string, Meta>, signal: AbortSignal }) =>
 *   Promise<Stamp | undefined | void>} refetch Fetches these keys' data from the application and shows it. A key
 * that is followed for the first time comes here too. If it rejects, the same keys come again later.
 * @property {(status: Status) => void} [onState] Hears how the line is, after every step.
 * @property {number} [wait] Milliseconds that the server may hold a request. Left out: 25000.
 * @property {number} [firstRetry] Milliseconds before the first retry, before chance. Left out: 500.
 * @property {number} [lastRetry] The longest such pause; each is twice the one before. Left out: 15000.
 * @property {typeof globalThis.fetch} [fetch] Used in place of the global one.
 * @property {typeof globalThis.EventSource} [EventSource] Used in place of the global one.
 * @property {EventTarget & { hidden: boolean }} [page] Used in place of `document`.
 */

/**
 * @typedef {object} Follower
 * @property {() => void} nudge Looks again at once, for example because there are other keys to follow.
 * @property {() => Promise<void>} stop Ends it; settles when nothing runs any more.
 */

/** Why an attempt was broken off on purpose, in contrast to one that failed. */
const NUDGE = new DOMException("Look again", "AbortError");

/** A request that is longer under way than it may wait plus this is given up: the line is dead. */
const GRACE_MS = 15_000;

/**
 * Follows keys by waiting sync requests: `POST {url}` with the versions held, answered when one is newer.
 *
 * @param {FollowOptions} options
 * @returns {Follower}
 */
export function follow(options) {
  const { url, keys, refetch, onState = () => {}, wait = 25_000 } = options;
  const request = options.fetch ?? globalThis.fetch.bind(globalThis);
  const line = createLine(options);

  // Versions mean nothing without the epoch they came from, so the two change together, here and below.
  let held = { epoch: "", versions: /** @type {Map<string, number>} */ (new Map()) };

  /**
   * One question, and the fetch that its answer asks for.
   *
   * @param {number} patience
   * @returns {Promise<number | undefined>} How long to stay away, where there was no place to wait.
   */
  async function round(patience) {
    const signal = line.begin();
    line.limit(patience);
    const asked = keys();
    const fresh = asked.filter((key) => !held.versions.has(key));
    const response = await request(url, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({
        known: Object.fromEntries(asked.map((key) => [key, held.versions.get(key) ?? 0])),
        wait: fresh.length > 0 ? 0 : patience,
        ...(held.epoch !== "" && { epoch: held.epoch }),
      }),
      signal,
    });
    if (!response.ok) throw new Error(`Cannot sync: status ${response.status}`);
    const { changed, epoch, pause } = await response.json();

    const again = [...new Set([...fresh, ...Object.keys(changed)])];
    const stamp = again.length > 0 ? await refetch(again, { changed, signal }) : undefined;

    // Only now: had the fetch failed, the next question would still carry the old versions.
    const before = epoch === held.epoch ? held.versions : new Map();
    const versions = new Map(asked.map((key) => [key, before.get(key) ?? 0]));
    for (const meta of Object.values(changed)) versions.set(meta.key, meta.version);
    held = { epoch, versions };
    if (!stamp) return pause;
    // The application knows better than the telling what its data stands for.
    if (stamp.epoch !== epoch) held = { epoch: stamp.epoch, versions: new Map() };
    for (const [key, version] of Object.entries(stamp.versions)) held.versions.set(key, version);
    if (stamp.epoch === epoch) refuseOlder(stamp, changed);
  }

  async function run() {
    let patience = 0;
    while (!line.stopped) {
      if (line.hidden) {
        onState({ state: "asleep" });
        await line.pause();
        patience = 0;
        continue;
      }
      try {
        const pause = await round(patience);
        line.succeeded();
        onState({ state: "live" });
        patience = wait;
        // Asked again at once, the server would answer at once, without end.
        if (pause !== undefined) await line.pause(pause);
      } catch (error) {
        // The next question does not wait, so that its answer shows at once that the server is back.
        patience = 0;
        if (line.nudged) continue;
        const retryIn = line.failed();
        onState({ state: "away", retryIn, error });
        await line.pause(retryIn);
      }
    }
  }

  const running = run();
  return { nudge: line.nudge, stop: () => line.stop(running) };
}

/**
 * Follows keys by Server-Sent Events: `GET {url}?keys=…`. Takes the same options and does the same as
 * {@linkcode follow}, for a page that already lives on an event stream and moves over step by step.
 *
 * @param {FollowOptions} options
 * @returns {Follower}
 */
export function followEvents(options) {
  const { url, keys, refetch, onState = () => {} } = options;
  const Source = options.EventSource ?? globalThis.EventSource;
  const line = createLine(options);
  /** What was told and not yet fetched; `null` where only the need is known. @type {Map<string, Meta | null>} */
  let due = new Map();
  let shown = { epoch: "", versions: /** @type {Map<string, number>} */ (new Map()) };

  /** Lives as long as one stream: rejects when it breaks, returns when other keys are to be followed. */
  async function stream() {
    const signal = line.begin();
    const asked = keys();
    const query = new URLSearchParams(asked.map((key) => ["keys", key]));
    const source = new Source(`${url}?${query}`);
    /** @type {(value?: unknown) => void} */
    let ring = () => {};
    let broken = false;
    const lookAtAll = () => {
      shown = { epoch: "", versions: new Map() };
      due = new Map(asked.map((key) => [key, null]));
      broken = false;
      ring();
    };
    // Whatever happened before the stream stood was told to nobody: each opening means to look at all keys.
    source.addEventListener("open", lookAtAll);
    source.addEventListener("resync", lookAtAll);
    source.addEventListener("update", (event) => {
      const meta = JSON.parse(/** @type {MessageEvent} */ (event).data);
      // A key that must be fetched in any case stays so, whatever its version.
      if (due.get(meta.key) !== null) due.set(meta.key, meta);
      ring();
    });
    source.addEventListener("error", () => {
      broken = true;
      ring();
    });
    signal.addEventListener("abort", () => ring());
    try {
      while (!signal.aborted) {
        if (broken) throw new Error("The stream broke");
        if (due.size > 0) {
          line.limit(0);
          await fetchDue(signal);
          line.succeeded();
          onState({ state: "live" });
          if (keys().some((key) => !asked.includes(key))) return;
        } else {
          await new Promise((resolve) => ring = resolve);
        }
      }
      throw signal.reason;
    } finally {
      source.close();
    }
  }

  /** Fetches what is due; what is told meanwhile is due again. @param {AbortSignal} signal */
  async function fetchDue(signal) {
    const batch = due;
    due = new Map();
    const news = [...batch].filter(([key, meta]) =>
      meta === null || meta.deleted === true || meta.version > (shown.versions.get(key) ?? 0)
    );
    if (news.length === 0) return;
    const changed = Object.fromEntries(news.flatMap(([key, meta]) => meta === null ? [] : [[key, meta]]));
    // If it fails the stream is opened again, and every key with it.
    const stamp = await refetch(news.map(([key]) => key), { changed, signal });
    if (!stamp) return;
    if (stamp.epoch !== shown.epoch) shown = { epoch: stamp.epoch, versions: new Map() };
    for (const [key, version] of Object.entries(stamp.versions)) shown.versions.set(key, version);
    refuseOlder(stamp, changed);
  }

  async function run() {
    while (!line.stopped) {
      if (line.hidden) {
        onState({ state: "asleep" });
        await line.pause();
        continue;
      }
      try {
        await stream();
      } catch (error) {
        if (line.nudged) continue;
        const retryIn = line.failed();
        onState({ state: "away", retryIn, error });
        await line.pause(retryIn);
      }
    }
  }

  const running = run();
  return { nudge: line.nudge, stop: () => line.stop(running) };
}

/**
 * Fails where data is older than what was told: it came from a replica or a cache that lags. The failure
 * brings a pause and then another fetch.
 *
 * @param {Stamp} stamp
 * @param {Record<string, Meta>} changed
 */
function refuseOlder(stamp, changed) {
  for (const { key, version } of Object.values(changed)) {
    const got = stamp.versions[key];
    if (got !== undefined && got < version) {
      throw new Error(`Data is behind: told of version ${version} of ${key}, got ${got}`);
    }
  }
}

/**
 * What both ways share: one attempt at a time, its deadline, pauses that grow, and a page that nobody sees
 * asks nothing and holds no connection (a browser allows six to one server).
 *
 * @param {FollowOptions} options
 */
function createLine({ firstRetry = 500, lastRetry = 15_000, page = globalThis.document }) {
  let attempt = new AbortController();
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  let deadline;
  let failures = 0;
  let stopped = false;
  /** Ends a pause. */
  let wake = () => {};

  const nudge = () => {
    attempt.abort(NUDGE);
    wake();
  };
  const onOnline = () => wake();
  page?.addEventListener("visibilitychange", nudge);
  globalThis.addEventListener?.("online", onOnline);

  return {
    nudge,
    get stopped() {
      return stopped;
    },
    get hidden() {
      return page?.hidden === true;
    },
    /** Whether the attempt was broken off on purpose. */
    get nudged() {
      return attempt.signal.reason === NUDGE;
    },
    /** Begins an attempt. */
    begin() {
      attempt = new AbortController();
      return attempt.signal;
    },
    /** Gives the attempt so long, and some grace. @param {number} patience */
    limit(patience) {
      const current = attempt;
      clearTimeout(deadline);
      deadline = setTimeout(() => current.abort(new Error("No answer in time")), patience + GRACE_MS);
    },
    succeeded() {
      clearTimeout(deadline);
      failures = 0;
    },
    /** Ends a failed attempt; answers how long to pause, with chance, so that clients do not return in step. */
    failed() {
      clearTimeout(deadline);
      const longest = Math.min(lastRetry, firstRetry * 2 ** failures++);
      return longest * (0.5 + Math.random() / 2);
    },
    /** Waits so long, or until woken. @param {number} [ms] */
    pause(ms) {
      return /** @type {Promise<void>} */ (new Promise((resolve) => {
        const timer = ms === undefined ? undefined : setTimeout(() => wake(), ms);
        wake = () => {
          clearTimeout(timer);
          wake = () => {};
          resolve();
        };
        if (stopped) wake();
      }));
    },
    /** @param {Promise<void>} running */
    async stop(running) {
      stopped = true;
      page?.removeEventListener("visibilitychange", nudge);
      globalThis.removeEventListener?.("online", onOnline);
      nudge();
      await running;
      clearTimeout(deadline);
    },
  };
}
