/**
 * Measures how large the package is in a bundled application, and which files are the largest part of it:
 * `deno task bench:bundle`.
 *
 * @module
 */
import { buildSync, transformSync } from "esbuild";
import { readFileSync } from "node:fs";
import { dirname } from "node:path/posix";
import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";

/** What an application may take from the package. */
export const ENTRIES = {
  "everything in mod.ts": `export * from "./mod.ts";`,
  "fetch handler with memory storage":
    `export { createFetchHandler, MemoryStorage, RealityServer } from "./mod.ts";`,
  "client that follows keys": `export { createFollowClient } from "./client/mod.ts";`,
  "everything in the client": `export * from "./client/mod.ts";`,
  "followQueries": `export { followQueries, stamped } from "./client/tanstack_query.ts";`,
} as const;

/** The name of one of them. */
export type EntryName = keyof typeof ENTRIES;

/** A bundle, minified. */
export interface Bundle {
  readonly bytes: number;
  /** What is left after gzip. */
  readonly gzipBytes: number;
  /** File → minified bytes that came from it; the largest first. */
  readonly files: ReadonlyMap<string, number>;
}

const ROOT = fileURLToPath(new URL("../", import.meta.url));

/** What is imported when an option, a request or the use of a storage asks for it. Bundlers that split make files of their own of it. */
const LOADED_ON_DEMAND = [
  "*/cached_sync.ts",
  "*/create_mesh.ts",
  "*/event_streams.ts",
  "*/group_details.ts",
  "*/metrics_route.ts",
  "*/openapi.ts",
  "*/stamps.ts",
  "*/table_operations.ts",
  "*/write_routes.ts",
];

/** How an application is bundled. */
export interface BundleOptions {
  /** Whether the bundler splits: only what is loaded at once is measured. @default {false} */
  readonly splits?: boolean;
}

/** Packs what an application takes, into one file unless told otherwise. */
export function bundle(name: EntryName, { splits = false }: BundleOptions = {}): Bundle {
  const { outputFiles, metafile } = buildSync({
    stdin: { contents: ENTRIES[name], resolveDir: ROOT },
    absWorkingDir: ROOT,
    bundle: true,
    minify: true,
    format: "esm",
    platform: "neutral",
    target: "es2022",
    legalComments: "none",
    metafile: true,
    // Bundlers make files of their own of them, which pages load when they need them.
    external: [
      "*/transport_events.ts",
      "*/transport_get.ts",
      "*/tabs.ts",
      ...(splits ? LOADED_ON_DEMAND : []),
    ],
    write: false,
    outfile: "bundle.js",
  });
  const { contents } = outputFiles[0]!;
  const files = Object.entries(Object.values(metafile.outputs)[0]!.inputs)
    .map(([file, { bytesInOutput }]) => [file, bytesInOutput] as const)
    .filter(([, bytes]) => bytes > 0)
    .sort((a, b) => b[1] - a[1]);
  return { bytes: contents.byteLength, gzipBytes: gzipLength([contents]), files: new Map(files) };
}

if (import.meta.main) {
  for (const name of Object.keys(ENTRIES) as EntryName[]) print(name, bundle(name));
  const name = "fetch handler with memory storage";
  print(`${name}, loaded at once by a bundler that splits`, bundle(name, { splits: true }));
}

function print(name: string, { bytes, gzipBytes, files }: Bundle): void {
  console.log(`\n${name}: ${inKB(bytes)} minified, ${inKB(gzipBytes)} with gzip`);
  console.log("  minified, and what gzip makes smaller without it\n");
  // Compresses as many bytes of each file as the bundle contains of it: the ratio is nearly the same for all parts of a file.
  const texts = new Map([...files.keys()].map((file) => [file, minify(file).subarray(0, files.get(file))]));
  const all = gzipLength(texts.values());
  const without = (isLeftOut: (file: string) => boolean) =>
    all - gzipLength([...texts].filter(([file]) => !isLeftOut(file)).map(([, text]) => text));
  const folders = Map.groupBy(files.keys(), (file) => dirname(file));
  const lines = [...folders].map(([folder, own]) =>
    [
      `${folder}/`,
      own.reduce((sum, file) => sum + files.get(file)!, 0),
      without((file) => own.includes(file)),
    ] as const
  );
  for (const line of lines.sort((a, b) => b[1] - a[1])) printLine(...line);
  console.log();
  for (const [file, size] of files) printLine(file, size, without((other) => other === file));
}

function minify(file: string): Uint8Array {
  const { code } = transformSync(readFileSync(`${ROOT}${file}`), { loader: "ts", minify: true });
  return new TextEncoder().encode(code);
}

function gzipLength(texts: Iterable<Uint8Array>): number {
  return gzipSync(Buffer.concat([...texts]), { level: 9 }).byteLength;
}

function printLine(what: string, bytes: number, gzipBytes: number): void {
  console.log(`${inKB(bytes).padStart(9)} ${inKB(gzipBytes).padStart(9)}  ${what}`);
}

function inKB(bytes: number): string {
  return `${(bytes / 1000).toFixed(1)} kB`;
}
