/**
 * Chapter 9 of the protocol: which pages of other origins may read.
 *
 * @module
 */
import type { Rule } from "./rule.ts";
import { type Answer, type CheckedServer, describe, leaveIfNotThere } from "./server.ts";
import { leave, must, show } from "./verdict.ts";

/** An origin that nobody has. */
const STRANGER = "https://reality-check.invalid";

/** The rules of chapter 9. */
export const cors: readonly Rule[] = [
  {
    number: "9",
    sentence: "Access-Control-Allow-Origin: * never comes together with credentials",
    async check(server) {
      for (const answer of await askAsStranger(server)) {
        const { origin, credentials } = headersOf(answer);
        must(origin !== "*" || credentials === null, () => `* with credentials at ${answer.request}`);
      }
    },
  },
  {
    number: "9",
    sentence: "An allowed origin gets its own name and Vary: Origin, any other gets no such field",
    async check(server) {
      for (const answer of await askAsStranger(server)) {
        const { origin, credentials, vary } = headersOf(answer);
        if (origin === "*") continue;
        if (origin === null) {
          must(credentials === null, () => `credentials without an origin at ${answer.request}`);
          continue;
        }
        must(origin === STRANGER, () => `${STRANGER} got the name ${show(origin)} at ${answer.request}`);
        must(/\borigin\b/i.test(vary), () => `Vary is ${show(vary)} at ${answer.request}`);
      }
    },
  },
  {
    number: "9",
    sentence: "A preflight is 204 where CORS is on",
    async check(server) {
      const answer = await preflight(server);
      leaveIfNotThere(answer);
      if (answer.status === 405) leave("CORS is off");
      const { origin } = headersOf(answer);
      if (answer.status !== 204 && origin === null) {
        leave(`what stands in front answers with ${answer.status}`);
      }
      must(answer.status === 204, () => describe(answer));
    },
  },
];

async function askAsStranger(server: CheckedServer): Promise<Answer[]> {
  const sync = await server.ask("POST", "/sync", { body: { known: {} }, headers: { origin: STRANGER } });
  return [sync, await preflight(server)];
}

async function preflight(server: CheckedServer): Promise<Answer> {
  return await server.ask("OPTIONS", "/sync", {
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
