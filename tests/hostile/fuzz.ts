/**
 * Fuzzes what reads input from outside, guided by the code that it reaches: `deno task fuzz [seconds] [seed]`.
 *
 * @module
 */
import process from "node:process";
import { Coverage } from "./coverage.ts";
import { fuzz } from "./fuzzer.ts";
import { FILES, TARGETS } from "./targets.ts";

const [seconds = 60, seed = Math.floor(Math.random() * 2 ** 31)] = process.argv.slice(2).map(Number);
console.log(`seed ${seed}, ${seconds} s`);

const end = performance.now() + seconds * 1_000;
const coverage = await Coverage.start(FILES);
const { executions, kept, failures } = await fuzz(TARGETS, {
  seed,
  goesOn: () => performance.now() < end,
  coverage,
});
const { known, reached } = coverage?.blocks ?? { known: 0, reached: 0 };
await coverage?.stop();

console.log(`${executions} executions, ${kept} inputs kept, ${reached} of ${known} blocks reached`);
for (const { target, input, error } of failures) {
  console.log(
    `\n${target} failed at ${JSON.stringify(new TextDecoder().decode(input))}, bytes [${input.join()}]`,
  );
  console.log(error);
}
console.log(`${failures.length} failures`);
process.exitCode = failures.length === 0 ? 0 : 1;
