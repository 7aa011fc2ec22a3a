/**
 * Runs histories in a process of its own: reads a seed a line, and writes a line with what each came to. Ends with its
 * input.
 *
 * @module
 */
import process from "node:process";
import { createInterface } from "node:readline";
import { createHistory } from "./history.ts";
import { run } from "./simulation.ts";

for await (const seed of createInterface({ input: process.stdin })) {
  process.stdout.write(`${JSON.stringify(await run(createHistory(Number(seed))))}\n`);
}
