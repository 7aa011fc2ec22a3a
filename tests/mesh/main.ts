/**
 * Runs many histories: `deno task test:mesh [count] [first seed]`, by default 200,000 from a random seed on.
 * With one seed it prints every step.
 *
 * @module
 */
import { LOW_LIMITS, withEdits } from "./faults.ts";
import { LONG_SEEDS } from "./history.ts";
import { drawSeed } from "./tally.ts";

const [count = 200_000, first = drawSeed()] = Deno.args.map(Number);

if (first < LONG_SEEDS) await examine(import.meta.resolve("./"));
else await withEdits(LOW_LIMITS, (folder) => examine(`${folder}/`));

/** @param folder The URL of this folder, or of a copy. */
async function examine(folder: string): Promise<void> {
  const { createHistory }: typeof import("./history.ts") = await import(`${folder}history.ts`);
  const { run }: typeof import("./simulation.ts") = await import(`${folder}simulation.ts`);
  const { examine }: typeof import("./examine.ts") = await import(`${folder}examine.ts`);
  if (count === 1) {
    const outbox = Deno.env.get("REALITY_MESH_OUTBOX") === "1";
    const history = createHistory(first);
    const { faults, ...figures } = await run(outbox ? { ...history, outbox } : history, console.log);
    console.log(figures, faults);
    Deno.exitCode = faults.length > 0 ? 1 : 0;
  } else {
    console.log(`${count} histories from seed ${first} on`);
    const start = performance.now();
    const tally = await examine({ first, count, onProgress: (line) => console.log(line) });
    console.log(
      `${tally.report()}\n${((performance.now() - start) / 1000).toFixed(1)} s from seed ${first} on`,
    );
    Deno.exitCode = tally.failures.length > 0 ? 1 : 0;
  }
}
