/**
 * Chapter 2 of the protocol: rules for every route.
 *
 * @module
 */
import type { Rule } from "./rule.ts";
import {
  type Answer,
  type CheckedServer,
  describe,
  leaveIfNotThere,
  mustRefuse,
  refusalOf,
} from "./server.ts";
import { leave, must, show } from "./verdict.ts";

const NO_SYNC: readonly [body: unknown, name: string][] = [
  [{}, "known"],
  [{ known: [] }, "known"],
  [{ known: { "a-key": -1 } }, "a-key"],
  [{ known: { "a-key": 1.5 } }, "a-key"],
  [{ known: { "a-key": 2 ** 53 } }, "a-key"],
  [{ known: { "a-key": "1" } }, "a-key"],
  [{ known: {}, wait: "1" }, "wait"],
  [{ known: {}, wait: -1 }, "wait"],
  [{ known: {}, epoch: 1 }, "epoch"],
  [{ known: {}, clientId: 1 }, "clientId"],
];

const STRANGE_KEYS = ["__proto__", "constructor", "hasOwnProperty", "toString"];

/** More than the usual limits allow. */
const MANY_KEYS = 10_001;
const LONG_KEY = 5_000;
const LARGE_BODY = 2_097_152;

/** The rules of chapter 2. */
export const everyRoute: readonly Rule[] = [
  {
    number: "2.1",
    sentence: "A body declared as application/json is taken, also with the encoding named",
    async check(server) {
      for (const type of ["application/json", "application/json; charset=utf-8"]) {
        const answer = await ask(server, { known: {} }, type);
        must(answer.status === 200, () => `${describe(answer)} to ${type}`);
      }
    },
  },
  {
    number: "2.1",
    sentence: "A body of a type that ends in +json is taken",
    async check(server) {
      const answer = await ask(server, { known: {} }, "application/vnd.reality+json");
      if (answer.status === 415 && refusalOf(answer) === undefined) {
        leave("what stands in front takes application/json alone");
      }
      must(answer.status === 200, () => describe(answer));
    },
  },
  {
    number: "2.1",
    sentence: "A body that is not declared as JSON is refused with 415 MEDIA_TYPE",
    async check(server) {
      for (const type of ["text/plain", "application/x-www-form-urlencoded"]) {
        mustRefuse(await ask(server, { known: {} }, type), 415, "MEDIA_TYPE");
      }
    },
  },
  {
    number: "2.1",
    sentence: "A body that is no JSON is refused with 400 BAD_REQUEST",
    async check(server) {
      for (const body of ["{", '{"known":{}', "known", ""]) {
        mustRefuse(await server.ask("POST", "/sync", { body }), 400, "BAD_REQUEST");
      }
    },
  },
  {
    number: "2.2",
    sentence: "A field that the server does not know is ignored",
    async check(server) {
      const answer = await server.ask("POST", "/sync", { body: { known: {}, "reality-check": [1] } });
      must(answer.status === 200, () => describe(answer));
    },
  },
  {
    number: "2.2",
    sentence: "A field of the wrong shape is refused with 400 BAD_REQUEST, by name",
    async check(server) {
      for (const [body, name] of NO_SYNC) {
        const answer = await server.ask("POST", "/sync", { body });
        mustRefuse(answer, 400, "BAD_REQUEST");
        must(answer.text.includes(name), () => `${describe(answer)}: ${name} is not named`);
      }
    },
  },
  {
    number: "2.3",
    sentence: "__proto__, constructor and the like are keys as any other",
    async check(server) {
      const version = 4_503_599_627_370_001;
      const known = STRANGE_KEYS.map((key) => `${JSON.stringify(key)}:${version}`).join();
      const answer = await server.ask("POST", "/sync", { body: `{"known":{${known}}}` });
      must(answer.status === 200, () => describe(answer));
      const { changed } = answer.json as { changed: Record<string, { key: string }> };
      for (const key of STRANGE_KEYS) {
        must(
          Object.hasOwn(changed, key) && changed[key]?.key === key,
          () => `no word on ${key}: ${answer.text}`,
        );
      }
    },
  },
  {
    number: "2.4",
    sentence: 'A refusal\'s body is { "error": { "code", "message" } }, without a stack',
    async check(server) {
      const answer = await server.ask("POST", "/sync", { body: { known: [] } });
      const { error } = answer.json as { error?: Record<string, unknown> } ?? {};
      const isRefusal = /^ERR_REALITY_[A-Z_]+$/.test(String(error?.code)) &&
        typeof error?.message === "string";
      must(isRefusal, () => `${describe(answer)}: ${show(answer.text)}`);
      must(!/\bat .*:\d+:\d+/.test(answer.text), () => `a stack in ${show(answer.text)}`);
    },
  },
  {
    number: "2.5",
    sentence: "Answers to POST, and refusals, are Cache-Control: no-store",
    async check(server) {
      const answers = [
        await server.ask("POST", "/sync", { body: { known: {} } }),
        await server.ask("POST", "/sync", { body: { known: [] } }),
        await server.ask("GET", "/sync"),
        await server.ask("POST", "/update", { body: {} }),
      ];
      for (const answer of answers) {
        if (answer.status !== 200 && refusalOf(answer) === undefined) continue;
        const found = answer.headers.get("cache-control");
        must(
          /\bno-store\b/.test(found ?? ""),
          () => `Cache-Control is ${show(found)} where ${describe(answer)}`,
        );
      }
    },
  },
  {
    number: "2.6",
    sentence: "An unknown path is 404 NOT_FOUND",
    async check(server) {
      for (const path of ["/nope", "/sync/more"]) {
        mustRefuse(await server.ask("POST", path, { body: { known: {} } }), 404, "NOT_FOUND");
      }
    },
  },
  {
    number: "2.6",
    sentence: "A known path with another method is 405 METHOD, with Allow",
    async check(server) {
      for (const [method, path, allowed] of [["GET", "/sync", "POST"], ["POST", "/events", "GET"]] as const) {
        const answer = await server.ask(method, path, method === "POST" ? { body: {} } : {});
        leaveIfNotThere(answer);
        mustRefuse(answer, 405, "METHOD");
        const allow = answer.headers.get("allow");
        must(
          allow?.split(/, */).includes(allowed) === true,
          () => `Allow is ${show(allow)} at ${answer.request}`,
        );
      }
    },
  },
  {
    number: "2.7",
    sentence: "Too many keys are refused with 413 TOO_MANY_KEYS, naming maxKeys; none is dropped silently",
    async check(server) {
      const known = Object.fromEntries(Array.from({ length: MANY_KEYS }, (_, i) => [`${i}`, 1]));
      const answer = await server.ask("POST", "/sync", { body: { known } });
      if (answer.status === 200) {
        const { changed } = answer.json as { changed: Record<string, unknown> };
        // A key that is there with this very version is the only one that may be passed over.
        const told = Object.keys(changed).length;
        must(told > MANY_KEYS / 2, () => `of ${MANY_KEYS} keys, ${told} were looked at`);
        leave(`maxKeys is above ${MANY_KEYS - 1}`);
      }
      mustName(answer, "TOO_MANY_KEYS", "maxKeys");
    },
  },
  {
    number: "2.7",
    sentence: "A key that is too long is refused with 400 BAD_REQUEST, naming maxKeyBytes",
    async check(server) {
      const answer = await server.ask("POST", "/sync", { body: { known: { ["k".repeat(LONG_KEY)]: 0 } } });
      if (answer.status === 200) leave(`maxKeyBytes is ${LONG_KEY} or more`);
      mustRefuse(answer, 400, "BAD_REQUEST");
      must(answer.text.includes("maxKeyBytes"), () => `${describe(answer)}: maxKeyBytes is not named`);
    },
  },
  {
    number: "2.7",
    sentence: "A body that is too large is refused with 413 BODY_TOO_LARGE, naming maxBodyBytes",
    async check(server) {
      const body = { known: {}, more: "x".repeat(LARGE_BODY) };
      const answer = await server.ask("POST", "/sync", { body });
      if (answer.status === 200) leave(`maxBodyBytes is above ${LARGE_BODY}`);
      mustName(answer, "BODY_TOO_LARGE", "maxBodyBytes");
    },
  },
  {
    number: "2.8",
    sentence: "A compressed body is refused with 415 MEDIA_TYPE and Accept-Encoding: identity",
    async check(server) {
      const headers = { "content-encoding": "gzip" };
      const answer = await server.ask("POST", "/sync", { body: { known: {} }, headers });
      if (answer.status >= 400 && refusalOf(answer) === undefined) {
        leave("what stands in front unpacks bodies");
      }
      mustRefuse(answer, 415, "MEDIA_TYPE");
      const found = answer.headers.get("accept-encoding");
      must(found === "identity", () => `Accept-Encoding is ${show(found)}`);
    },
  },
];

async function ask(server: CheckedServer, body: unknown, type: string): Promise<Answer> {
  return await server.ask("POST", "/sync", { body, headers: { "content-type": type } });
}

/** Requires a 413; one of its own may be what stands in front. */
function mustName(answer: Answer, code: string, limit: string): void {
  must(answer.status === 413, () => `${describe(answer)}, expected 413 ${code}`);
  const refusal = refusalOf(answer);
  if (refusal === undefined) leave("what stands in front has a lower limit, and refuses by itself");
  // Whichever limit was met first: it is named.
  const named = refusal.code === code
    ? limit
    : refusal.code === "BODY_TOO_LARGE"
    ? "maxBodyBytes"
    : undefined;
  must(
    named !== undefined && refusal.message.includes(named),
    () => `${describe(answer)}, expected ${limit} by name`,
  );
}
