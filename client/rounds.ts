/**
 * Decides when to ask the server: one round after another, with pauses, while the page is active.
 *
 * @module
 */
import type { ClientClock } from "./clock.ts";
import type { PageState } from "./page_state.ts";
import { growingPause } from "./pause.ts";
import type { Refusal } from "./request.ts";
import type { Answer, Question, Subscriptions } from "./subscriptions.ts";
import type { Transport } from "./transport.ts";
import type { ClientState } from "./types.ts";

/** Changes of keys within this time cause one request, in milliseconds. */
const COLLECT_MS = 5;

/** How often to look whether the computer slept, and whether data is ahead of the answers, in milliseconds. */
const TICK_MS = 5_000;

/** A wait that fails sooner than this was not ended by a proxy's time limit, in milliseconds. */
const MIN_WAIT_MS = 1_000;

/** After so many of them in a row, the pauses grow to those of polling. */
const MIN_FAILED_WAITS = 4;

/** What rounds need. */
export interface RoundsDeps {
  readonly clock: ClientClock;
  readonly page: PageState;
  readonly subscriptions: Subscriptions;
  readonly transport: Transport;
  /** How long the server may wait, in milliseconds; 0 where it must not. */
  readonly wait: number;
  /** The pause between rounds that were answered without waiting, in milliseconds. */
  readonly pollInterval: number;
  readonly minInterval: number;
  /** Whether a round goes on after its first answer. */
  readonly isStream: boolean;
  onState(state: ClientState): void;
  onError(error: unknown): void;
  onUnauthorized(status: number): unknown;
}

/** Runs the rounds of a client until it is closed. */
export class Rounds {
  readonly #deps: RoundsDeps;
  readonly #stopWatching: () => void;
  #isClosed = false;
  /** Whether the server refused the client. */
  #isBarred = false;
  /** Whether the next question may wait. The first one and one after a failure must be answered at once. */
  #isPatient = false;
  /** Whether other keys interrupt the round. One that does not wait ends soon by itself, and must not starve. */
  #isWaiting = false;
  /** Whether the next round should begin as soon as the server allows. */
  #isHurried = false;
  #isNudged = false;
  /** Whether the round was aborted on purpose. React Native's signals do not keep the reason. */
  #isInterrupted = false;
  /** The question of the round that runs, or of the last one since the page rested. */
  #asked: Question | undefined;
  /** The server asked for a pause until then, by `clock.elapsed()`. */
  #notBefore = 0;
  /** The next round begins then, unless something happens before. */
  #nextAt = 0;
  #failures = 0;
  #pageBefore: PageState["current"];
  /** How many rounds in a row the server answered too early and without a change. */
  #earlyAnswers = 0;
  /** How many waits or streams in a row failed within a second. Questions without a wait may have succeeded in between. */
  #failedWaits = 0;
  /** How long the server may wait: less than the option behind a proxy that ends requests sooner. */
  #wait: number;
  #controller: AbortController | undefined;
  #wake: () => void = () => {};
  #cancelCollect: (() => void) | undefined;
  #cancelTick: (() => void) | undefined;
  /** The refused keys that were reported. */
  readonly #refused = new Set<string>();

