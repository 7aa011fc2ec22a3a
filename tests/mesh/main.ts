/**
 * Runs many histories: `deno task test:mesh [count] [first seed]`. With one seed it tells all that happens.
 *
 * @module
 */
import { createHistory } from "./history.ts";
import { examine } from "./examine.ts";
import { run } from "./simulation.ts";

const [count = 200_000, first = 1] = Deno.args.map(Number);

if (count === 1) {
  const { faults, ...figures } = await run(createHistory(first), console.log);
  console.log(figures, faults);
} else {
  const start = performance.now();
  const result = await examine({ first, count, onProgress: (line) => console.log(line) });
  console.log(result.report);
  console.log(`${((performance.now() - start) / 1000).toFixed(1)} s`);
  Deno.exitCode = result.failed ? 1 : 0;
}
