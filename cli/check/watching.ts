/**
 * Chapters 14 and 15 of the protocol: for those who watch a server.
 *
 * @module
 */
import type { Rule } from "./rule.ts";
import { type Answer, type CheckedServer, describe, leaveIfNotThere } from "./server.ts";
import { leave, must, show } from "./verdict.ts";

/** Why a server may not be ready. */
const REASONS: readonly unknown[] = ["starting", "storage", "closing"];

const METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8";

/** The rules of chapter 14. */
export const readiness: readonly Rule[] = [
  {
    number: "14.1",
    sentence: 'GET /ready answers 200 { "status": "ready" }, or 503 with a word for why not',
    async check(server) {
      const answer = await server.ask("GET", "/ready");
      leaveIfNotThere(answer);
      const { status, ...rest } = answer.json as Record<string, unknown> ?? {};
      const isRight = answer.status === 200 ? status === "ready" : REASONS.includes(status);
      must([200, 503].includes(answer.status) && isRight, () => `${describe(answer)}: ${show(answer.text)}`);
      must(Object.keys(rest).length === 0, () => `the body is ${show(answer.text)}`);
    },
  },
  {
    number: "14.1",
    sentence: "HEAD /ready answers without a body",
    async check(server) {
      const answer = await server.ask("HEAD", "/ready");
      leaveIfNotThere(answer);
      must([200, 503].includes(answer.status) && answer.text === "", () => describe(answer));
    },
  },
  {
    number: "14.2",
    sentence: "However many ask whether it is ready, the storage is asked once",
    check: "takes a look at the storage",
  },
];

/** The rules of chapter 15. */
export const metrics: readonly Rule[] = [
  {
    number: "15.1",
    sentence: "GET /metrics answers in Prometheus' text format, with names that begin with reality_",
    async check(server) {
      const answer = await scrape(server);
      const type = answer.headers.get("content-type");
      must(type === METRICS_TYPE, () => `Content-Type is ${show(type)}`);
      must(answer.text.endsWith("\n"), "the last line does not end");
      let current = "";
      for (const line of answer.text.split("\n").slice(0, -1)) {
        const [, described] = /^# (?:HELP|TYPE) (reality_[a-z_]+) \S/.exec(line) ?? [];
        if (described !== undefined) current = described;
        else must(isSampleOf(line, current), () => `a line is ${show(line)}`);
      }
      must(current !== "", "it is empty");
    },
  },
  {
    number: "15.1",
    sentence: "HEAD /metrics answers without a body",
    async check(server) {
      await scrape(server);
      const answer = await server.ask("HEAD", "/metrics");
      must(answer.status === 200 && answer.text === "", () => describe(answer));
    },
  },
  {
    number: "15.2",
    sentence: "No key that was asked for is in the numbers",
    async check(server) {
      await server.ask("POST", "/sync", { body: { known: { [server.newKey()]: 0 } } });
      const { text } = await scrape(server);
      must(!text.includes(server.prefix), "a key of this check is in it");
    },
  },
  {
    number: "15.3",
    sentence: "The numbers ask nothing of the storage, and are never turned away",
    check: "takes a look at the storage, and a server that is overloaded",
  },
  {
    number: "15.4",
    sentence: "Requests for paths that are not under the base path are not counted",
    check: "takes a server that nobody else asks",
  },
  {
    number: "15.5",
    sentence: "The numbers are open, or 404, or 403 to whom the application turns down",
    async check(server) {
      const answer = await server.ask("GET", "/metrics");
      must([200, 403, 404].includes(answer.status), () => describe(answer));
    },
  },
];

/** The numbers, where they are there for everybody. */
async function scrape(server: CheckedServer): Promise<Answer> {
  const answer = await server.ask("GET", "/metrics");
  leaveIfNotThere(answer);
  if (answer.status === 401 || answer.status === 403) leave("GET /metrics is not for everybody");
  must(answer.status === 200, () => describe(answer));
  return answer;
}

/** Whether a line is a number of the name that was described last. */
function isSampleOf(line: string, name: string): boolean {
  const [, found = "", number = ""] =
    /^([a-z_]+)(?:\{(?:[a-z]+="(?:[^"\\]|\\.)*",?)+\})? (\S+)$/.exec(line) ?? [];
  return found.replace(/_(bucket|sum|count)$/, "") === name.replace(/_(bucket|sum|count)$/, "") &&
    /^(\+Inf|\d+(\.\d+)?(e[+-]?\d+)?)$/.test(number);
}
