import { equal, throws } from "node:assert/strict";
import { ConcurrencyLimit } from "../../../src/limits/concurrency.ts";
import { test } from "../../harness.ts";

test("enter() accepts up to the maximum, and one more after each leave()", () => {
  const admission = new ConcurrencyLimit(2);
  admission.enter();
  admission.enter();
  throws(() => admission.enter(), {
    code: "ERR_REALITY_OVERLOADED",
    status: 503,
    message: /maxRequests \(2\)/,
  });
  equal(admission.busy, 2);
  admission.leave();
  admission.enter();
  equal(admission.busy, 2);
});

test("waiting requests are not counted until they leave", () => {
  const admission = new ConcurrencyLimit(1);
  for (let i = 0; i < 5; i++) {
    admission.enter();
    admission.startWait();
  }
  admission.enter();
  throws(() => admission.enter(), { code: "ERR_REALITY_OVERLOADED" });
  for (let i = 0; i < 5; i++) {
    admission.endWait();
    admission.leave();
  }
  equal(admission.busy, 1);
});
