/**
 * Gets what the tests need on a machine that has npm and nothing else: runtimes, packages, a browser.
 *
 * @module
 */

/** The runtimes by npm package, in the exact versions that the tests are known to pass on. */
const versions: Record<string, string> = {
  node24: "24.21.0",
  node22: "22.23.3",
  node20: "20.20.2",
  bun: "1.4.5",
};

/** Where the runtimes are kept between runs. */
const cache = ".cache/runtimes";

/** Absolute paths of what the tests run on. */
export interface Machine {
  deno: string;
  node24: string;
  node22: string;
  node20: string;
  bun: string;
  /** A Chromium, or why it is missing. */
  chromium: string | { missing: string };
}

/** Finds or fetches everything; what is already there is used as it is. */
export async function prepareMachine(): Promise<Machine> {
  const ownNode20 = await installRuntimes();
  await installPackages();
  return {
    deno: Deno.execPath(),
    node24: await pathOf("node24"),
    node22: await pathOf("node22"),
    node20: ownNode20 ?? await pathOf("node20"),
    bun: await pathOf("bun"),
    chromium: await findChromium(),
  };
}

/**
 * Installs the runtimes that are missing.
 *
 * @returns The path of the machine's own Node 20; then none is installed.
 */
export async function installRuntimes(): Promise<string | undefined> {
  const ownNode20 = await findNode20();
  const wanted = Object.keys(versions).filter((name) => name !== "node20" || !ownNode20);
  const missing: string[] = [];
  for (const name of wanted) if (await installedVersion(name) !== versions[name]) missing.push(name);
  if (missing.length > 0) await fetchRuntimes(wanted);
  return ownNode20;
}

/**
 * Installs the packages of `deno.json`. `deno install` also loads every export. When an export is broken, the
 * packages are installed nevertheless, and the tests say what is wrong.
 */
export async function installPackages(): Promise<void> {
  await run([Deno.execPath(), "install", "--quiet"], "Cannot install the packages of deno.json")
    .catch((error: Error) => console.log(error.message));
}

async function fetchRuntimes(names: readonly string[]): Promise<void> {
  const cpu = Deno.build.arch === "x86_64" ? "x64" : "arm64";
  const specifiers = names.map((name) =>
    name === "bun"
      ? `bun@npm:@oven/bun-${Deno.build.os}-${cpu === "arm64" ? "aarch64" : cpu}@${versions[name]}`
      : `${name}@npm:node-${Deno.build.os}-${cpu}@${versions[name]}`
  );
  await Deno.mkdir(cache, { recursive: true });
  // A manifest keeps npm in this folder. Without scripts nothing but files is unpacked.
  await Deno.writeTextFile(`${cache}/package.json`, "{}\n");
  const flags = ["--ignore-scripts", "--no-audit", "--no-fund", "--no-package-lock", "--loglevel=error"];
  await run(["npm", "install", ...flags, ...specifiers], "Cannot install the runtimes with npm", cache);
}

async function installedVersion(name: string): Promise<string | undefined> {
  try {
    return JSON.parse(await Deno.readTextFile(`${cache}/node_modules/${name}/package.json`)).version;
  } catch {
    return undefined;
  }
}

function pathOf(name: string): Promise<string> {
  const program = name === "bun" ? "bun" : "node";
  return Deno.realPath(`${cache}/node_modules/${name}/bin/${program}`);
}

async function findNode20(): Promise<string | undefined> {
  const path = await lookUp("node");
  if (!path) return undefined;
  const { stdout } = await new Deno.Command(path, { args: ["--version"] }).output();
  return new TextDecoder().decode(stdout).startsWith("v20.") ? path : undefined;
}

async function findChromium(): Promise<Machine["chromium"]> {
  const found = Deno.env.get("REALITY_CHROMIUM") ?? await lookUp("chromium");
  if (found) return found;
  if (Deno.build.os !== "linux" || Deno.uid() !== 0) {
    return { missing: "no Chromium: install it, or name one in REALITY_CHROMIUM" };
  }
  try {
    const apt = ["apt-get", "-qq", "-o", "DPkg::Lock::Timeout=120"];
    await run([...apt, "update"], "Cannot update the package lists");
    await run([...apt, "install", "-y", "--no-install-recommends", "chromium"], "Cannot install Chromium");
    return await lookUp("chromium") ?? { missing: "no Chromium: its package brought none" };
  } catch (error) {
    return { missing: error instanceof Error ? error.message : String(error) };
  }
}

async function lookUp(program: string): Promise<string | undefined> {
  for (const folder of (Deno.env.get("PATH") ?? "").split(":")) {
    const path = `${folder}/${program}`;
    if (await Deno.stat(path).then((found) => found.isFile, () => false)) return path;
  }
}

async function run(command: readonly string[], failure: string, cwd = "."): Promise<void> {
  const [program = "", ...args] = command;
  const env = { DEBIAN_FRONTEND: "noninteractive" };
  const { code, stdout, stderr } = await new Deno.Command(program, { args, cwd, env }).output();
  if (code === 0) return;
  const text = new TextDecoder().decode(stdout) + new TextDecoder().decode(stderr);
  throw new Error(`${failure}: exit code ${code}\n${text.trimEnd().split("\n").slice(-20).join("\n")}`);
}
