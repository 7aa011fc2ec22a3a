import assert from "node:assert/strict";
import { parseStamp } from "../../client/mod.ts";
import { joinStamps, MemoryStorage, RealityServer } from "../../mod.ts";
import { test } from "../harness.ts";

const good: [name: string, field: string, versions: Record<string, number>][] = [
  ["keys of ASCII", 'epoch="e", keys=("a";v="5" "b:c";v="0")', { a: 5, "b:c": 0 }],
  ["no keys", 'epoch="e", keys=()', {}],
  ["a quoted key", String.raw`epoch="e", keys=("say \"hi\" \\";v="1")`, { 'say "hi" \\': 1 }],
  ["keys of other alphabets", 'epoch="e", keys=(%"caf%c3%a9";v="1" %"a%22%25";v="2")', {
    "café": 1,
    'a"%': 2,
  }],
  ["a display string with a backslash", String.raw`epoch="e", keys=(%"%c3%a9\";v="1" "a";v="2")`, {
    "é\\": 1,
    a: 2,
  }],
  ["a key that looks like the epoch", String.raw`epoch="e", keys=("epoch=\"x\"";v="1")`, { 'epoch="x"': 1 }],
  ["the largest version", 'epoch="e", keys=("a";v="9007199254740991")', { a: Number.MAX_SAFE_INTEGER }],
  [
    "names of object members",
    'epoch="e", keys=("__proto__";v="1" "constructor";v="2")',
    JSON.parse('{"__proto__":1,"constructor":2}'),
  ],
  ["the epoch behind the keys", 'keys=("a";v="5"), epoch="e"', { a: 5 }],
  ["two fields", 'epoch="e", keys=("a";v="5"), epoch="e", keys=("a";v="4" "b";v="1")', { a: 4, b: 1 }],
];

for (const [name, field, versions] of good) {
  test(`parseStamp() reads ${name}`, () => {
    assert.deepEqual(parseStamp(field), { epoch: "e", versions });
  });
}

test("parseStamp() reads an empty epoch", () => {
  assert.deepEqual(parseStamp('epoch="", keys=("a";v="5")'), { epoch: "", versions: { a: 5 } });
});

for (
  const [name, field] of [
    ["parts of different epochs", 'epoch="e", keys=("a";v="5"), epoch="f", keys=("b";v="3")'],
    ["a key with and without a node", 'epoch="e", keys=("a";v="5" "b";v="3"), epoch="e", keys=("a";v="0")'],
    ["a key without and with a node", 'epoch="e", keys=("a";v="0" "b";v="3"), epoch="e", keys=("a";v="5")'],
  ] as const
) {
  test(`parseStamp() gives ${name} an epoch that no server has`, () => {
    const { epoch, versions } = parseStamp(field)!;
    assert.deepEqual([epoch, Object.keys(versions)], ["mixed", ["a", "b"]]);
  });
}

for (
  const field of [
    null,
    undefined,
    "",
    "e",
    'keys=("a";v="1")',
    'epoch="e", keys=("a";v="9007199254740993")',
    'epoch="e", keys=("a")',
    'epoch="e", keys=("a";v=1)',
    'epoch="e", keys=(%"%ff";v="1")',
  ]
) {
  test(`parseStamp() returns undefined for ${field}`, () => {
    assert.equal(parseStamp(field), undefined);
  });
}

test("parseStamp() reads what server.stamp() writes, for keys of all alphabets", async () => {
  await using server = new RealityServer({ storage: new MemoryStorage() });
  const keys = ["a", 'say "hi" \\', "café", "键:1", "%41", "__proto__", "👩‍🚀", "a b", "(x);v=1,"];
  for (const key of keys.slice(1)) await server.updateNode(key, "1");
  const stamp = await server.stamp(keys);
  const parsed = parseStamp(stamp.headers["reality-stamp"]);
  assert.deepEqual(parsed, { ...stamp.toJSON(), versions: { ...stamp.toJSON().versions } });
  assert.equal(Object.keys(parsed!.versions).length, keys.length);
  await server.updateNode("a", "2");
  const joined = joinStamps(stamp, await server.stamp(["a"]));
  assert.ok(parseStamp(joined.headers["reality-stamp"])!.versions["a"]! > 0);
});
