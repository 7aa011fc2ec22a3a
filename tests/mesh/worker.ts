/**
 * Runs histories in a process of its own: reads one seed per line, and writes one line with each outcome. Ends with its
 * input.
 *
 * @module
 */
import process from "node:process";
import { createInterface } from "node:readline";
import { createHistory } from "./history.ts";
import { run } from "./simulation.ts";

// Stack traces of errors, which are part of many histories, take a tenth of the time.
Error.stackTraceLimit = 0;

for await (const seed of createInterface({ input: process.stdin })) {
  process.stdout.write(`${JSON.stringify(await run(createHistory(Number(seed))))}\n`);
}
