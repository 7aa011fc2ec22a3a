import { equal, throws } from "node:assert/strict";
import { type BodyOwner, declaredLength, parseDecoded, parseJSON } from "../../../src/http/read_body.ts";
import { test } from "../../harness.ts";

test("declaredLength() reads a length, and 0 if it has no number", () => {
  equal(declaredLength("12", 12), 12);
  // All bodies share one sum of their lengths, in which "NaN" would stay.
  for (const header of [null, "", "0", "-5", "x", "5, 5"]) equal(declaredLength(header, 12), 0);
  throws(() => declaredLength("13", 12), { code: "ERR_REALITY_BODY_TOO_LARGE" });
});

const TEXTS: readonly (readonly [text: string, isPlain: boolean])[] = [
  [`{"known":{"chat:!~ ":0}}`, true],
  [`\t{\r\n"known":{} }`, true],
  [`{"a\\u0000":0}`, false],
  [`{"\\ud800":0}`, false],
  [`{"\x7f":0}`, false],
  [`{"\x85":0}`, false],
  [`{"é":0}`, false],
  [`{"日":0}`, false],
  [`{"😀":0}`, false],
  [`{"\ufffd":0}`, false],
  [`\ufeff{"a":0}`, false],
];

test("parsing tells whether all strings of a body contain only visible ASCII", () => {
  for (const [text, isPlain] of TEXTS) {
    const bytes = new TextEncoder().encode(text);
    const [first, second]: BodyOwner[] = [{}, {}];
    parseJSON(bytes, first);
    // Runtimes drop a byte order mark.
    parseDecoded(text.replace("\ufeff", ""), bytes.byteLength, second!);
    equal(first!.hasPlainStrings ?? false, isPlain, JSON.stringify(text));
    equal(second!.hasPlainStrings ?? false, isPlain, JSON.stringify(text));
  }
});

test("a byte that is not UTF-8 leaves a text as long as its bytes, and is refused", () => {
  const bytes = new TextEncoder().encode(`{"a?":0}`);
  bytes[3] = 0xff;
  const text = new TextDecoder().decode(bytes);
  equal(text.length, bytes.byteLength);
  throws(() => parseJSON(bytes, {}), { code: "ERR_REALITY_BAD_REQUEST" });
  throws(() => parseDecoded(text, bytes.byteLength, {}), { code: "ERR_REALITY_BAD_REQUEST" });
});
