/**
 * Chapter 16 of the protocol: admission.
 *
 * @module
 */
import type { Rule } from "../rule.ts";
import { assert, format, skip } from "../outcome.ts";

const UNSEEN = "not visible to a client";

/** The rules of chapter 16. */
export const admissionRules: readonly Rule[] = [
  { number: "16.1", sentence: "Requests are admitted or refused before the body is read", check: UNSEEN },
  {
    number: "16.2",
    sentence: "A request above maxRequests is refused with 503 OVERLOADED",
    check: "would use all places",
  },
  {
    number: "16.3",
    sentence: "Paths for operators are never counted",
    async check(server) {
      for (const path of ["/health", "/ready", "/metrics", "/openapi.json"]) {
        const answer = await server.send("HEAD", path);
        if (answer.status === 404) continue;
        assert(!answer.headers.has("ratelimit"), () => `RateLimit at ${answer.request}`);
      }
    },
  },
  {
    number: "16.4",
    sentence: "With a rate limit, answers have RateLimit-Policy and RateLimit",
    async check(server) {
      const answer = await server.send("POST", "/sync", { body: { known: {} } });
      const [policy, limit] = ["ratelimit-policy", "ratelimit"].map((name) => answer.headers.get(name));
      if (policy === null && limit === null) skip("there is no rate limit");
      assert(/^"[^"]+";q=\d+;w=\d+$/.test(policy ?? ""), () => `RateLimit-Policy is ${format(policy)}`);
      assert(/^"[^"]+";r=\d+;t=\d+$/.test(limit ?? ""), () => `RateLimit is ${format(limit)}`);
    },
  },
  { number: "16.5", sentence: "A client is identified by the application or by its address", check: UNSEEN },
  { number: "16.6", sentence: "Peers are limited as clients are", check: "would require being a peer" },
  {
    number: "16.7",
    sentence: "All bodies together are limited in bytes, and each in time",
    check: "would use all of the limit",
  },
  { number: "16.8", sentence: "The limits of a framework apply if it reads bodies first", check: UNSEEN },
];
