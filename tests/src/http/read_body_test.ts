import { equal, throws } from "node:assert/strict";
import { declaredLength } from "../../../src/http/read_body.ts";
import { test } from "../../harness.ts";

test("declaredLength() reads a length, and 0 if it has no number", () => {
  equal(declaredLength("12", 12), 12);
  // All bodies share one sum of their lengths, in which "NaN" would stay.
  for (const header of [null, "", "0", "-5", "x", "5, 5"]) equal(declaredLength(header, 12), 0);
  throws(() => declaredLength("13", 12), { code: "ERR_REALITY_BODY_TOO_LARGE" });
});
