/**
 * Builds the npm package into `npm/`: what `deno pack` makes, with the parts of the manifest that it leaves
 * out.
 *
 * @module
 */
import { dirname, normalize } from "node:path/posix";
import { stop as stopBundler } from "esbuild";
import { joinModules } from "./join_modules.ts";

const staging = ".cache/npm";
const target = "npm";
const repository = "https://github.com/rootlodge/reality";

const config = JSON.parse(await Deno.readTextFile("deno.json"));

await Deno.remove(staging, { recursive: true }).catch(() => {});
await Deno.mkdir(staging, { recursive: true });
for (const path of ["mod.ts", "src", "storage", "adapters", "cli", "client", "README.md", "LICENSE"]) {
  await copy(path);
}
const { name, version, license, exports, imports, compilerOptions } = config;
const packConfig = {
  name,
  version,
  license,
  exports,
  imports,
  compilerOptions,
  nodeModulesDir: "none",
  lock: false,
};
await Deno.writeTextFile(`${staging}/deno.json`, JSON.stringify(packConfig));
const flags = ["--quiet", "--no-source-maps", "--allow-dirty", "--output", "package.tgz"];
await run(Deno.execPath(), ["pack", ...flags], staging);

await Deno.remove(target, { recursive: true }).catch(() => {});
await Deno.mkdir(target);
await run("tar", ["-xzf", `${staging}/package.tgz`, "--strip-components=1", "-C", target]);
const { dependencies = {}, ...packed } = JSON.parse(await Deno.readTextFile(`${target}/package.json`));
await join(target, Object.values<{ default: string }>(packed.exports).map((entry) => entry.default));
stopBundler();
await slim(target);
for (const page of ["README.md", "CHANGELOG.md", "SECURITY.md"]) {
  await Deno.writeTextFile(`${target}/${page}`, toPublicLinks(await Deno.readTextFile(page)));
}

// The command has a name of its own.
delete packed.exports["./bin"];
// Loaded by a name that no build can see, and needed only beside a bare DynamoDBClient.
const lazy = "@aws-sdk/client-dynamodb";
dependencies[lazy] = config.imports[lazy].replace(`npm:${lazy}@`, "");
// Loaded in the same way, by `reality-server track --apply`.
dependencies.mysql2 = config.imports.mysql2.replace("npm:mysql2@", "");
// Tested with both.
dependencies.ioredis = "^5.0.0 || ^6.0.0";
// Its client is passed in, so nothing imports it.
dependencies["@tanstack/query-core"] = "^5.0.0";
const manifest = {
  ...packed,
  description: "Live data over plain HTTP: clients ask what changed, or wait until something does",
  keywords: ["realtime", "live", "sync", "invalidation", "long-polling", "server-sent-events", "mesh"],
  homepage: `${repository}#readme`,
  bugs: `${repository}/issues`,
  repository: { type: "git", url: `git+${repository}.git` },
  engines: { node: ">=20" },
  bin: { "reality-server": "cli/bin.js" },
  // For "node10", which TypeScript uses with `module: "commonjs"`: it does not read `exports`.
  typesVersions: {
    "*": Object.fromEntries(
      Object.entries<{ types: string }>(packed.exports).filter(([key]) => key !== ".")
        .map(([key, { types }]) => [key.slice(2), [types]]),
    ),
  },
  peerDependencies: dependencies,
  peerDependenciesMeta: Object.fromEntries(
    Object.keys(dependencies).map((name) => [name, { optional: true }]),
  ),
};
await Deno.writeTextFile(`${target}/package.json`, JSON.stringify(manifest, null, 2) + "\n");
await Deno.chmod(`${target}/cli/bin.js`, 0o755);
console.log(`Built ${name} ${version} in ${target}/`);

async function copy(path: string): Promise<void> {
  if ((await Deno.stat(path)).isFile) return await Deno.copyFile(path, `${staging}/${path}`);
  await Deno.mkdir(`${staging}/${path}`);
  for await (const entry of Deno.readDir(path)) await copy(`${path}/${entry.name}`);
}

/**
 * Joins the modules behind the entries into few files. Comments go, which the types have too; names stay, so that stack
 * traces can be read.
 */
async function join(folder: string, entries: readonly string[]): Promise<void> {
  const outputFiles = await joinModules({
    folder: Deno.realPathSync(folder),
    main: "mod.js",
    entries: entries.map((entry) => normalize(entry)),
    outdir: ".",
  });
  await removeModules(folder);
  for (const { path, contents } of outputFiles) {
    await Deno.mkdir(dirname(path), { recursive: true });
    await Deno.writeTextFile(path, contents);
  }
}

async function removeModules(folder: string): Promise<void> {
  for await (const { name, isDirectory } of Deno.readDir(folder)) {
    const path = `${folder}/${name}`;
    if (isDirectory) await removeModules(path);
    else if (name.endsWith(".js")) await Deno.remove(path);
  }
}

/** Makes links of a page lead to the repository, since the package has no other pages. */
function toPublicLinks(page: string): string {
  return page.replaceAll(
    /(\]\(|\b(?:src|srcset|href)=")(?!#|\w+:)([^)"]+)/g,
    (_, before, path) =>
      `${before}${repository}/${/\.(?:svg|png)$/.test(path) ? "raw" : "blob"}/main/${path}`,
  );
}

/** Leaves out what an installed package does not need: sources, the pages about them, and white space in JSON. */
async function slim(folder: string): Promise<void> {
  for await (const { name, isDirectory } of Deno.readDir(folder)) {
    const path = `${folder}/${name}`;
    if (isDirectory) await slim(path);
    else if (name.endsWith(".ts") && !name.endsWith(".d.ts")) await Deno.remove(path);
    else if (name === "README.md") await Deno.remove(path);
    else if (name === "openapi.json") await rewrite(path, (text) => JSON.stringify(JSON.parse(text)));
  }
}

async function rewrite(path: string, change: (text: string) => string): Promise<void> {
  await Deno.writeTextFile(path, change(await Deno.readTextFile(path)));
}

async function run(program: string, args: string[], cwd = "."): Promise<void> {
  const { success } = await new Deno.Command(program, { args, cwd, stdout: "inherit" }).spawn().status;
  if (!success) Deno.exit(1);
}
