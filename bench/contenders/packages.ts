/**
 * Packages that only the benches need. The first bench that uses them installs them with npm into `.cache/contenders`,
 * so no other task installs them.
 *
 * @module
 */
import { execFileSync } from "node:child_process";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import process from "node:process";
import { fileURLToPath, pathToFileURL } from "node:url";

/** The packages, in the exact versions that are measured. */
export const PACKAGES = {
  "@rootlodge/reality-server": "1.2.2",
  "@socket.io/redis-adapter": "8.3.0",
  "socket.io": "4.8.4",
} as const;

type PackageName = keyof typeof PACKAGES;

/** The module that a package's import loads. */
const MODULES: Readonly<Record<PackageName, string>> = {
  "@rootlodge/reality-server": "dist/index.mjs",
  "@socket.io/redis-adapter": "dist/index.js",
  "socket.io": "wrapper.mjs",
};

/** A bench that runs a copy of these files elsewhere names the folder. */
const FOLDER = process.env.REALITY_BENCH_PACKAGES ??
  fileURLToPath(new URL("../../.cache/contenders/", import.meta.url));

/** Fetches what is not there yet. */
export function fetchPackages(): void {
  const missing = (Object.keys(PACKAGES) as PackageName[]).filter((name) =>
    versionOf(name) !== PACKAGES[name]
  );
  if (missing.length === 0) return;
  process.stderr.write(`  fetching ${missing.join(", ")}\n`);
  mkdirSync(FOLDER, { recursive: true });
  // With a manifest, npm installs into this folder. Without scripts, it only unpacks files.
  writeFileSync(`${FOLDER}package.json`, "{}\n");
  const flags = ["--ignore-scripts", "--no-audit", "--no-fund", "--no-package-lock", "--loglevel=error"];
  const wanted = Object.entries(PACKAGES).map(([name, version]) => `${name}@${version}`);
  execFileSync("npm", ["install", ...flags, ...wanted], { cwd: FOLDER, stdio: ["ignore", 2, 2] });
}

/** Loads one of them. */
export async function importPackage<Module>(name: PackageName): Promise<Module> {
  fetchPackages();
  return await import(pathToFileURL(`${FOLDER}node_modules/${name}/${MODULES[name]}`).href);
}

function versionOf(name: string): string | undefined {
  try {
    return JSON.parse(readFileSync(`${FOLDER}node_modules/${name}/package.json`, "utf8")).version;
  } catch {
    return undefined;
  }
}
