/**
 * Chapter 9 of the protocol: CORS.
 *
 * @module
 */
import type { Rule } from "../rule.ts";
import { type Answer, type CheckedServer, describe, skipIfNotMounted } from "../server.ts";
import { assert, format, skip } from "../outcome.ts";

/** An origin that does not exist. */
const STRANGER = "https://reality-check.invalid";

/** The rules of chapter 9. */
export const corsRules: readonly Rule[] = [
  {
    number: "9",
    sentence: "Access-Control-Allow-Origin: * is never combined with credentials",
    async check(server) {
      for (const answer of await sendFromStranger(server)) {
        const { origin, credentials } = headersOf(answer);
        assert(origin !== "*" || credentials === null, () => `* with credentials at ${answer.request}`);
      }
    },
  },
  {
    number: "9",
    sentence: "An allowed origin gets its own name and Vary: Origin, any other gets no such field",
    async check(server) {
      for (const answer of await sendFromStranger(server)) {
        const { origin, credentials, vary } = headersOf(answer);
        if (origin === "*") continue;
        if (origin === null) {
          assert(credentials === null, () => `credentials without an origin at ${answer.request}`);
          continue;
        }
        assert(origin === STRANGER, () => `${STRANGER} got the name ${format(origin)} at ${answer.request}`);
        assert(/\borigin\b/i.test(vary), () => `Vary is ${format(vary)} at ${answer.request}`);
      }
    },
  },
  {
    number: "9",
    sentence: "A preflight is answered with 204 if CORS is on",
    async check(server) {
      const answer = await preflight(server);
      skipIfNotMounted(answer);
      if (answer.status === 405) skip("CORS is off");
      const { origin } = headersOf(answer);
      if (answer.status !== 204 && origin === null) {
        skip(`a proxy in front answers with ${answer.status}`);
      }
      assert(answer.status === 204, () => describe(answer));
    },
  },
];

async function sendFromStranger(server: CheckedServer): Promise<Answer[]> {
  const sync = await server.send("POST", "/sync", { body: { known: {} }, headers: { origin: STRANGER } });
  return [sync, await preflight(server)];
}

async function preflight(server: CheckedServer): Promise<Answer> {
  return await server.send("OPTIONS", "/sync", {
    headers: {
      "origin": STRANGER,
      "access-control-request-method": "POST",
      "access-control-request-headers": "content-type",
    },
  });
}

function headersOf({ headers }: Answer): { origin: string | null; credentials: string | null; vary: string } {
  return {
    origin: headers.get("access-control-allow-origin"),
    credentials: headers.get("access-control-allow-credentials"),
    vary: headers.get("vary") ?? "",
  };
}
