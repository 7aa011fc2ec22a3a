/**
 * Asks by GET, so that HTTP caches can answer many clients with one request to the server. This is `public: true`.
 *
 * An answer that a cache may have got wrong is not used. Then the client asks by POST, which no cache answers, and tries GET
 * again later.
 *
 * @module
 */
import { settleWithin } from "./deadline.ts";
import { parseAnswer, type Refusal, send, sync, type SyncAnswer } from "./request.ts";
import type { KeyChange } from "./types.ts";
import { type Ask, createSyncTransport, type Transport, type TransportConfig } from "./transport.ts";

/** The longest URL, in characters. Caches and proxies take from 2,000 to 8,000. */
const MAX_URL = 2_000;

/** The waits that are asked for, in seconds: few, so that clients with different limits ask the same. */
const WAITS = [60, 30, 20, 10, 5, 2, 1];

/** How old an answer may be, in milliseconds. Caches that obey keep one for 2 seconds. */
const MAX_AGE_MS = 5_000;

/** How long to ask by POST after a fault, in milliseconds, give or take a quarter. */
const POST_MS = 60_000;

/** The pause after an empty answer that came sooner than its wait, in milliseconds, give or take a quarter. */
const KEPT_MS = 1_000;

/** So many answers that lead back, each soon after the one before, are a loop. */
const MAX_STEPS_BACK = 3;
const STEP_BACK_MS = 10_000;

/** So many failures in a row, within some 5 seconds, are asked about by POST. */
const MIN_FAILURES = 4;

/** The least time between a POST that failed as well and the next one, in milliseconds; then four times as much, up to the most. */
const MIN_POST_GAP_MS = 5_000;
const MAX_POST_GAP_MS = 80_000;

/** An answer that must not be used. */
class CacheFault extends Error {
  constructor(message: string) {
    super(`Cannot use the answer of a cache: ${message}`);
  }
}

