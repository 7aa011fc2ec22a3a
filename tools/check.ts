/**
 * Format, lint, types, docs and a trial of publishing: `deno task check`. All are done, whatever fails before.
 *
 * @module
 */

const config: { exports: Record<string, string> } = JSON.parse(await Deno.readTextFile("deno.json"));
// What CI publishes is what is committed; at work, most of it is not.
const dirty = Deno.env.get("CI") === "true" ? [] : ["--allow-dirty"];
// What is in tests/jsr needs packages from JSR, which not every machine reaches, and has settings of its own.
const tests = [...Deno.readDirSync("tests")].map(({ name }) => `tests/${name}`)
  .filter((path) => path !== "tests/jsr" && !path.endsWith(".md"));
const checks = [
  ["fmt", "--check"],
  ["lint"],
  ["check", "mod.ts", "adapters", "bench", "cli", "examples", "src", "storage", "tools", ...tests],
  ["doc", "--lint", ...Object.values(config.exports)],
  ["publish", "--dry-run", ...dirty],
];

let failed = 0;
for (const args of checks) {
  const start = performance.now();
  const { success, stdout, stderr } = await new Deno.Command(Deno.execPath(), { args }).output();
  const seconds = ((performance.now() - start) / 1000).toFixed(1);
  console.log(`${success ? "ok" : "FAILED"} deno ${args.slice(0, 2).join(" ")}, ${seconds} s`);
  if (success) continue;
  failed++;
  for (const output of [stdout, stderr]) console.log(new TextDecoder().decode(output).trim());
}
console.log(`\n${checks.length - failed} passed, ${failed} failed, 0 skipped`);
Deno.exit(failed > 0 ? 1 : 0);
