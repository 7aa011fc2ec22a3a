/**
 * Chapter 16 of the protocol: who is let in.
 *
 * @module
 */
import type { Rule } from "./rule.ts";
import { leave, must, show } from "./verdict.ts";

const UNSEEN = "cannot be seen from outside";

/** The rules of chapter 16. */
export const admission: readonly Rule[] = [
  { number: "16.1", sentence: "Who is let in is decided before the body is read", check: UNSEEN },
  {
    number: "16.2",
    sentence: "A request more than maxRequests is 503 OVERLOADED",
    check: "would take all places",
  },
  {
    number: "16.3",
    sentence: "Paths that serve the operator are never counted",
    async check(server) {
      for (const path of ["/health", "/ready", "/metrics", "/openapi.json"]) {
        const answer = await server.ask("HEAD", path);
        if (answer.status === 404) continue;
        must(!answer.headers.has("ratelimit"), () => `RateLimit at ${answer.request}`);
      }
    },
  },
  {
    number: "16.4",
    sentence: "Where requests are limited, RateLimit-Policy and RateLimit tell how the client stands",
    async check(server) {
      const answer = await server.ask("POST", "/sync", { body: { known: {} } });
      const [policy, limit] = ["ratelimit-policy", "ratelimit"].map((name) => answer.headers.get(name));
      if (policy === null && limit === null) leave("requests are not limited");
      must(/^"[^"]+";q=\d+;w=\d+$/.test(policy ?? ""), () => `RateLimit-Policy is ${show(policy)}`);
      must(/^"[^"]+";r=\d+;t=\d+$/.test(limit ?? ""), () => `RateLimit is ${show(limit)}`);
    },
  },
  { number: "16.5", sentence: "A client is who the application says, or its address", check: UNSEEN },
  { number: "16.6", sentence: "Peers are limited as clients are", check: "takes being one of the peers" },
  {
    number: "16.7",
    sentence: "Bodies are bounded together, and each in time",
    check: "would take all room there is",
  },
  { number: "16.8", sentence: "A framework's own limits hold where it reads bodies first", check: UNSEEN },
];
