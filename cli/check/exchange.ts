/**
 * Chapter 11 of the protocol: servers among themselves.
 *
 * @module
 */
import type { Rule } from "./rule.ts";
import { type Answer, type CheckedServer, describe, leaveIfProxied, refusalOf } from "./server.ts";
import { leave, must } from "./verdict.ts";

const SECRET = "takes the servers' secret";

/** The rules of chapter 11. */
export const exchange: readonly Rule[] = [
  {
    number: "11.1",
    sentence: "An envelope of another form is refused with 400, which names both",
    async check(server) {
      const answer = await send(server, { form: 7, message: "{}" });
      if (answer.status === 403) leave("the server has no peers");
      must(
        answer.status === 400 && refusalOf(answer) !== undefined,
        () => `${describe(answer)}, expected 400`,
      );
      must(
        answer.text.includes("1") && answer.text.includes("7"),
        () => `${describe(answer)}: 1 and 7 are not named`,
      );
    },
  },
  {
    number: "11.1",
    sentence: "An envelope that proves nothing is refused with 401, always in the same words, or with 403",
    async check(server) {
      const nonce = crypto.randomUUID();
      const first = await send(server, { form: 1, message: "{}", nonce, to: "nobody", proofs: ["x"] });
      const second = await send(server, { form: 1, message: "{}", token: "x" });
      for (const answer of [first, second]) {
        leaveIfProxied(answer);
        must([401, 403].includes(answer.status), () => `${describe(answer)}, expected 401 or 403`);
      }
      must(first.text === second.text, () => `${describe(first)}, and ${describe(second)}`);
    },
  },
  {
    number: "11.2",
    sentence: "Redirects are not followed; answers are read up to 4 MiB",
    check: "is what a server asks of others",
  },
  { number: "11.3", sentence: "With a secret, proofs are HMACs over purpose and fields", check: SECRET },
  {
    number: "11.4",
    sentence: "Without a secret, the receiver of a hello calls back",
    check: "takes being one of the peers",
  },
  { number: "11.5", sentence: "message is JSON as text", check: SECRET },
  { number: "11.6", sentence: "A delta is used only if what was seen covers its base", check: SECRET },
  { number: "11.7", sentence: "The answer has what was seen, and what the sender lacks", check: SECRET },
  { number: "11.8", sentence: "A message on Redis is the same text", check: "goes through Redis" },
];

async function send(server: CheckedServer, gossip: unknown): Promise<Answer> {
  return await server.ask("POST", "/sync", { body: { known: {}, gossip } });
}
