/**
 * Asks the server for all subscriptions by sync requests. This is `transport: "wait"` and `"poll"`.
 *
 * @module
 */
import { settleWithin } from "./deadline.ts";
import { type Refusal, type RequestConfig, sync, type SyncAnswer } from "./request.ts";
import type { Answer, Question } from "./subscriptions.ts";

/** One round: what a transport gets. */
export interface Round {
  /** How long the server may wait, in milliseconds. */
  readonly wait: number;
  /** Aborts what is under way when the round is interrupted. Has ended if a round has succeeded or failed. */
  readonly controller: AbortController;
  /** Must be called with each answer, and the versions that were asked. Returns whether data must be fetched. */
  onAnswer(asked: ReadonlyMap<string, number>, answer: Answer): boolean;
}

/**
 * Asks the server once, or until a connection ends.
 *
 * @returns The pause that the server asks for, in milliseconds.
 */
export type Transport = (question: Question, round: Round) => Promise<number>;

/** What transports need. */
export interface TransportConfig extends RequestConfig {
  /** The time for an answer beyond the wait, in milliseconds. */
  readonly timeout: number;
  /** The least time between two requests, in milliseconds. */
  readonly minInterval: number;
  readonly maxKeys: number;
  onError(error: unknown): void;
}

/** Sends one request. */
export type Ask = (
  question: Pick<Question, "known" | "epoch">,
  round: Pick<Round, "wait" | "controller">,
) => Promise<SyncAnswer>;

/**
 * Creates the transport that sends sync requests.
 *
 * @param ask Sends one of them. Left out: by POST.
 */
export function createSyncTransport(
  config: TransportConfig,
  ask: Ask = (question, { wait, controller }) =>
    settleWithin(sync(config, question, { wait, signal: controller.signal }), {
      clock: config.clock,
      ms: wait + config.timeout,
      controller,
    }),
): Transport {
  let { maxKeys } = config;
  return async ({ known, epoch }, round) => {
    let isNews = false;
    const askPart = async (part: ReadonlyMap<string, number>): Promise<number> => {
      try {
        const answer = await ask({ known: part, epoch }, round);
        isNews = round.onAnswer(part, answer) || isNews;
        return answer.pause;
      } catch (error) {
        // The server allows fewer keys or bytes than the client.
        if ((error as Refusal).status === 413) {
          maxKeys = Math.ceil(part.size / 2);
        }
        throw error;
      }
    };
    const entries = [...known];
    const asks: Promise<number>[] = [];
    for (let i = 0; i < entries.length; i += maxKeys) {
      asks.push(askPart(new Map(entries.slice(i, i + maxKeys))));
    }
    const all = Promise.all(asks).then((pauses) => Math.max(...pauses));
    if (!round.wait) return all;
    all.catch(() => {});
    // A part that has changes ends the round, since the others were asked with old versions. One at its deadline does not:
    // the server ends waits of equal length within a sixteenth of them.
    return await Promise.race(asks.map((asked) => asked.then((pause) => isNews ? pause : all)));
  };
}
