import assert from "node:assert/strict";
import { test } from "../harness.ts";
import { examineFault, FAULTS } from "./faults.ts";

const HISTORIES = 200;

for (const fault of FAULTS) {
  test(`the simulation notices when ${fault.name}`, async () => {
    const failed = await examineFault(fault, HISTORIES);
    assert.notEqual(failed, undefined, `${HISTORIES} histories went by and none failed`);
  });
}
