/**
 * Format, lint, types, docs, prose and a trial of publishing: `deno task check`. They run at the same time, and a check
 * that fails does not stop the others.
 *
 * @module
 */

const config: { exports: Record<string, string> } = JSON.parse(await Deno.readTextFile("deno.json"));
// CI publishes what is committed. While you work, changes may be uncommitted.
const dirty = Deno.env.get("CI") === "true" ? [] : ["--allow-dirty"];
// tests/jsr has its own settings and needs packages from JSR, which some machines cannot reach.
const tests = [...Deno.readDirSync("tests")].map(({ name }) => `tests/${name}`)
  .filter((path) => path !== "tests/jsr" && !path.endsWith(".md"));
const checks = [
  ["fmt", "--check"],
  ["lint"],
  ["check", "mod.ts", "adapters", "bench", "cli", "client", "examples", "src", "storage", "tools", ...tests],
  ["doc", "--lint", ...Object.values(config.exports)],
  ["run", "--quiet", "--no-check", "--allow-read", "--allow-run", "tools/check_docs.ts"],
  ["run", "--quiet", "--no-check", "--allow-read", "tools/check_prose.ts"],
  ["publish", "--dry-run", ...dirty],
];

// All at once: checking types and trying to publish take long, and use one core each.
const results = checks.map(async (args) => {
  const start = performance.now();
  const output = await new Deno.Command(Deno.execPath(), { args }).output();
  return { ...output, seconds: ((performance.now() - start) / 1000).toFixed(1) };
});

let failed = 0;
for (const [i, args] of checks.entries()) {
  const { success, stdout, stderr, seconds } = await results[i]!;
  const name = args[0] === "run" ? args.at(-1) : `deno ${args.slice(0, 2).join(" ")}`;
  console.log(`${success ? "ok" : "FAILED"} ${name}, ${seconds} s`);
  if (success) continue;
  failed++;
  for (const output of [stdout, stderr]) console.log(new TextDecoder().decode(output).trim());
}
console.log(`\n${checks.length - failed} passed, ${failed} failed, 0 skipped`);
Deno.exit(failed > 0 ? 1 : 0);