  constructor(deps: RoundsDeps) {
    this.#deps = deps;
    this.#wait = deps.wait;
    this.#pageBefore = deps.page.current;
    this.#stopWatching = deps.page.watch(() => {
      if (this.#pageBefore === deps.page.current) return;
      this.#pageBefore = deps.page.current;
      this.#resume();
    });
    void this.#run();
  }

  /** Asks anew within some milliseconds if the question has become another one. */
  restart(): void {
    this.#cancelCollect ??= this.#deps.clock.after(COLLECT_MS, () => {
      this.#cancelCollect = undefined;
      if (!this.#isNudged && this.#isAsked(this.#deps.subscriptions.question())) return;
      this.#isNudged = false;
      this.#isHurried = true;
      if (this.#isWaiting) this.#abort();
      this.#wake();
    });
  }

  /** Asks anew although the question is the same. */
  recheck(): void {
    this.#isNudged = true;
    this.restart();
  }

  /** Asks anew, also after a failure or refusal. */
  nudge(): void {
    this.#isBarred = false;
    this.#failures = 0;
    this.recheck();
  }

  /** Ends it for good. */
  close(): void {
    this.#isClosed = true;
    this.#stopWatching();
    this.#cancelCollect?.();
    this.#cancelTick?.();
    this.#interrupt();
  }

  /** Why nothing is asked now; absent if there is something to ask. */
  get #resting(): ClientState | undefined {
    const { subscriptions, page } = this.#deps;
    if (subscriptions.question().known.size === 0) return "idle";
    if (this.#isBarred) return "unauthorized";
    return page.current === "active" ? undefined : page.current;
  }

  async #run(): Promise<void> {
    const { clock, onState } = this.#deps;
    while (!this.#isClosed) {
      const resting = this.#resting;
      if (resting) {
        this.#isPatient = false;
        this.#asked = undefined;
        this.#cancelTick?.();
        this.#cancelTick = undefined;
        onState(resting);
        await this.#sleep();
        continue;
      }
      if (!this.#cancelTick) {
        this.#tick();
        onState("connecting");
      }
      const nextAt = this.#isHurried && !this.#failures ? 0 : this.#nextAt;
      const pause = Math.max(this.#notBefore, nextAt) - clock.elapsed();
      if (pause > 0) await this.#sleep(pause);
      else await this.#round();
    }
  }

  async #round(): Promise<void> {
    const { clock, subscriptions, transport, minInterval, pollInterval, isStream, onState } = this.#deps;
    const question = this.#asked = subscriptions.question();
    const wait = this.#isPatient && !question.isUrgent ? this.#wait : 0;
    const controller = this.#controller = new AbortController();
    const begunAt = clock.elapsed();
    let isNews = false;
    this.#isInterrupted = false;
    this.#isHurried = false;
    this.#isWaiting = wait > 0;
    try {
      const pause = await transport(question, {
        wait,
        controller,
        onAnswer: (asked, answer) => {
          const isDue = subscriptions.answer(asked, answer);
          this.#reportRefused(answer);
          isNews ||= isDue;
          this.#failures = 0;
          this.#isPatient = true;
          onState("live");
          if (isStream) {
            this.#isWaiting = true;
            if (this.#isHurried) this.#abort();
          }
          return isDue;
        },
      });
      const now = clock.elapsed();
      const isEarly = wait > 0 && !isNews && !pause &&
        now - begunAt < wait / 2;
      this.#earlyAnswers = isEarly ? this.#earlyAnswers + 1 : 0;
      if (this.#isWaiting) this.#failedWaits = 0;
      this.#notBefore = now + pause;
      this.#nextAt = begunAt + minInterval;
      if (isEarly) {
        this.#nextAt = now + growingPause(this.#earlyAnswers, clock.random());
      } else if (!this.#wait) {
        this.#nextAt = now + pollInterval * (0.9 + clock.random() / 5);
      } else if (wait > 0) {
        this.#wait = Math.min(this.#deps.wait, this.#wait * 1.1);
      }
    } catch (error) {
      this.#isPatient = false;
      if (!this.#isInterrupted) {
        this.#fail(error, wait, begunAt);
      }
    }
    this.#isWaiting = false;
    // Ends the other requests of a split question.
    this.#abort();
  }

  #reportRefused({ refused = {} }: Answer): void {
    for (const [key, { message }] of Object.entries(refused)) {
      if (this.#refused.has(key)) continue;
      this.#refused.add(key);
      this.#deps.onError(Object.assign(new Error(message), { key }));
    }
  }

  /** Whether the round that runs, or the last one, has asked the same. A stream tells each change of its keys. */
  #isAsked({ known, isUrgent }: Question): boolean {
    const asked = this.#asked;
    const { isStream } = this.#deps;
    return asked !== undefined && (asked.isUrgent || !isUrgent) && asked.known.size === known.size &&
      [...known].every(([key, version]) =>
        isStream ? asked.known.has(key) : asked.known.get(key) === version
      );
  }

  #fail(error: unknown, wait: number, begunAt: number): void {
    const { clock, pollInterval, onState, onError, onUnauthorized } = this.#deps;
    const { status, retryAfter = 0 } = Object(error) as Refusal;
    const now = clock.elapsed();
    const lasted = now - begunAt;
    if (lasted > MIN_WAIT_MS && lasted < wait) {
      this.#wait = Math.max(MIN_WAIT_MS, lasted * 0.8);
    }
    this.#notBefore = now + retryAfter;
    const failedWaits = this.#isWaiting && lasted <= MIN_WAIT_MS ? this.#failedWaits++ : 0;
    // Where no wait works, the client polls in the end.
    const least = Math.min(pollInterval, growingPause(failedWaits - MIN_FAILED_WAITS, clock.random()));
    this.#nextAt = now + Math.max(least, growingPause(this.#failures++, clock.random()));
    onState("retrying");
    onError(error);
    if (status !== 401 && status !== 403) return;
    // What was asked before nudge() may have been asked with the credentials from before.
    if (this.#isNudged || this.#isHurried) return;
    this.#isBarred = true;
    void Promise.resolve(status).then(onUnauthorized).then((isRenewed) => {
      if (isRenewed !== true) return;
      this.#isBarred = false;
      this.#wake();
    }, onError);
  }

  /** Follows the state of the page: interrupts what is under way, and asks at once when the page is active again. */
  #resume(): void {
    this.#failures = 0;
    this.#isHurried = true;
    this.#isPatient = false;
    this.#interrupt();
    this.#deps.subscriptions.retry();
  }

  #abort(): void {
    this.#isInterrupted = true;
    this.#controller?.abort();
  }

  #interrupt(): void {
    this.#abort();
    this.#wake();
  }

  /**
   * Notices that the computer slept: then connections are dead, although nothing reports that. Asks anew where data brought
   * a version that the server has not told: its change may be lost, and a stream, or a wait with the lower version of
   * another subscription, never says so.
   */
  #tick(): void {
    const { clock, subscriptions } = this.#deps;
    const before = clock.now();
    this.#cancelTick = clock.after(TICK_MS, () => {
      this.#tick();
      if (clock.now() - before > 3 * TICK_MS) this.#resume();
      else if (this.#isWaiting && subscriptions.isAhead) this.recheck();
    });
  }

  /** Waits for so many milliseconds, or until something happens. */
  #sleep(ms?: number): Promise<void> {
    return new Promise((resolve) => {
      const cancel = ms === undefined ? undefined : this.#deps.clock.after(ms, resolve);
      this.#wake = () => {
        cancel?.();
        resolve();
      };
    });
  }
}
