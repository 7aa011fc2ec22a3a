import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { CACHE_FAULTS, FAULTS as CLIENT_FAULTS } from "../client/faults.ts";
import { FAULTS } from "../mesh/faults.ts";
import { test } from "../harness.ts";

test("each text that a fault of the mesh simulation replaces occurs once in its file", () => {
  for (const { name, edits } of FAULTS) {
    for (const { file, find } of edits) {
      assert.equal(readFileSync(file, "utf8").split(find).length, 2, `${name}: ${file}: ${find}`);
    }
  }
});

test("each text that a fault of the client simulations replaces occurs once in its file", () => {
  for (const { name, file, find } of [...CLIENT_FAULTS, ...CACHE_FAULTS]) {
    assert.equal(readFileSync(`client/${file}`, "utf8").split(find).length, 2, `${name}: ${file}: ${find}`);
  }
});
