import assert from "node:assert/strict";
import process from "node:process";
import { test } from "../harness.ts";
import { examine } from "./examine.ts";
import { createHistory } from "./history.ts";
import { HEALING_ROUNDS, run } from "./simulation.ts";

const { REALITY_MESH_SEED: first = "1", REALITY_MESH_COUNT: count = "2000" } = process.env;

test(`servers keep their promise and become one in ${count} histories from seed ${first} on`, async () => {
  const { failed, report, totals } = await examine({ first: Number(first), count: Number(count) });
  console.log(report);
  assert.equal(failed, undefined, report);
  // They must have been put to the test, too.
  assert.ok(totals.pairs > totals.changes / 4 && totals.pages > 0 && totals.rounds < HEALING_ROUNDS, report);
  assert.ok(totals.published > 0, report);
  // Numbers are drawn above a clock; where several storages come upon the same one, nothing can be said.
  assert.ok(totals.drawnTwice < totals.pairs / 1000, report);
});

test("run() does the same again for the same seed, signatures included", async () => {
  for (const seed of [3, 7]) {
    const lines: string[][] = [[], []];
    for (const list of lines) {
      await run({ ...createHistory(seed), realCrypto: true }, (line) => list.push(line));
    }
    assert.ok(lines[0]!.length > 100);
    assert.deepEqual(lines[0], lines[1]);
  }
});
