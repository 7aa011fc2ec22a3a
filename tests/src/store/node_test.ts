import { equal, match } from "node:assert/strict";
import fc from "fast-check";
import { hashFault, isNewer, isVersion, keyFault, utf8Length } from "../../../src/store/node.ts";
import { test } from "../../harness.ts";

test("keyFault() accepts common keys", () => {
  for (const key of ["a", "chat:room:general", "__proto__", "ключ", "👩‍👩‍👧", ' "quoted" ', "é".repeat(256)]) {
    equal(keyFault(key), undefined, key);
  }
});

test("keyFault() says what is wrong with a key", () => {
  match(keyFault(7) ?? "", /expected a string, got the number 7/);
  match(keyFault(null) ?? "", /got null/);
  match(keyFault("") ?? "", /empty/);
  match(keyFault("x".repeat(513)) ?? "", /maxKeyBytes \(512\)/);
  match(keyFault("é".repeat(257)) ?? "", /maxKeyBytes \(512\)/);
  for (const key of ["a\nb", "a\u0000", "\u007f", "\u0085", "\ud800", "\udc00\ud800", "a\udfffb"]) {
    match(keyFault(key) ?? "", /control characters and lone surrogates/, JSON.stringify(key));
  }
});

test("hashFault() accepts an empty hash and refuses one over the limit", () => {
  equal(hashFault(""), undefined);
  equal(hashFault("x".repeat(256)), undefined);
  match(hashFault("x".repeat(257)) ?? "", /maxHashBytes \(256\)/);
  match(hashFault(undefined) ?? "", /got nothing/);
});

test("utf8Length() counts the bytes that TextEncoder writes", () => {
  fc.assert(fc.property(fc.string({ unit: "binary" }), (text) => {
    equal(utf8Length(text), new TextEncoder().encode(text).length);
  }));
});

test("isVersion() accepts integers from 0 to 2^53 - 1 and nothing else", () => {
  for (const version of [0, 1, Number.MAX_SAFE_INTEGER]) equal(isVersion(version), true);
  for (const other of [-1, 0.5, 2 ** 53, Infinity, NaN, "1", null, undefined, 1n]) {
    equal(isVersion(other), false);
  }
});

test("isNewer() is a total order: of two different nodes exactly one is newer", () => {
  const node = fc.record({
    key: fc.constant("k"),
    version: fc.integer({ min: 1, max: 3 }),
    hash: fc.constantFrom("a", "b", "\uffee", "😀"),
    updatedAt: fc.integer({ min: 1, max: 2 }),
  });
  fc.assert(fc.property(node, node, (a, b) => {
    const same = a.version === b.version && a.hash === b.hash && a.updatedAt === b.updatedAt;
    equal(Number(isNewer(a, b)) + Number(isNewer(b, a)), same ? 0 : 1);
  }));
});
