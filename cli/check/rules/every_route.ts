/**
 * Chapter 2 of the protocol: rules for every route.
 *
 * @module
 */
import type { Rule } from "../rule.ts";
import {
  type Answer,
  assertRefused,
  type CheckedServer,
  describe,
  refusalOf,
  skipIfNotMounted,
} from "../server.ts";
import { assert, format, skip } from "../outcome.ts";

const INVALID_SYNCS: readonly [body: unknown, name: string][] = [
  [{}, "known"],
  [{ known: [] }, "known"],
  [{ known: { "a-key": -1 } }, "a-key"],
  [{ known: { "a-key": 1.5 } }, "a-key"],
  [{ known: { "a-key": 2 ** 53 } }, "a-key"],
  [{ known: { "a-key": "1" } }, "a-key"],
  [{ known: {}, wait: "1" }, "wait"],
  [{ known: {}, wait: -1 }, "wait"],
  [{ known: {}, detail: 1 }, "detail"],
  [{ known: {}, epoch: 1 }, "epoch"],
  [{ known: {}, clientId: 1 }, "clientId"],
];

const STRANGE_KEYS = ["__proto__", "constructor", "hasOwnProperty", "toString"];

/** Above the default limits. */
const MANY_KEYS = 10_001;
const LONG_KEY = 5_000;
const LARGE_BODY = 2_097_152;

