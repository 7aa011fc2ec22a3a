import assert from "node:assert/strict";
import { test } from "../harness.ts";
import { Coverage } from "./coverage.ts";
import { fuzz, type Target } from "./fuzzer.ts";
import { FILES, TARGETS } from "./targets.ts";

/** So many executions take some seconds. `deno task fuzz` takes as long as it is told to. */
const EXECUTIONS = 3_000;

test("fuzz() finds no fault in the parsers, and reaches more blocks than its seeds", async () => {
  const seed = Math.floor(Math.random() * 2 ** 31);
  console.log(`deno task fuzz 60 ${seed} begins with the same seed`);
  const coverage = await Coverage.start(FILES);
  const goesOn = (executions: number) => executions < EXECUTIONS;
  const { executions, kept, failures } = await fuzz(TARGETS, { seed, goesOn, coverage });
  assert.deepEqual(failures.map(({ target, input, error }) => [target, [...input], String(error)]), []);
  assert.ok(executions >= EXECUTIONS);
  if (coverage === null) return;
  const seeds = TARGETS.reduce((sum, target) => sum + target.seeds.length, 0);
  assert.ok(kept > seeds + 20, `${kept} inputs were kept`);
  const { known, reached } = coverage.blocks;
  assert.ok(reached > known / 2, `${reached} of ${known} blocks were reached`);
  await coverage.stop();
});

test("fuzz() finds an injected fault, and minimizes its input", async () => {
  const target: Target = {
    name: "planted",
    seeds: ['{"known":{"a":0}}'],
    run(input) {
      const text = new TextDecoder().decode(input);
      if (text.includes("__proto__") && text.includes("]")) {
        throw new TypeError(`Cannot bear ${input.length} bytes`);
      }
      return Promise.resolve();
    },
  };
  const goesOn = (executions: number) => executions < 50_000;
  const { failures } = await fuzz([target], { seed: 7, goesOn: (n) => goesOn(n), coverage: null });
  assert.equal(failures.length, 1);
  const [failure] = failures;
  assert.equal(failure?.input.length, "__proto__".length + "]".length);
});
