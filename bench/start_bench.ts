/**
 * From the start of a process to its first answer, beside a bare server: `node bench/start_bench.ts deno`.
 *
 * @module
 */
import { stop } from "esbuild";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdirSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import process from "node:process";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { joinModules } from "../tools/join_modules.ts";
import { fetchPackages } from "./contenders/packages.ts";
import { PUBLISHED_FIELDS } from "./contenders/published.ts";
import { openSocket, ReplyReader, requestBytes } from "./http/load.ts";
import { inTurn } from "./measure.ts";
import { finish, isQuick, progress, type Row } from "./report.ts";
import { findRuntime, type RuntimeName } from "./runtimes.ts";
import { serveRegistry } from "./start/registry.ts";

const rounds = isQuick ? 3 : 15;
/** Script → what the table calls it. */
const contenders: Record<string, string> = { bare: "bare", reality: "reality", published: "1.2.2" };
const ROOT = fileURLToPath(new URL("../", import.meta.url));
/** Below the root, so that packages are found from there as well. */
const BUILT = join(ROOT, ".cache/start");
const env = { ...process.env, REALITY_BENCH_PACKAGES: join(ROOT, ".cache/contenders/") };
const name = (process.argv[2] ?? "node") as RuntimeName;
const [program = "", ...flags] = findRuntime(name) ?? [];
if (program === "") throw new Error(`Cannot find ${name}: name it in a REALITY_ variable`);

fetchPackages();
await build();
const registry = name === "deno" ? await serveRegistry(ROOT) : undefined;
if (registry) {
  contenders.jsr = "reality, from JSR";
  writeFileSync(join(BUILT, "bench/start/jsr.js"), writeApplication(registry.specifier));
}
const body = JSON.stringify({ known: { a: 0 }, ...PUBLISHED_FIELDS });
const request = requestBytes("POST", "/reality/sync", body);
const took: Record<string, number[]> = {};
for (const label of Object.values(contenders)) took[label] = [];
progress(`${name}, process start to first answer`);
for (let round = 0; round <= rounds; round++) {
  for (const contender of inTurn(Object.keys(contenders), round)) {
    const time = await startOnce(contender);
    // The first round fills caches.
    if (round > 0) took[contenders[contender]!]!.push(time);
  }
}
registry?.close();
const version = await versionOf();
finish(
  "start",
  [
    {
      group: "process start to first answer",
      name: "one sync request",
      unit: "ms",
      base: "bare",
      figures: took,
    } satisfies Row,
  ],
  `${name} ${version}`,
);

/** Makes JavaScript of the contenders, joined into few files with what they share, as the npm package is. */
async function build(): Promise<void> {
  rmSync(BUILT, { recursive: true, force: true });
  const outputFiles = await joinModules({
    folder: ROOT.replace(/\/$/, ""),
    main: "mod.ts",
    entries: [
      ...Object.keys(contenders).map((contender) => `bench/start/${contender}.ts`),
      "mod.ts",
      "adapters/node.ts",
    ],
    outdir: BUILT,
  });
  await stop();
  for (const { path, contents } of outputFiles) {
    mkdirSync(dirname(path), { recursive: true });
    writeFileSync(path, contents);
  }
  writeFileSync(join(BUILT, "package.json"), `{ "type": "module" }\n`);
}

async function startOnce(contender: string): Promise<number> {
  const script = join(BUILT, `bench/start/${contender}.js`);
  const start = performance.now();
  const isFromJSR = registry && contender === "jsr";
  // Without the configuration here, in which the package stands for itself.
  const more = isFromJSR ? ["--no-config", "--no-lock"] : [];
  const jsr = isFromJSR ? { JSR_URL: registry.url, DENO_DIR: join(BUILT, "deno") } : {};
  const child = spawn(program, [...flags, ...more, script], {
    env: { ...env, ...jsr },
    stdio: ["ignore", "pipe", "inherit"],
  });
  const [port] = await once(createInterface(child.stdout), "line");
  const socket = await openSocket(Number(port));
  const replies = new ReplyReader();
  socket.write(request);
  await new Promise<void>((resolve) =>
    socket.on("data", (chunk) => {
      if (replies.take(chunk as Uint8Array)) resolve();
    })
  );
  const time = performance.now() - start;
  if (replies.status !== 200) throw new Error(`Cannot measure: ${contender} answered ${replies.status}`);
  socket.destroy();
  const ended = once(child, "exit");
  child.kill("SIGKILL");
  await ended;
  return time;
}

/** An application that imports the package from a registry. */
function writeApplication(specifier: string): string {
  return `import { createFetchHandler, MemoryStorage, RealityServer } from "${specifier}";

const handler = createFetchHandler(new RealityServer({ storage: new MemoryStorage() }));
const options = { hostname: "127.0.0.1", port: 0, onListen() {} };
console.log(Deno.serve(options, (request) => handler(request)).addr.port);
`;
}

async function versionOf(): Promise<string> {
  const child = spawn(program, ["--version"], { stdio: ["ignore", "pipe", "inherit"] });
  const [line] = await once(createInterface(child.stdout), "line");
  return /\d+\.\d+\.\d+/.exec(String(line))?.[0] ?? "";
}
