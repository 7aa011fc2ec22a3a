import assert from "node:assert/strict";
import { type Item, type Member, parseDictionary } from "../../../cli/check/structured_field.ts";
import { parseStampStrictly } from "../../../cli/check/stamped_answer.ts";
import { formatField } from "../../../src/stamp/field.ts";
import { test } from "../../harness.ts";
import { SeededRandom } from "../../random.ts";

/** The members as plain values: `type value` for an item, with its parameters behind it. */
function plain(text: string): unknown {
  const item = ({ type, value, parameters }: Item): string =>
    [`${type} ${value}`, ...[...parameters].map(([key, value]) => `${key}=${item(value)}`)].join("; ");
  const member = (value: Member) => "type" in value ? item(value) : value.map(item);
  return Object.fromEntries([...parseDictionary(text)].map(([key, value]) => [key, member(value)]));
}

test("parseDictionary() parses each type of RFC 9651", () => {
  const cases: [text: string, members: object][] = [
    ["", {}],
    ['a="x \\"y\\" \\\\", b=%"caf%c3%a9"', { a: 'string x "y" \\', b: "display string café" }],
    ["a, b;c, d=?0", { a: "boolean ?1", b: "boolean ?1; c=boolean ?1", d: "boolean ?0" }],
    ["a=-15, b=1.250 ,\tc=@1700000000", { a: "integer -15", b: "decimal 1.250", c: "date @1700000000" }],
    ["a=:aGk=:, b=*t/x;q=0.5", { a: "bytes :aGk=:", b: "token *t/x; q=decimal 0.5" }],
    ['a=( "x";v="1"  "y" );z, b=()', { a: ["string x; v=string 1", "string y"], b: [] }],
    ["a=999999999999999", { a: "integer 999999999999999" }],
  ];
  for (const [text, members] of cases) assert.deepEqual(plain(text), members, text);
});

test("parseDictionary() refuses what RFC 9651 refuses", () => {
  const texts = [
    ..."A=1|=1|a=|a=1,|a=1 b=2|a=1;|a=1;B|,a=1|a = 1|a=1, a=2".split("|"),
    ..."a=1000000000000000|a=1.|a=1.2345|a=--1|a=?2|a=@1.5|a=:a_b:".split("|"),
    ...['a="x', 'a="é"', 'a="\\n"', 'a="\u007f"', 'a=("x""y")', 'a=("x"', 'a=(("x"))', 'a=("x";v=("y"))'],
    ...['a=%"%C3%A9"', 'a=%"%c3"', 'a=%"%ff"', 'a=%"é"', 'a=%"%6"', 'a=%"%ed%a0%80"'],
  ];
  for (const text of texts) assert.throws(() => parseDictionary(text), SyntaxError, text);
});

test("each field that stamps write is a valid one with the same keys and versions", () => {
  const seed = Math.floor(Math.random() * 1e9);
  console.log(`seed ${seed}`);
  const random = new SeededRandom(seed);
  const characters = [
    "a",
    "Z",
    " ",
    '"',
    "\\",
    "%",
    ";",
    "=",
    ",",
    "(",
    "é",
    "ß",
    "日",
    "😀",
    "\u200d",
    "\ufeff",
  ];
  for (let i = 0; i < 300; i++) {
    const key = () => Array.from({ length: random.between(1, 8) }, () => random.pick(characters)).join("");
    const version = () => random.pick([0, 7, 2 ** 52, Number.MAX_SAFE_INTEGER]);
    const versions = Object.fromEntries(
      Array.from({ length: random.between(0, 4) }, () => [key(), version()]),
    );
    const field = formatField({ epoch: "0lqx1k2p3-x1y2z3w4", versions });
    // Only what travels in a header: a `Response` must accept it.
    const { headers } = new Response(null, { headers: { "reality-stamp": field } });
    const answer = { request: "GET /", status: 200, headers, text: "", json: undefined, elapsed: 0 };
    const stamp = parseStampStrictly(answer);
    assert.deepEqual(
      [stamp.epoch, Object.fromEntries(stamp.versions)],
      ["0lqx1k2p3-x1y2z3w4", versions],
      field,
    );
  }
});
