/**
 * Joins the modules behind several entries into few files.
 *
 * @module
 */
import { build, type BuildOptions, type Metafile, transform } from "esbuild";
import { readFileSync } from "node:fs";
import { join } from "node:path/posix";

/** What is joined. */
export interface JoinOptions {
  /** The folder that all paths are relative to. */
  readonly folder: string;
  /** The entry that most applications import. What it imports becomes one file. */
  readonly main: string;
  /** All entries, with `main`. */
  readonly entries: readonly string[];
  /** Where the files are written, relative to the folder. */
  readonly outdir: string;
}

/** A file that is to be written. */
export interface JoinedFile {
  readonly path: string;
  readonly contents: string;
}

/**
 * Joins the modules behind several entries into few files, as JavaScript. The entries share them, so that a class is the
 * same wherever it is imported from. What is imported dynamically stays a file of its own. Node takes up to two
 * milliseconds for each file that it loads.
 */
export async function joinModules(given: JoinOptions): Promise<JoinedFile[]> {
  const { folder, main, entries, outdir } = given;
  const options = {
    absWorkingDir: folder,
    entryPoints: [...entries],
    outbase: ".",
    outdir,
    allowOverwrite: true,
    bundle: true,
    splitting: true,
    chunkNames: "shared/[name]-[hash]",
    format: "esm",
    platform: "neutral",
    target: "es2022",
    packages: "external",
    external: ["node:*"],
    charset: "utf8",
    legalComments: "none",
    write: false,
    metafile: true,
  } satisfies BuildOptions;
  const { metafile } = await build(options);
  const users = findUsers(metafile, given);
  const { outputFiles } = await build({
    ...options,
    plugins: [{
      name: "import main",
      setup({ onLoad }) {
        onLoad({ filter: /\.[jt]s$/ }, ({ path }) => {
          if (!users.has(path)) return undefined;
          const imported = JSON.stringify(join(folder, main));
          const contents = `${readFileSync(path, "utf8")}\nimport ${imported};\n`;
          return { contents, loader: path.endsWith(".ts") ? "ts" : "js" };
        });
      },
    }],
  });
  return await Promise.all(
    outputFiles.map(async ({ path, text }) => ({ path, contents: await removeDocComments(text) })),
  );
}

/**
 * Removes the doc comments that the bundler keeps: those of class members. Line breaks and names stay, for stack traces.
 *
 * @throws {Error} If something else was removed with them, such as a line of a text that looks like a comment.
 */
async function removeDocComments(code: string): Promise<string> {
  const removed = code.replaceAll(/^[ \t]*\/\*\*.*?\*\/\n/gms, "");
  const [before, after] = await Promise.all(
    [code, removed].map((text) => transform(text, { minifyWhitespace: true, charset: "utf8" })),
  );
  if (before!.code !== after!.code) {
    throw new Error("Cannot remove comments: the code is another one without them");
  }
  return removed;
}

/**
 * The paths of all modules that are made to import `main` as well. The bundler makes one file of the modules that the same
 * entries use, so each other entry that uses some modules of `main` has to use all of them. The bundler counts a module
 * that is imported dynamically as an entry.
 */
function findUsers({ inputs }: Metafile, { folder, main, entries }: JoinOptions): Set<string> {
  const importsOf = (path: string, kind: string) =>
    inputs[path]!.imports.filter((found) => found.kind === kind && found.external !== true)
      .map((found) => found.path);
  const reach = (start: string) => {
    const found = new Set([start]);
    for (const path of found) for (const next of importsOf(path, "import-statement")) found.add(next);
    return found;
  };
  const shared = reach(main);
  const lazy = Object.keys(inputs).flatMap((path) => importsOf(path, "dynamic-import"));
  const users = [...entries, ...lazy].filter((path) =>
    path !== main && [...reach(path)].some((module) => shared.has(module))
  );
  return new Set(users.map((path) => join(folder, path)));
}