/** The rules of chapter 2. */
export const everyRouteRules: readonly Rule[] = [
  {
    number: "2.1",
    sentence: "A body declared as application/json is accepted, also with a charset",
    async check(server) {
      for (const type of ["application/json", "application/json; charset=utf-8"]) {
        const answer = await send(server, { known: {} }, type);
        assert(answer.status === 200, () => `${describe(answer)} to ${type}`);
      }
    },
  },
  {
    number: "2.1",
    sentence: "A body of a type that ends in +json is accepted",
    async check(server) {
      const answer = await send(server, { known: {} }, "application/vnd.reality+json");
      if (answer.status === 415 && refusalOf(answer) === undefined) {
        skip("a proxy in front accepts only application/json");
      }
      assert(answer.status === 200, () => describe(answer));
    },
  },
  {
    number: "2.1",
    sentence: "A body that is not declared as JSON is refused with 415 MEDIA_TYPE",
    async check(server) {
      for (const type of ["text/plain", "application/x-www-form-urlencoded"]) {
        assertRefused(await send(server, { known: {} }, type), 415, "MEDIA_TYPE");
      }
    },
  },
  {
    number: "2.1",
    sentence: "A body that is not JSON is refused with 400 BAD_REQUEST",
    async check(server) {
      for (const body of ["{", '{"known":{}', "known", ""]) {
        assertRefused(await server.send("POST", "/sync", { body }), 400, "BAD_REQUEST");
      }
    },
  },
  {
    number: "2.2",
    sentence: "An unknown field is ignored",
    async check(server) {
      const answer = await server.send("POST", "/sync", { body: { known: {}, "reality-check": [1] } });
      assert(answer.status === 200, () => describe(answer));
    },
  },
  {
    number: "2.2",
    sentence: "A field of the wrong shape is refused with 400 BAD_REQUEST, and the message names it",
    async check(server) {
      for (const [body, name] of INVALID_SYNCS) {
        const answer = await server.send("POST", "/sync", { body });
        assertRefused(answer, 400, "BAD_REQUEST");
        assert(answer.text.includes(name), () => `${describe(answer)}: ${name} is not named`);
      }
    },
  },
  {
    number: "2.3",
    sentence: "__proto__, constructor and similar names are ordinary keys",
    async check(server) {
      const version = 4_503_599_627_370_001;
      const known = STRANGE_KEYS.map((key) => `${JSON.stringify(key)}:${version}`).join();
      const answer = await server.send("POST", "/sync", { body: `{"known":{${known}}}` });
      assert(answer.status === 200, () => describe(answer));
      const { changed } = answer.json as { changed: Record<string, { key: string }> };
      for (const key of STRANGE_KEYS) {
        assert(
          Object.hasOwn(changed, key) && changed[key]?.key === key,
          () => `${key} is missing in ${answer.text}`,
        );
      }
    },
  },
  {
    number: "2.4",
    sentence: 'A refusal\'s body is { "error": { "code", "message" } }, without a stack',
    async check(server) {
      const answer = await server.send("POST", "/sync", { body: { known: [] } });
      const { error } = answer.json as { error?: Record<string, unknown> } ?? {};
      const isRefusal = /^ERR_REALITY_[A-Z_]+$/.test(String(error?.code)) &&
        typeof error?.message === "string";
      assert(isRefusal, () => `${describe(answer)}: ${format(answer.text)}`);
      assert(!/\bat .*:\d+:\d+/.test(answer.text), () => `a stack in ${format(answer.text)}`);
    },
  },
  {
    number: "2.5",
    sentence: "No cache may store an answer to POST, and refusals are Cache-Control: no-store",
    async check(server) {
      const answers = [
        await server.send("POST", "/sync", { body: { known: {} } }),
        await server.send("POST", "/sync", { body: { known: [] } }),
        await server.send("DELETE", "/sync"),
        await server.send("POST", "/update", { body: {} }),
      ];
      for (const answer of answers) {
        if (answer.status !== 200 && refusalOf(answer) === undefined) continue;
        const found = answer.headers.get("cache-control");
        // An answer to POST is not stored without a header that allows it.
        assert(
          answer.status === 200 && found === null || /\bno-store\b/.test(found ?? ""),
          () => `Cache-Control is ${format(found)} where ${describe(answer)}`,
        );
      }
    },
  },
  {
    number: "2.6",
    sentence: "An unknown path is 404 NOT_FOUND",
    async check(server) {
      for (const path of ["/nope", "/sync/more"]) {
        assertRefused(await server.send("POST", path, { body: { known: {} } }), 404, "NOT_FOUND");
      }
    },
  },
  {
    number: "2.6",
    sentence: "A known path with another method is 405 METHOD, with Allow",
    async check(server) {
      for (
        const [method, path, allowed] of [["DELETE", "/sync", "POST"], ["POST", "/events", "GET"]] as const
      ) {
        const answer = await server.send(method, path, method === "POST" ? { body: {} } : {});
        skipIfNotMounted(answer);
        assertRefused(answer, 405, "METHOD");
        const allow = answer.headers.get("allow");
        assert(
          allow?.split(/, */).includes(allowed) === true,
          () => `Allow is ${format(allow)} at ${answer.request}`,
        );
      }
    },
  },
  {
    number: "2.7",
    sentence: "Too many keys are refused with 413 TOO_MANY_KEYS, naming maxKeys; none is dropped silently",
    async check(server) {
      const known = Object.fromEntries(Array.from({ length: MANY_KEYS }, (_, i) => [`${i}`, 1]));
      const answer = await server.send("POST", "/sync", { body: { known } });
      if (answer.status === 200) {
        const { changed } = answer.json as { changed: Record<string, unknown> };
        // Only a key that exists with exactly this version may be missing in the answer.
        const compared = Object.keys(changed).length;
        assert(compared > MANY_KEYS / 2, () => `of ${MANY_KEYS} keys, ${compared} were compared`);
        skip(`maxKeys is above ${MANY_KEYS - 1}`);
      }
      assertNamesLimit(answer, "TOO_MANY_KEYS", "maxKeys");
    },
  },
  {
    number: "2.7",
    sentence: "A key that is too long is refused with 400 BAD_REQUEST, naming maxKeyBytes",
    async check(server) {
      const answer = await server.send("POST", "/sync", { body: { known: { ["k".repeat(LONG_KEY)]: 0 } } });
      if (answer.status === 200) skip(`maxKeyBytes is ${LONG_KEY} or more`);
      assertRefused(answer, 400, "BAD_REQUEST");
      assert(answer.text.includes("maxKeyBytes"), () => `${describe(answer)}: maxKeyBytes is not named`);
    },
  },
  {
    number: "2.7",
    sentence: "A body that is too large is refused with 413 BODY_TOO_LARGE, naming maxBodyBytes",
    async check(server) {
      const body = { known: {}, more: "x".repeat(LARGE_BODY) };
      const answer = await server.send("POST", "/sync", { body });
      if (answer.status === 200) skip(`maxBodyBytes is above ${LARGE_BODY}`);
      assertNamesLimit(answer, "BODY_TOO_LARGE", "maxBodyBytes");
    },
  },
  {
    number: "2.8",
    sentence: "A compressed body is refused with 415 MEDIA_TYPE and Accept-Encoding: identity",
    async check(server) {
      const headers = { "content-encoding": "gzip" };
      const answer = await server.send("POST", "/sync", { body: { known: {} }, headers });
      if (answer.status >= 400 && refusalOf(answer) === undefined) {
        skip("a proxy in front decompresses bodies");
      }
      assertRefused(answer, 415, "MEDIA_TYPE");
      const found = answer.headers.get("accept-encoding");
      assert(found === "identity", () => `Accept-Encoding is ${format(found)}`);
    },
  },
];

async function send(server: CheckedServer, body: unknown, type: string): Promise<Answer> {
  return await server.send("POST", "/sync", { body, headers: { "content-type": type } });
}

/** Requires a 413 that names a limit. Skips the rule if a proxy in front sent it. */
function assertNamesLimit(answer: Answer, code: string, limit: string): void {
  assert(answer.status === 413, () => `${describe(answer)}, expected 413 ${code}`);
  const refusal = refusalOf(answer);
  if (refusal === undefined) skip("a proxy in front has a lower limit");
  // The request may exceed several limits: the first one is named.
  const named = refusal.code === code
    ? limit
    : refusal.code === "BODY_TOO_LARGE"
    ? "maxBodyBytes"
    : undefined;
  assert(
    named !== undefined && refusal.message.includes(named),
    () => `${describe(answer)}, expected ${limit} by name`,
  );
}
