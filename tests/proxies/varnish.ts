/**
 * A private Varnish with the configuration of docs/proxies.md, before two servers.
 *
 * @module
 */
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import process from "node:process";
import { findProgram } from "../run/databases.ts";
import { PrivateServer, type Recipe } from "../run/server.ts";
import { type Edit, edit, readBlock } from "./page.ts";

/** A Varnish that runs. */
export interface Varnish {
  /** Its address without a path. */
  readonly origin: string;
  /** Ends it and starts it again, with an empty cache. */
  restart(): Promise<void>;
}

/** Runs with a Varnish before two addresses. */
export async function withVarnishBefore(
  origins: readonly string[],
  edits: readonly Edit[],
  run: (varnish: Varnish) => Promise<void>,
): Promise<void> {
  const ports = origins.map((origin, i): Edit => [`"${8001 + i}"`, `"${new URL(origin).port}"`]);
  const varnish = await PrivateServer.start(recipe(edit(readBlock("vcl"), [...edits, ...ports])));
  try {
    await run({
      origin: varnish.address,
      async restart() {
        await varnish.crash();
        await varnish.restart();
      },
    });
  } finally {
    await varnish.stop();
  }
}

function recipe(text: string): Recipe {
  const program = process.env.REALITY_VARNISH ?? findProgram("varnishd") ?? "varnishd";
  return {
    signal: "TERM",
    prepare: (folder) => mkdirSync(join(folder, "work")),
    command: (folder, port) => {
      const file = join(folder, "default.vcl");
      writeFileSync(file, text);
      const settings = [
        // For each of two pools. A request that is passed on has two threads while it waits.
        "thread_pool_max=3000",
        "thread_pool_min=10",
        "thread_queue_limit=20000",
        // Time until it begins to read a request counts as idle.
        "timeout_idle=60",
      ];
      return [
        ...[
          program,
          "-F",
          "-n",
          join(folder, "work"),
          "-f",
          file,
          "-a",
          `127.0.0.1:${port}`,
          "-s",
          "malloc,64m",
        ],
        ...settings.flatMap((setting) => ["-p", setting]),
      ];
    },
    address: (port) => `http://127.0.0.1:${port}`,
  };
}
