/**
 * Tests of the write routes: `POST /update`, `POST /invalidate` and `DELETE /nodes/{key}`.
 *
 * @module
 */
import assert from "node:assert/strict";
import { absent, AUTHORIZED, JSON_TYPE, type OnAdapter, WRITE } from "./adapter_client.ts";
import { bad, type Exchange } from "./exchange.ts";
import { TOKENS } from "./scenes.ts";

/** Writes that are refused or answered without a body. */
export const writeExchanges: readonly Exchange[] = [
  ...[["POST", "/update"], ["POST", "/invalidate"], ["DELETE", "/nodes/a"]].flatMap(
    ([method = "", path = ""]) => {
      const route = {
        method,
        path,
        ...(method === "POST" ? { body: { key: "a", hash: "1", keys: ["a"] } } : {}),
      };
      const type: Record<string, string> = method === "POST" ? JSON_TYPE : {};
      return [
        {
          ...route,
          title: `${method} ${path} is refused without writeTokens and authorizeWrite`,
          scene: "closed" as const,
          headers: { ...type, ...AUTHORIZED },
          status: 403,
          code: "FORBIDDEN",
          message: /writeTokens nor authorizeWrite/,
        },
        {
          ...route,
          title: `${method} ${path} without a token is refused`,
          headers: type,
          status: 401,
          code: "UNAUTHORIZED",
          answers: { "www-authenticate": "Bearer" },
        },
        {
          ...route,
          title: `${method} ${path} with a wrong token is refused`,
          headers: { ...type, authorization: `Bearer ${TOKENS[0]}x` },
          status: 401,
          code: "UNAUTHORIZED",
        },
      ];
    },
  ),
  {
    title: "another scheme than Bearer is refused",
    path: "/update",
    headers: { ...JSON_TYPE, authorization: `Basic ${TOKENS[0]}` },
    body: { key: "a", hash: "1" },
    status: 401,
    code: "UNAUTHORIZED",
  },
  {
    ...bad,
    title: "an update of nothing is refused",
    path: "/update",
    headers: WRITE,
    body: {},
    message: /"key"/,
  },
  {
    ...bad,
    title: "an update without a hash is refused",
    path: "/update",
    headers: WRITE,
    body: { key: "a" },
    message: /"hash"/,
  },
  {
    ...bad,
    title: "a hash over the limit is refused",
    path: "/update",
    headers: WRITE,
    body: { key: "a", hash: "x".repeat(257) },
    message: /maxHashBytes \(256\)/,
  },
  {
    ...bad,
    title: "an update in a list is refused by its place",
    path: "/update",
    headers: WRITE,
    body: { updates: [{ key: "a", hash: "1" }, { key: "", hash: "1" }] },
    message: /"updates\[1\]\.key"/,
  },
  {
    title: "more updates than maxKeys are refused",
    scene: "small",
    path: "/update",
    headers: WRITE,
    body: { updates: Array.from({ length: 4 }, (_, i) => ({ key: `${i}`, hash: "1" })) },
    status: 413,
    code: "TOO_MANY_KEYS",
  },
  {
    ...bad,
    title: "an invalidation without keys is refused",
    path: "/invalidate",
    headers: WRITE,
    body: { key: "a" },
    message: /"keys"/,
  },
  {
    ...bad,
    title: "a deletion of nothing is refused",
    path: "/nodes/",
    method: "DELETE",
    headers: AUTHORIZED,
    message: /empty/,
  },
  {
    ...bad,
    title: "a deletion of an invalid key is refused, and splits no header",
    path: "/nodes/a%0d%0aset-cookie:%20b=c",
    method: "DELETE",
    headers: AUTHORIZED,
    message: /control/,
    answers: { "set-cookie": null },
  },
  {
    title: "a deletion of what is not there is done",
    path: "/nodes/never",
    method: "DELETE",
    headers: AUTHORIZED,
    status: 204,
    json: "",
  },
  {
    title: "authorizeWrite says no",
    scene: "hook",
    path: "/update",
    body: { key: "POST:a", hash: "1" },
    status: 403,
    code: "FORBIDDEN",
    message: /authorizeWrite/,
  },
  {
    title: "authorizeWrite says no to one of the keys",
    scene: "hook",
    path: "/invalidate",
    headers: { ...JSON_TYPE, "x-user": "writer" },
    body: { keys: ["POST:a", "other"] },
    status: 403,
    code: "FORBIDDEN",
  },
  {
    title: "authorizeWrite says yes",
    scene: "hook",
    path: "/invalidate",
    headers: { ...JSON_TYPE, "x-user": "writer" },
    body: { keys: ["POST:a"] },
    status: 200,
  },
  {
    title: "authorizeWrite says yes to a deletion",
    scene: "hook",
    path: "/nodes/DELETE%3Aa",
    method: "DELETE",
    headers: { "x-user": "writer" },
    status: 204,
    json: "",
  },
  {
    title: "authorizeWrite that fails is a failure that tells nothing",
    scene: "hook",
    path: "/update",
    headers: { ...JSON_TYPE, "x-user": "broken" },
    body: { key: "POST:a", hash: "1" },
    status: 500,
    code: "INTERNAL",
    message: /^The server failed at this request$/,
  },
];

