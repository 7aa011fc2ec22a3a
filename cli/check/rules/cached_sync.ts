/**
 * Chapter 18 of the protocol: `GET /sync`, whose answers caches keep.
 *
 * @module
 */
import type { SyncResponse } from "../../../src/types.ts";
import { assert, format, skip } from "../outcome.ts";
import type { Rule } from "../rule.ts";
import { type Answer, assertRefused, type CheckedServer, describe, refusalOf } from "../server.ts";

const FORWARD = "public, max-age=0, s-maxage=2";
const OTHER = "public, max-age=0, s-maxage=1";

/** The rules of chapter 18. */
export const cachedSyncRules: readonly Rule[] = [
  {
    number: "18.1",
    sentence:
      "Queries in any order and encoding are the same question, which the answer names in its canonical form",
    async check(server) {
      const [a, b] = [`${server.newKey()}:é '~`, server.newKey()];
      const strange = `${a.slice(0, -4)}%C3%A9%20%27~`;
      const expected = [`k=${strange}:0`, `k=${b}:7`].sort().join("&");
      const queries = [
        `k=${encodeURIComponent(a)}:0&k=${b}:7`,
        `k=${b}%3A7&k=${encodeURIComponent(a).replace("%20", "+").replaceAll("%C3", "%c3")}%3A0`,
      ];
      for (const query of queries) {
        const { body } = await ask(server, query);
        assert(body.asked === expected, () => `asked is ${format(body.asked)}, expected ${format(expected)}`);
      }
    },
  },
  {
    number: "18.2",
    sentence: "A wrong query is refused with 400, naming the parameter",
    async check(server) {
      const key = server.newKey();
      await ask(server, `k=${key}:0`);
      const wrong: [query: string, name: string][] = [
        ["", "k"],
        [`k=${key}:0&v=1`, "v"],
        [`k=${key}:0&k=${key}:1`, "k"],
        [`k=${key}:0&e=a&e=a`, "e"],
        [`k=${key}:0&w=1&w=1`, "w"],
        [`k=${key}:0&w=0`, "w"],
        ...["", "01", "-1", "1.5", `${2 ** 53}`].map((
          version,
        ): [string, string] => [`k=${key}:${version}`, "k"]),
      ];
      for (const [query, name] of wrong) {
        const answer = await server.send("GET", `/sync?${query}`);
        assertRefused(answer, 400, "BAD_REQUEST");
        const message = refusalOf(answer)?.message;
        assert(
          message === undefined || message.includes(`"${name}"`),
          () => `the message to ${format(query)} does not name "${name}": ${format(message)}`,
        );
      }
    },
  },
  {
    number: "18.3",
    sentence: "A key that is not public is refused with 403",
    check: "would require a key that is not public",
  },
  {
    number: "18.4",
    sentence: "The answer is that of a POST, and does not depend on the client",
    async check(server) {
      const [a, b] = [server.newKey(), server.newKey()];
      const byPost = await server.sync({ known: { [a]: 4, [b]: 0 } });
      const first = await ask(server, `k=${a}:4&k=${b}:0`);
      for (const name of ["changed", "epoch"] as const) {
        assert(
          JSON.stringify(first.body[name]) === JSON.stringify(byPost[name]),
          () => `${name} is ${format(first.body[name])}, by POST ${format(byPost[name])}`,
        );
      }
      const other = await ask(server, `k=${a}:4&k=${b}:0`, {
        cookie: "a=b",
        authorization: "Bearer reality-check",
      });
      assert(
        JSON.stringify(other.body.changed) === JSON.stringify(first.body.changed),
        () => `another client gets ${format(other.body.changed)}`,
      );
      for (const name of ["ratelimit", "ratelimit-policy", "set-cookie"]) {
        assert(!first.answer.headers.has(name), () => `the answer has ${name}`);
      }
    },
  },
  {
    number: "18.5",
    sentence: "An empty answer and one about a missing node may be kept for a second",
    async check(server) {
      const key = server.newKey();
      const { body: { epoch } } = await ask(server, `k=${key}:0`);
      for (const query of [`k=${key}:0`, `k=${key}:3`, `e=${encodeURIComponent(epoch || "a")}&k=${key}:3`]) {
        assertKept((await ask(server, query)).answer, OTHER, query);
      }
    },
  },
  {
    number: "18.5",
    sentence:
      "An answer that moves the client forward in its epoch may be kept for two seconds, any other one for a second",
    async check(server) {
      const key = server.newKey();
      const { [key]: first = 0 } = await server.update(key);
      const { [key]: version = 0 } = await server.update(key);
      const { body: { epoch } } = await ask(server, `k=${key}:0`);
      if (epoch === "") skip("the storage has no epoch");
      const e = `e=${encodeURIComponent(epoch)}&`;
      const kept = [
        [`${e}k=${key}:${first}`, FORWARD],
        [`${e}k=${key}:0`, OTHER],
        [`${e}k=${key}:${version}`, OTHER],
        [`${e}k=${key}:${version + 1}`, OTHER],
        [`k=${key}:${first}`, OTHER],
        [`e=reality-check&k=${key}:${first}`, OTHER],
      ] as const;
      for (const [query, expected] of kept) assertKept((await ask(server, query)).answer, expected, query);
    },
  },
  {
    number: "18.6",
    sentence: "A request with the tag of the answer gets 304, and other questions have other tags",
    async check(server) {
      const [a, b] = [server.newKey(), server.newKey()];
      const etag = (await ask(server, `k=${a}:0`)).answer.headers.get("etag");
      assert(/^W\/"[^"]+"$/.test(etag ?? ""), () => `ETag is ${format(etag)}`);
      const same = await server.send("GET", `/sync?k=${a}:0`, { headers: { "if-none-match": etag! } });
      assert(same.status === 304 && same.text === "", () => `${describe(same)} with its tag, expected 304`);
      assert(
        same.headers.get("etag") === etag,
        () => `ETag of the 304 is ${format(same.headers.get("etag"))}`,
      );
      assertKept(same, OTHER, "a 304");
      for (const query of [`k=${b}:0`, `k=${a}:0&k=${b}:0`, `k=${a}:1`]) {
        const other = (await ask(server, query)).answer.headers.get("etag");
        assert(other !== etag, () => `another question has the same ETag ${format(etag)}`);
      }
    },
  },
  {
    number: "18.7",
    sentence: "Answers with 200 and 304 have Reality-Time",
    async check(server) {
      const key = server.newKey();
      const { answer, body } = await ask(server, `k=${key}:0`);
      assertTime(answer, body.serverTime);
      const headers = { "if-none-match": answer.headers.get("etag") ?? "*" };
      const same = await server.send("GET", `/sync?k=${key}:0`, { headers });
      if (same.status === 304) assertTime(same, body.serverTime);
    },
  },
];

/** Asks by GET. Skips the rule where the server does not answer that. */
async function ask(
  server: CheckedServer,
  query: string,
  headers: Readonly<Record<string, string>> = {},
): Promise<{ readonly answer: Answer; readonly body: SyncResponse }> {
  const answer = await server.send("GET", `/sync?${query}`, { headers });
  if (answer.status === 404 || answer.status === 405) skip("no key is public");
  if (answer.status === 403) skip("the keys of the check are not public");
  assert(answer.status === 200, () => `${describe(answer)} to ${format(query)}`);
  return { answer, body: answer.json as SyncResponse };
}

function assertKept({ headers }: Answer, expected: string, query: string): void {
  const found = headers.get("cache-control");
  assert(
    found === expected,
    () => `Cache-Control is ${format(found)} for ${format(query)}, expected ${expected}`,
  );
}

function assertTime({ headers, status }: Answer, serverTime: number): void {
  const field = headers.get("reality-time");
  const isTime = /^\d+$/.test(field ?? "") && Math.abs(Number(field) - serverTime) < 60_000;
  assert(isTime, () => `Reality-Time of a ${status} is ${format(field)}, serverTime ${serverTime}`);
}
