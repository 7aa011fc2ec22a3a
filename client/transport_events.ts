/**
 * Keeps a stream of server-sent events open. This is `transport: "events"`.
 *
 * @module
 */
import { settleWithin } from "./deadline.ts";
import { limitPause } from "./pause.ts";
import { parseChange, send } from "./request.ts";
import type { KeyChange } from "./types.ts";
import type { Round, Transport, TransportConfig } from "./transport.ts";

/** A longer query may be refused by servers and proxies. Then the client waits by sync requests. */
const MAX_QUERY = 6_000;

/** Without a heartbeat for this time the connection is dead, in milliseconds. */
const SILENCE_MS = 60_000;

/**
 * Creates the transport that reads a stream. Once it is open, and where its epoch becomes another one, a sync request asks
 * for all keys as well: a stream that comes late, or from a server that lags, has versions of an earlier epoch. What
 * changes later is in the stream.
 *
 * @param askOnce Sends sync requests in place of a stream.
 * @param askByPost Sends those beside a stream. A cache could answer with the epoch from before.
 */
export function createEventsTransport(
  config: TransportConfig,
  askOnce: Transport,
  askByPost: Transport,
): Transport {
  return async (question, round) => {
    const { controller, onAnswer } = round;
    const query = new URLSearchParams(
      [...question.known.keys()].map((key) => ["keys", key]),
    );
    if (`${query}`.length > MAX_QUERY) return await askOnce(question, round);
    const settle = <T>(value: Promise<T>, ms: number) =>
      settleWithin(value, { clock: config.clock, ms, controller });
    const opened = send(config, `/events?${query}`, {
      signal: controller.signal,
    });
    const reader = (await settle(opened, config.timeout)).body!.pipeThrough(
      new TextDecoderStream(),
    ).getReader();
    let epoch: string | undefined;
    let pause = 0;
    let text = "";
    let changed = new Map<string, KeyChange>();
    try {
      while (true) {
        const { value, done } = await settle(reader.read(), SILENCE_MS);
        if (done) {
          if (epoch !== undefined || pause > 0) return pause;
          throw new Error("Cannot read events: the answer ended before the first one");
        }
        const blocks = (text + value).split("\n\n");
        text = blocks.pop()!;
        for (const block of blocks) {
          const fields = new Map(
            block.split("\n").map((line) => line.split(/: (.*)/s) as [string, string]),
          );
          pause = limitPause(fields.get("retry") ?? pause);
          if (fields.get("event") === "update") {
            const meta = JSON.parse(fields.get("data")!);
            changed.set(meta.key, parseChange(meta.key, meta));
          }
          // The last event of one read of the server has an id. That beside "retry" is for clients that resume.
          if (!fields.has("id") || fields.has("retry")) continue;
          let asked = new Map([...changed.keys()].map((key) => [key, 0]));
          // An id begins with the epoch (PROTOCOL 6.3).
          const read = decodeURIComponent(fields.get("id")!.split(":")[0]!);
          if (epoch !== read) {
            const once: Round = {
              ...round,
              wait: 0,
              onAnswer(part, answer) {
                epoch = answer.epoch;
                return onAnswer(part, answer);
              },
            };
            await askByPost(question, once);
            if (epoch !== read) throw new Error("Cannot read events: their epoch is not that of the server");
            // The first read of an epoch is complete: keys without an event have no node there.
            asked = new Map([...question.known.keys()].map((key) => [key, 0]));
          }
          onAnswer(asked, { epoch, changed });
          changed = new Map();
          // "retry" at the beginning of a stream is no pause that the server asks for.
          pause = 0;
        }
      }
    } finally {
      void reader.cancel().catch(() => {});
    }
  };
}
