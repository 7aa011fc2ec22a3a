import { equal, notEqual, rejects } from "node:assert/strict";
import { createHash } from "../../src/hash.ts";
import { test } from "../harness.ts";

test("createHash() returns the first 128 bits of SHA-256 as base64url", async () => {
  equal(await createHash(""), "47DEQpj8HBSa-_TImW-5JA");
  equal(await createHash("abc"), "ungWv48Bz-pBQUDeXa4iIw");
});

test("createHash() encodes a text as UTF-8", async () => {
  equal(await createHash("héllo 👋"), await createHash(new TextEncoder().encode("héllo 👋")));
  notEqual(await createHash("a"), await createHash("b"));
});

test("createHash() refuses a value that is neither a text nor bytes", async () => {
  await rejects(createHash(7 as unknown as string), { name: "TypeError", message: /got number/ });
});
