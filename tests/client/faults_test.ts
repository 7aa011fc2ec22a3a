import assert from "node:assert/strict";
import { test } from "../harness.ts";
import { runCacheHistory } from "./cache_simulation.ts";
import type { ClientModule } from "./simulation.ts";
import { CACHE_FAULTS, examineFault, FAULTS } from "./faults.ts";

const HISTORIES = 500;
// The rarest of these faults shows in one history of twenty.
const CACHE_HISTORIES = 400;

for (const fault of FAULTS) {
  test(`the simulation notices when ${fault.name}`, async () => {
    const failed = await examineFault(fault, HISTORIES);
    assert.notEqual(failed, undefined, `${HISTORIES} histories went by and none failed`);
  });
}

// What the simulation notices does not depend on the runtime.
for (const fault of "Deno" in globalThis ? CACHE_FAULTS : []) {
  test(`the simulation of caches notices when ${fault.name}`, async () => {
    const run = (seed: number, client: ClientModule) => runCacheHistory(seed, fault.kind, client);
    const failed = await examineFault(fault, CACHE_HISTORIES, run);
    assert.notEqual(failed, undefined, `${CACHE_HISTORIES} histories went by and none failed`);
  });
}
