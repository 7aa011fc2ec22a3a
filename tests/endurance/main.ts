/**
 * Three servers, one each on Deno, Node and Bun, with thousands of clients that wait, a steady rate of changes and
 * deletions and a fault every minute, for an hour: `main.ts [minutes, or seconds as in 150s] [clients]
 * [changesPerSecond]`, 60, 5000 and 200 unless told otherwise. A run of less than half an hour leaves its figures in `test-output/`.
 *
 * @module
 */
import { spawn } from "node:child_process";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { findRuntime, RUNTIMES } from "../../bench/runtimes.ts";
import { installPackages, installRuntimes } from "../run/machine.ts";

await installRuntimes();
await installPackages();
const commands = RUNTIMES.map((name) => [name, findRuntime(name)] as const);
for (const [name, command] of commands) {
  if (command === undefined) {
    throw new Error(`Cannot run: there is no ${name}; name one in REALITY_${name.toUpperCase()}`);
  }
  process.env[`REALITY_${name.toUpperCase()}`] = command[0];
}
// The clients are the same whatever the servers run on. In a group of its own, since Ctrl-C would end the servers first.
const script = fileURLToPath(new URL("./run.ts", import.meta.url));
const [program = "", ...flags] = findRuntime("node")!;
const child = spawn(program, [...flags, script, ...process.argv.slice(2)], {
  stdio: "inherit",
  detached: true,
});
// It ends its servers before it ends itself.
for (const signal of ["SIGINT", "SIGTERM"] as const) process.on(signal, () => child.kill("SIGTERM"));
process.exit(await new Promise<number>((resolve) => child.once("close", (code) => resolve(code ?? 1))));
