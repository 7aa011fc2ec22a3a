import assert from "node:assert/strict";
import { test } from "../harness.ts";
import { examineFault, FAULTS } from "./faults.ts";

for (const fault of FAULTS) {
  test(`the simulation notices within ${fault.histories} histories when ${fault.name}`, async () => {
    const failed = await examineFault(fault);
    assert.notEqual(failed, undefined, `${fault.histories} histories went by and none failed`);
  });
}
