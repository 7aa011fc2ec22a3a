/**
 * Chapter 9 of the protocol: CORS.
 *
 * @module
 */
import type { Rule } from "../rule.ts";
import { type Answer, type CheckedServer, describe, skipIfNotMounted, STRANGER } from "../server.ts";
import { assert, format, skip } from "../outcome.ts";

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
    sentence: "An allowed origin may read Retry-After",
    async check(server) {
      const answer = await server.send("POST", "/sync", { body: { known: {} }, headers: server.pageOrigin });
      const { origin, credentials, exposed } = headersOf(answer);
      if (origin === null) skip(`no CORS for ${server.pageOrigin.origin}`);
      const names = exposed.split(",").map((name) => name.trim().toLowerCase());
      const exposes = names.includes("retry-after") || (names.includes("*") && credentials === null);
      assert(exposes, () => `Access-Control-Expose-Headers is ${format(exposed)}`);
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

interface CorsHeaders {
  readonly origin: string | null;
  readonly credentials: string | null;
  readonly exposed: string;
  readonly vary: string;
}

function headersOf({ headers }: Answer): CorsHeaders {
  return {
    origin: headers.get("access-control-allow-origin"),
    credentials: headers.get("access-control-allow-credentials"),
    exposed: headers.get("access-control-expose-headers") ?? "",
    vary: headers.get("vary") ?? "",
  };
}
