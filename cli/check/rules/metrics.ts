/**
 * Chapter 15 of the protocol: `GET /metrics`.
 *
 * @module
 */
import { assert, format, skip } from "../outcome.ts";
import type { Rule } from "../rule.ts";
import { type Answer, type CheckedServer, describe, skipIfNotMounted } from "../server.ts";

const METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8";

/** The rules of chapter 15. */
export const metricsRules: readonly Rule[] = [
  {
    number: "15.1",
    sentence: "GET /metrics answers in Prometheus' text format, with names that begin with reality_",
    async check(server) {
      const answer = await scrape(server);
      const type = answer.headers.get("content-type");
      assert(type === METRICS_TYPE, () => `Content-Type is ${format(type)}`);
      assert(answer.text.endsWith("\n"), "the last line does not end");
      let current = "";
      for (const line of answer.text.split("\n").slice(0, -1)) {
        const [, described] = /^# (?:HELP|TYPE) (reality_[a-z_]+) \S/.exec(line) ?? [];
        if (described !== undefined) current = described;
        else assert(isSampleOf(line, current), () => `a line is ${format(line)}`);
      }
      assert(current !== "", "it is empty");
    },
  },
  {
    number: "15.1",
    sentence: "HEAD /metrics answers without a body",
    async check(server) {
      await scrape(server);
      const answer = await server.send("HEAD", "/metrics");
      assert(answer.status === 200 && answer.text === "", () => describe(answer));
    },
  },
  {
    number: "15.2",
    sentence: "The metrics contain no key of a request",
    async check(server) {
      await server.send("POST", "/sync", { body: { known: { [server.newKey()]: 0 } } });
      const { text } = await scrape(server);
      assert(!text.includes(server.prefix), "it contains a key of this check");
    },
  },
  {
    number: "15.3",
    sentence: "The metrics do not read the storage, and are never refused because of overload",
    check: "would require access to the storage, and an overloaded server",
  },
  {
    number: "15.4",
    sentence: "Requests for paths outside the base path are not counted",
    check: "would require a server without other clients",
  },
  {
    number: "15.5",
    sentence: "The metrics are open, or 404, or 403 to clients that the application refuses",
    async check(server) {
      const answer = await server.send("GET", "/metrics");
      assert([200, 403, 404].includes(answer.status), () => describe(answer));
    },
  },
];

/** Requests the metrics. Skips the rule if they are not open to every client. */
async function scrape(server: CheckedServer): Promise<Answer> {
  const answer = await server.send("GET", "/metrics");
  skipIfNotMounted(answer);
  if (answer.status === 401 || answer.status === 403) skip("GET /metrics is not open to every client");
  assert(answer.status === 200, () => describe(answer));
  return answer;
}

/** Whether a line is a sample of the metric that was described last. */
function isSampleOf(line: string, name: string): boolean {
  const [, found = "", number = ""] =
    /^([a-z_]+)(?:\{(?:[a-z]+="(?:[^"\\]|\\.)*",?)+\})? (\S+)$/.exec(line) ?? [];
  return found.replace(/_(bucket|sum|count)$/, "") === name.replace(/_(bucket|sum|count)$/, "") &&
    /^(\+Inf|\d+(\.\d+)?(e[+-]?\d+)?)$/.test(number);
}
