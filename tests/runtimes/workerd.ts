/**
 * Runs the worker inside workerd, by miniflare: the sources as they are, without their types.
 *
 * @module
 */
import { readFileSync } from "node:fs";
import { dirname, join } from "node:path/posix";
import { createInterface } from "node:readline";
import type { Readable } from "node:stream";
import { Miniflare } from "miniflare";
import ts from "typescript";
import type { OpenAdapter } from "../http/adapter.ts";
import type { SceneName } from "../http/scenes.ts";
import type { WorkerDatabase, WorkerOrder } from "./worker.ts";

/** workerd, with the worker in it. */
export interface Workerd {
  /** Opens an adapter before a new server. */
  open(scene: SceneName, options?: WorkerdScene): Promise<OpenAdapter>;
  /** The runtime's warnings about promises of finished requests that another request settled. */
  readonly crossings: string[];
  /** Ends the process. */
  close(): Promise<void>;
}

/** What a server in workerd is made with. */
export interface WorkerdScene {
  /** What its nodes are kept in. @default {"memory"} */
  readonly database?: WorkerDatabase;
  /** The server's option of that name. @default {true} where the nodes are in a database. */
  readonly requestScopedIO?: boolean;
}

/**
 * Starts workerd.
 *
 * @param httpDatabase The address of the database that is reached through HTTP; left out: there is none.
 */
export async function startWorkerd(httpDatabase = ""): Promise<Workerd> {
  const crossings: string[] = [];
  const listen = (output: Readable, echo: (line: string) => void) =>
    createInterface({ input: output }).on("line", (line) => {
      if (line.includes("different request context")) crossings.push(line);
      // It logs a line with a stack for each client that disconnected.
      else if (!/disconnected:|^stack:/.test(line)) echo(line);
    });
  const miniflare = new Miniflare({
    modules: readModules("tests/runtimes/worker.ts"),
    compatibilityDate: "2026-07-01",
    // Without it a worker does not notice disconnects.
    compatibilityFlags: ["enable_request_signal"],
    d1Databases: ["D1"],
    durableObjects: { OBJECT: { className: "ServerObject", useSQLite: true } },
    bindings: { HTTP_DATABASE: httpDatabase },
    handleRuntimeStdio(output: Readable, errors: Readable) {
      listen(output, (line) => console.log(line));
      listen(errors, (line) => console.error(line));
    },
    host: "127.0.0.1",
    port: 0,
  });
  const { origin } = await miniflare.ready;
  const order = async (body: WorkerOrder): Promise<unknown> => {
    // The servers of the object are reached below its own path.
    const [, place = ""] = /^(\/object)?/.exec(body.basePath) ?? [];
    const response = await fetch(`${origin}${place}/order`, { method: "POST", body: JSON.stringify(body) });
    return await response.json();
  };
  let count = 0;
  return {
    async open(scene, { database = "memory", requestScopedIO = database !== "memory" } = {}) {
      const basePath = `${database === "object" ? "/object" : ""}/scene-${count++}`;
      await order({ open: scene, basePath, database, requestScopedIO });
      return {
        url: (path) => `${origin}${basePath}${path}`,
        operate: (operation) => order({ operation, basePath }),
        async close() {
          await order({ operation: { do: "close" }, basePath });
        },
      };
    },
    crossings,
    close: () => miniflare.dispose(),
  };
}

/** One module of a worker. */
export interface WorkerModule {
  readonly type: "ESModule";
  readonly path: string;
  readonly contents: string;
}

/** A file and all that it imports, as modules; the first is the worker. */
export function readModules(entry: string): WorkerModule[] {
  const paths = new Set([entry]);
  const modules: WorkerModule[] = [];
  for (const path of paths) {
    const { outputText } = ts.transpileModule(readFileSync(path, "utf8"), {
      compilerOptions: {
        target: ts.ScriptTarget.ESNext,
        module: ts.ModuleKind.ESNext,
        verbatimModuleSyntax: true,
      },
    });
    modules.push({ type: "ESModule", path, contents: outputText });
    const imports = /^(?:import|export)\s[^;"'=()]*?\bfrom\s*"(\.[^"]+)"|\bimport\("(\.[^"]+)"\)/gm;
    for (const [, name, loadedLater] of outputText.matchAll(imports)) {
      paths.add(join(dirname(path), name ?? loadedLater ?? ""));
    }
  }
  return modules;
}
