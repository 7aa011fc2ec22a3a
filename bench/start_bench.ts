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

const rounds = isQuick ? 3 : 15;
const contenders = ["bare", "reality", "published"];
const ROOT = fileURLToPath(new URL("../", import.meta.url));
/** Below the root, so that packages are found from there as well. */
const BUILT = join(ROOT, ".cache/start");
const env = { ...process.env, REALITY_BENCH_PACKAGES: join(ROOT, ".cache/contenders/") };
const name = (process.argv[2] ?? "node") as RuntimeName;
const [program = "", ...flags] = findRuntime(name) ?? [];
if (program === "") throw new Error(`Cannot find ${name}: name it in a REALITY_ variable`);

fetchPackages();
await build();
const body = JSON.stringify({ known: { a: 0 }, ...PUBLISHED_FIELDS });
const request = requestBytes("POST", "/reality/sync", body);
const took: Record<string, number[]> = { "bare": [], "reality": [], "1.2.2": [] };
progress(`${name}, process start to first answer`);
for (let round = 0; round <= rounds; round++) {
  for (const contender of inTurn(contenders, round)) {
    const time = await startOnce(contender);
    // The first round fills caches.
    if (round > 0) took[contender === "published" ? "1.2.2" : contender]!.push(time);
  }
}
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
      ...contenders.map((contender) => `bench/start/${contender}.ts`),
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
  const child = spawn(program, [...flags, script], { env, stdio: ["ignore", "pipe", "inherit"] });
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

async function versionOf(): Promise<string> {
  const child = spawn(program, ["--version"], { stdio: ["ignore", "pipe", "inherit"] });
  const [line] = await once(createInterface(child.stdout), "line");
  return /\d+\.\d+\.\d+/.exec(String(line))?.[0] ?? "";
}
