/**
 * Chapter 8 of the protocol: `GET /health`.
 *
 * @module
 */
import { assert, format } from "../outcome.ts";
import type { Rule } from "../rule.ts";
import { assertHead, describe, skipIfNotMounted } from "../server.ts";

/** The rules of chapter 8. */
export const healthRules: readonly Rule[] = [
  {
    number: "8",
    sentence: 'GET /health answers { "status": "ok" }, and nothing else',
    async check(server) {
      const answer = await server.send("GET", "/health");
      skipIfNotMounted(answer);
      assert(answer.status === 200, () => describe(answer));
      assert(JSON.stringify(answer.json) === '{"status":"ok"}', () => `the body is ${format(answer.text)}`);
    },
  },
  {
    number: "8",
    sentence: "HEAD /health answers without a body",
    check: async (server) => await assertHead(server, "/health"),
  },
];