/** Registers tests of what writes do. */
export function testWrites(onAdapter: OnAdapter): void {
  onAdapter(
    "a slash after the key of a deletion is ignored unless it is encoded",
    "plain",
    async (client) => {
      for (const [key, path] of [["a", "/nodes/a/"], ["b/", "/nodes/b%2F"]] as const) {
        await client.operate({ do: "update", key, hash: "1" });
        const version = (await client.sync({ known: { [key]: 0 } })).changed[key]?.version ?? 0;
        const response = await client.send("DELETE", path, undefined, AUTHORIZED);
        assert.equal(response.status, 204);
        assert.deepEqual((await client.sync({ known: { [key]: version } })).changed, { [key]: absent(key) });
      }
    },
  );

  onAdapter("the write routes take one change and many, with either token", "plain", async (client) => {
    const scheme = { ...JSON_TYPE, authorization: `bearer ${TOKENS[1]}` };
    const one = await (await client.post("/update", { key: "one", hash: "1" }, scheme)).json();
    assert.deepEqual(Object.keys(one), ["versions", "epoch"]);
    const updates = [{ key: "one", hash: "2" }, { key: "two", hash: "" }];
    const many = await (await client.post("/update", { updates }, WRITE)).json();
    assert.deepEqual(Object.keys(many.versions), ["one", "two"]);
    assert.ok(many.versions.one > one.versions.one);
    const again = await (await client.post("/invalidate", { keys: ["one", "two"] }, WRITE)).json();
    const { changed } = await client.sync({ known: { one: 0, two: 0 } });
    for (const key of ["one", "two"]) {
      assert.ok(again.versions[key] > many.versions[key]);
      assert.equal(changed[key]?.version, again.versions[key]);
    }
    assert.notEqual(changed.one?.hash, changed.two?.hash);
  });

  onAdapter(
    "a write with ifChanged and the stored hash is answered with the stored version",
    "plain",
    async (client) => {
      const write = async (body: unknown) =>
        (await (await client.post("/update", body, WRITE)).json()).versions;
      const { same, other } = await write({
        updates: [{ key: "same", hash: "1" }, { key: "other", hash: "1" }],
      });
      const updates = [{ key: "same", hash: "1", ifChanged: true }, {
        key: "other",
        hash: "2",
        ifChanged: true,
      }];
      const versions = await write({ updates });
      assert.equal(versions.same, same);
      assert.ok(versions.other > other);
      assert.ok((await write({ key: "same", hash: "1", ifChanged: null })).same > same);
    },
  );
}