/** Creates the transport. */
export function createGetTransport(config: TransportConfig): Transport {
  const { url, clock, minInterval, timeout, onError } = config;
  /** The server's clock minus the client's, as the youngest answer shows it. */
  let offset = -Infinity;
  /** Until then POST is used, by `clock.elapsed()`. */
  let postUntil = 0;
  let { maxKeys } = config;
  let failures = 0;
  let hasWaited = false;
  /** The next POST about failures is sent then at the earliest, by `clock.elapsed()`. */
  let nextPostAt = 0;
  let postGap = MIN_POST_GAP_MS;
  let stepsBack = 0;
  let lastStepBack = -Infinity;

  const spread = (ms: number) => ms * (0.75 + clock.random() / 2);

  const forgetFailures = () => {
    failures = nextPostAt = 0;
    postGap = MIN_POST_GAP_MS;
  };

  const askByPost: Ask = async (question, { wait, controller }) => {
    const asked = sync(config, question, { wait, signal: controller.signal });
    const answer = await settleWithin(asked, { clock, ms: wait + timeout, controller });
    // It comes from the server itself.
    offset = answer.serverTime - clock.elapsed();
    return answer;
  };

  /** Asks once by GET. Rejects with a {@linkcode CacheFault} where the answer must not be used. */
  const get = async (query: string, signal: AbortSignal): Promise<SyncAnswer> => {
    const response = await send({ ...config, headers: undefined }, `/sync?${query}`, {
      credentials: "omit",
      signal,
    });
    const body = await response.json().catch(() => 0);
    if (Object(body).asked !== query) throw new CacheFault("it answers another question");
    const answer = parseAnswer(body);
    const serverTime = Number(response.headers.get("reality-time") ?? answer.serverTime);
    const now = serverTime - clock.elapsed();
    if (!(now > offset - MAX_AGE_MS)) throw new CacheFault("it is too old");
    offset = Math.max(offset, now);
    return { ...answer, serverTime };
  };

  /** Gives up on a request at its deadline, without ending the round. */
  const getInTime = async (query: string, ms: number, outer: AbortSignal): Promise<SyncAnswer> => {
    const controller = new AbortController();
    const abort = () => controller.abort();
    outer.addEventListener("abort", abort);
    if (outer.aborted) abort();
    let isLate = false;
    const cancel = clock.after(ms, () => {
      isLate = true;
      abort();
    });
    try {
      // Its own time limit never ends first.
      return await settleWithin(get(query, controller.signal), { clock, ms: 2 * ms, controller });
    } catch (error) {
      throw isLate ? new CacheFault("it does not come in time") : error;
    } finally {
      cancel();
      outer.removeEventListener("abort", abort);
    }
  };

  const askByGet: Ask = async (question, round) => {
    const { known, epoch } = question;
    const { wait, controller: { signal } } = round;
    const seconds = wait && (WAITS.find((one) => one * 1_000 <= wait) ?? 1);
    const query = writeQuery([...known].map(writeKey), epoch, seconds);
    const begunAt = clock.elapsed();
    let kept: SyncAnswer | undefined;
    try {
      while (true) {
        const askedAt = clock.elapsed();
        const answer = await getInTime(query, seconds * 1_000 + timeout, signal);
        hasWaited ||= wait > 0;
        // A cache may have kept an error for one of two questions: with the wait, and without it.
        if (wait || !hasWaited) forgetFailures();
        const isSame = ([key, { version }]: [string, KeyChange]) => version === known.get(key);
        if (answer.epoch === epoch && [...answer.changed].some(isSame)) {
          throw new CacheFault("it tells what was asked");
        }
        const isBack = epoch && answer.epoch !== epoch ||
          [...answer.changed].some(([key, { version }]) => version < (known.get(key) ?? 0));
        if (isBack) {
          stepsBack = askedAt - lastStepBack < STEP_BACK_MS ? stepsBack + 1 : 1;
          lastStepBack = askedAt;
          if (stepsBack >= MAX_STEPS_BACK) throw new CacheFault("it leads back and forth");
        }
        if (!wait || isBack || answer.changed.size || answer.pause || answer.epoch !== (epoch ?? "")) {
          return answer;
        }
        // One that came early was kept, or asked for by another client before. It says no more until it has expired.
        if (clock.elapsed() - askedAt < seconds * 500) {
          kept = answer;
          await sleep(Math.max(minInterval, spread(KEPT_MS)), signal);
        }
        if (clock.elapsed() - begunAt > wait * 0.6) return answer;
      }
    } catch (error) {
      if (signal.aborted) throw error;
      const { status } = error as Refusal;
      if (status === 413) maxKeys = Math.ceil(known.size / 2);
      // The server is down, overloaded, or takes fewer keys. If it happens again, a cache may have kept that.
      const isUsual = !(error instanceof CacheFault) &&
        (status === undefined || status === 413 || status === 429 || status >= 500);
      // The round has an answer. A failure would count as one of a wait that had lasted since the round began.
      if (isUsual && kept) return kept;
      // All clients together must not keep a server down that comes back.
      if (isUsual && (++failures < MIN_FAILURES || clock.elapsed() < nextPostAt)) throw error;
      nextPostAt = clock.elapsed() + postGap;
      postGap = Math.min(MAX_POST_GAP_MS, postGap * 4);
      stepsBack = 0;
      // The server has no such route, or the keys are not public.
      const isForGood = status === 403 || status === 404 || status === 405;
      const until = isForGood ? Infinity : clock.elapsed() + spread(POST_MS);
      if (!isUsual) postUntil = until;
      onError(error);
      const answer = await askByPost(question, round);
      // If the POST had failed as well, the cache would be right.
      postUntil = until;
      forgetFailures();
      return answer;
    }
  };

  /** Waits for so many milliseconds, or until the signal aborts. */
  const sleep = (ms: number, signal: AbortSignal) =>
    new Promise<void>((resolve, reject) => {
      const stop = () => {
        cancel();
        reject(signal.reason);
      };
      const cancel = clock.after(ms, () => {
        signal.removeEventListener("abort", stop);
        resolve();
      });
      signal.addEventListener("abort", stop);
      if (signal.aborted) stop();
    });

  const byPost = createSyncTransport(config, askByPost);
  return (question, round) => {
    if (clock.elapsed() < postUntil) return byPost(question, round);
    // Equal questions are split equally.
    const known = new Map([...question.known].sort());
    const room = MAX_URL - `${url}/sync?${writeQuery([], question.epoch, WAITS[0]!)}`.length;
    const longest = Math.max(...[...known].map((entry) => writeKey(entry).length + 1));
    const size = Math.max(1, Math.min(maxKeys, Math.floor(room / longest)));
    return createSyncTransport({ ...config, maxKeys: size }, askByGet)({ ...question, known }, round);
  };
}

/** Writes a query in its canonical form: equal questions have equal URLs (PROTOCOL 18). */
function writeQuery(keys: readonly string[], epoch: string | undefined, seconds: number): string {
  return [...epoch ? [`e=${encode(epoch)}`] : [], ...[...keys].sort(), ...seconds ? [`w=${seconds}`] : []]
    .join("&");
}

function writeKey([key, version]: readonly [string, number]): string {
  return `k=${encode(key)}:${version}`;
}

/** Percent-encodes everything but `A–Z a–z 0–9 - . _ ~ :`. */
function encode(text: string): string {
  return encodeURIComponent(text).replaceAll("%3A", ":").replace(
    /[!'()*]/g,
    (found) => `%${found.charCodeAt(0).toString(16).toUpperCase()}`,
  );
}
