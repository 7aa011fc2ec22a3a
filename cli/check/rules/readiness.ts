/**
 * Chapter 14 of the protocol: `GET /ready`.
 *
 * @module
 */
import { assert, format } from "../outcome.ts";
import type { Rule } from "../rule.ts";
import { describe, skipIfNotMounted } from "../server.ts";

/** The words of a server that is not ready. */
const REASONS: readonly unknown[] = ["starting", "storage", "closing"];

/** The rules of chapter 14. */
export const readinessRules: readonly Rule[] = [
  {
    number: "14.1",
    sentence: 'GET /ready answers 200 { "status": "ready" }, or 503 with the reason',
    async check(server) {
      const answer = await server.send("GET", "/ready");
      skipIfNotMounted(answer);
      const { status, ...rest } = answer.json as Record<string, unknown> ?? {};
      const isRight = answer.status === 200 ? status === "ready" : REASONS.includes(status);
      assert(
        [200, 503].includes(answer.status) && isRight,
        () => `${describe(answer)}: ${format(answer.text)}`,
      );
      assert(Object.keys(rest).length === 0, () => `the body is ${format(answer.text)}`);
    },
  },
  {
    number: "14.1",
    sentence: "HEAD /ready answers without a body",
    async check(server) {
      const answer = await server.send("HEAD", "/ready");
      skipIfNotMounted(answer);
      assert([200, 503].includes(answer.status) && answer.text === "", () => describe(answer));
    },
  },
  {
    number: "14.2",
    sentence: "Requests at the same time cause one check of the storage",
    check: "would require access to the storage",
  },
];
