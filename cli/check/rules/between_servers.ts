/**
 * Chapter 11 of the protocol: between servers.
 *
 * @module
 */
import type { Rule } from "../rule.ts";
import { type Answer, type CheckedServer, describe, refusalOf, skipIfRefusedByProxy } from "../server.ts";
import { assert, skip } from "../outcome.ts";

const SECRET = "would require the secret of the servers";

/** The rules of chapter 11. */
export const betweenServersRules: readonly Rule[] = [
  {
    number: "11.1",
    sentence: "An envelope of another form is refused with 400, whose message names both",
    async check(server) {
      const answer = await sendGossip(server, { form: 7, message: "{}" });
      if (answer.status === 403) skip("the server has no peers");
      assert(
        answer.status === 400 && refusalOf(answer) !== undefined,
        () => `${describe(answer)}, expected 400`,
      );
      assert(
        answer.text.includes("1") && answer.text.includes("7"),
        () => `${describe(answer)}: 1 and 7 are not named`,
      );
    },
  },
  {
    number: "11.1",
    sentence:
      "An envelope without a valid proof is refused with 401 and always the same message, or with 403",
    async check(server) {
      const nonce = crypto.randomUUID();
      const first = await sendGossip(server, { form: 1, message: "{}", nonce, to: "unknown", proofs: ["x"] });
      const second = await sendGossip(server, { form: 1, message: "{}", token: "x" });
      for (const answer of [first, second]) {
        skipIfRefusedByProxy(answer);
        assert([401, 403].includes(answer.status), () => `${describe(answer)}, expected 401 or 403`);
      }
      assert(first.text === second.text, () => `${describe(first)}, and ${describe(second)}`);
    },
  },
  {
    number: "11.2",
    sentence: "Redirects are not followed; answers are read up to 4 MiB",
    check: "is about requests that the server sends",
  },
  { number: "11.3", sentence: "With a secret, proofs are HMACs over purpose and fields", check: SECRET },
  {
    number: "11.4",
    sentence: "Without a secret, the receiver of a hello calls back",
    check: "would require being a peer",
  },
  { number: "11.5", sentence: "message is JSON as text", check: SECRET },
  { number: "11.6", sentence: "A delta is merged only if the version vector covers its base", check: SECRET },
  {
    number: "11.7",
    sentence: "The answer has the version vector, and nodes that the sender lacks",
    check: SECRET,
  },
  { number: "11.8", sentence: "A message on Redis is the same text", check: "is about messages on Redis" },
];

async function sendGossip(server: CheckedServer, gossip: unknown): Promise<Answer> {
  return await server.send("POST", "/sync", { body: { known: {}, gossip } });
}
