import { deepEqual, equal, throws } from "node:assert/strict";
import { DEFAULT_LIMITS } from "../../src/server_limits.ts";
import { parseSync } from "../../src/parse.ts";
import { parseKeys, parseUpdates } from "../../src/parse_keys.ts";
import { test } from "../harness.ts";

const limits = { ...DEFAULT_LIMITS, maxKeys: 3 };

function refused(parse: () => unknown, message: RegExp, code = "ERR_REALITY_BAD_REQUEST"): void {
  throws(parse, { name: "RefusalError", code, message });
}

test("parseSync() accepts a minimal and a complete request", () => {
  deepEqual(parseSync({ known: {} }, limits), { known: { keys: [], versions: [] } });
  const full = {
    known: { a: 1 },
    epoch: "e",
    wait: 1000,
    clientId: "c",
    mode: "native",
    hint: "focus",
    timestamp: 5,
  };
  const parsed = { ...full, known: { keys: ["a"], versions: [1] } };
  deepEqual(parseSync({ ...full, later: "invention" }, limits), parsed);
});

test("an error of parseSync() names the invalid field", () => {
  refused(() => parseSync([], limits), /Cannot read the body: expected an object, got an array/);
  refused(() => parseSync("x", limits), /got a string/);
  refused(() => parseSync({}, limits), /"known": expected an object, got nothing/);
  refused(() => parseSync({ known: [] }, limits), /"known": expected an object, got an array/);
  refused(() => parseSync({ known: { "": 0 } }, limits), /a key of "known"/);
  refused(() => parseSync({ known: {}, wait: "1" }, limits), /"wait"/);
  refused(() => parseSync({ known: {}, wait: -1 }, limits), /"wait"/);
  refused(() => parseSync({ known: {}, wait: NaN }, limits), /"wait"/);
  refused(() => parseSync({ known: {}, epoch: 7 }, limits), /"epoch": expected a string, got the number 7/);
  refused(() => parseSync({ known: {}, epoch: "e".repeat(129) }, limits), /"epoch": longer than 128/);
  refused(() => parseSync({ known: {}, mode: {} }, limits), /"mode"/);
  refused(() => parseSync({ known: {}, timestamp: "now" }, limits), /"timestamp"/);
});

test("parseSync() accepts integers from 0 to 2^53 - 1 as versions", () => {
  const { known } = parseSync({ known: { a: Number.MAX_SAFE_INTEGER, b: 0 } }, limits);
  deepEqual(known, { keys: ["a", "b"], versions: [Number.MAX_SAFE_INTEGER, 0] });
  for (const version of [-1, 1.5, 2 ** 53, Infinity, "1", null, true]) {
    refused(() => parseSync({ known: { a: version } }, limits), /the version of "a": expected an integer/);
  }
});

test("parseSync() ignores inherited properties of the object with the keys", () => {
  const known = Object.assign(Object.create({ inherited: 1 }), { own: 2 });
  deepEqual(parseSync({ known }, limits).known, { keys: ["own"], versions: [2] });
});

test("an error of parseSync() names maxKeys, and contains no long key", () => {
  refused(
    () => parseSync({ known: { a: 0, b: 0, c: 0, d: 0 } }, limits),
    /4 keys in one request: more than maxKeys \(3\)/,
    "ERR_REALITY_TOO_MANY_KEYS",
  );
  try {
    parseSync({ known: { ["x".repeat(100_000)]: 0 } }, limits);
  } catch (error) {
    equal((error as Error).message.length < 200, true);
  }
});

test("parseSync() refuses fields that only peers send", () => {
  refused(() => parseSync({ known: {}, gossip: {} }, limits), /"gossip"/, "ERR_REALITY_FORBIDDEN");
});

test("parseUpdates() accepts one update or a list", () => {
  deepEqual(parseUpdates({ key: "a", hash: "1" }, limits), [{ key: "a", hash: "1" }]);
  deepEqual(parseUpdates({ updates: [{ key: "a", hash: "" }] }, limits), [{ key: "a", hash: "" }]);
  refused(() => parseUpdates({ key: "a" }, limits), /"hash": expected a string, got nothing/);
  refused(() => parseUpdates({ updates: {} }, limits), /"updates": expected an array/);
  refused(() => parseUpdates({ updates: [{ key: "a", hash: "1" }, 7] }, limits), /"updates\[1\]"/);
  refused(() => parseUpdates({ updates: [{ key: "", hash: "1" }] }, limits), /"updates\[0\].key"/);
  refused(
    () => parseUpdates({ updates: Array(4).fill({ key: "a", hash: "1" }) }, limits),
    /maxKeys/,
    "ERR_REALITY_TOO_MANY_KEYS",
  );
});

test("parseKeys() accepts a list of keys", () => {
  deepEqual(parseKeys({ keys: ["a", "b"] }, limits), ["a", "b"]);
  refused(() => parseKeys({ keys: "a" }, limits), /"keys": expected an array/);
  refused(() => parseKeys({ keys: ["a", "\n"] }, limits), /"keys\[1\]"/);
});
