import assert from "node:assert/strict";
import { measureFunctions, percentileOf } from "../../tools/code_size.ts";
import { test } from "../harness.ts";

test("percentileOf() returns a value of the list, and 0 without values", () => {
  assert.equal(percentileOf([30, 10, 20], 0.5), 20);
  assert.equal(percentileOf([1, 2, 3, 4, 5, 6, 7, 8, 9, 10], 0.9), 9);
  assert.equal(percentileOf([], 0.5), 0);
});

test("measureFunctions() counts the lines of a function without those of its literals", () => {
  const text = "function a() {\n  const b = [\n    1,\n    2,\n  ];\n  return b;\n}\nconst c = () => 1;\n";
  assert.deepEqual(measureFunctions("x.ts", text), [
    { lines: 5, name: "x.ts:1 a" },
    { lines: 1, name: "x.ts:8 (anonymous)" },
  ]);
});
