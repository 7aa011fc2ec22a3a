/**
 * Takes the examples out of `docs/frameworks.md` and bundles them for a browser, as an application would.
 *
 * @module
 */
import { buildSync } from "esbuild";
import { readFileSync } from "node:fs";
import { mkdir, rm, writeFile } from "node:fs/promises";
import { resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { compile } from "svelte/compiler";
import { compileScript, parse } from "vue/compiler-sfc";

/** An example of the page. */
export interface Block {
  /** The heading above it, in lower case. */
  readonly section: string;
  readonly language: string;
  /** The name in its first line; absent if it is not a file. */
  readonly file: string | undefined;
  readonly text: string;
}

/** A module of the bundle. */
// deno-lint-ignore no-explicit-any
export type Module = Record<string, any>;

/** Modules that tests need of the same packages as the examples, so that both have the same instances. */
const TOOLS = `
  export { createElement } from "react";
  export { createRoot } from "react-dom/client";
  export { mount, unmount } from "svelte";
  export { QueryClient, QueryClientProvider } from "@tanstack/react-query";
  export { followQueries } from "@rootlodge/reality-server/tanstack-query";
  export { createComponent, render } from "solid-js/web";
  export { createApp, createSSRApp } from "vue";
  export { renderToString } from "vue/server-renderer";
  export { default as htmx } from "htmx.org/dist/htmx.esm.js";
`;

/** What the examples import of React Native. */
const REACT_NATIVE = `
  const listeners = new Set();
  export const AppState = {
    currentState: "active",
    addEventListener(type, listener) {
      if (type === "change") listeners.add(listener);
      return { remove: () => listeners.delete(listener) };
    },
  };
  export function become(state) {
    AppState.currentState = state;
    for (const listener of listeners) listener(state);
  }
`;

/** Returns the examples of a page. */
export function readBlocks(page: string): Block[] {
  const pattern = /^## (.+)$|^```(\w+)\n([\s\S]*?)^```$/gm;
  let section = "";
  const blocks: Block[] = [];
  for (const [, heading, language, text] of readFileSync(page, "utf8").matchAll(pattern)) {
    if (heading) section = heading.toLowerCase().replaceAll(" ", "-");
    if (!language || !text) continue;
    const file = /^(?:\/\/|<!--) ([\w.]+)/.exec(text)?.[1];
    blocks.push({ section, language, file, text });
  }
  return blocks;
}

/** A bundle of examples. */
export interface Bundle extends AsyncDisposable {
  /** Runs an example, or `tools`, and returns what it exports. */
  load(section: string, file: string): Promise<Module>;
}

/** Bundles all examples that are files. The folder must be below one that has `node_modules`. */
export async function bundle(blocks: readonly Block[], place: string): Promise<Bundle> {
  const folder = resolve(place);
  const entries: string[] = [];
  const write = async (path: string, text: string) => {
    await mkdir(`${folder}/${path}`.replace(/[^/]+$/, ""), { recursive: true });
    await writeFile(`${folder}/${path}`, text);
    entries.push(`${folder}/${path}`);
  };
  await write("tools.js", TOOLS);
  await write("react_native.js", REACT_NATIVE);
  const shared = blocks.filter(({ section }) => section === "");
  for (const section of new Set(blocks.map(({ section }) => section))) {
    // Each section has a client of its own, which its test closes.
    for (const { file, text } of [...shared, ...blocks.filter((block) => block.section === section)]) {
      if (file) await write(`${section}/${file}`, compileBlock(file, text));
    }
  }
  const out = `${folder}/out`;
  buildSync({
    entryPoints: entries,
    outdir: out,
    outbase: folder,
    bundle: true,
    splitting: true,
    format: "esm",
    platform: "browser",
    jsx: "automatic",
    loader: { ".svelte": "js", ".vue": "js" },
    define: { "process.env.NODE_ENV": '"production"' },
    alias: {
      "@rootlodge/reality-server/client": "./client/mod.ts",
      "@rootlodge/reality-server/tanstack-query": "./client/tanstack_query.ts",
      "react-native": `${folder}/react_native.js`,
    },
    logLevel: "error",
  });
  return {
    load: (section, file) => {
      const path = `${out}/${section}/${file.replace(/\.\w+$/, ".js")}`;
      return import(pathToFileURL(path).href);
    },
    [Symbol.asyncDispose]: () => rm(folder, { recursive: true }),
  };
}

/** Turns a component file into a module. */
function compileBlock(file: string, text: string): string {
  if (file.endsWith(".svelte")) return compile(text, { filename: file, generate: "client" }).js.code;
  if (!file.endsWith(".vue")) return text;
  const { descriptor } = parse(text, { filename: file });
  return compileScript(descriptor, { id: file, inlineTemplate: true }).content;
}
