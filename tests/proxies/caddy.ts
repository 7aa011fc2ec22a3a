/**
 * A private Caddy with the configuration of docs/proxies.md, before two servers.
 *
 * @module
 */
import { spawnSync } from "node:child_process";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import process from "node:process";
import { findProgram } from "../run/databases.ts";
import { PrivateServer, type Recipe } from "../run/server.ts";
import { type Backend, type BackendOptions, withBackends } from "./backends.ts";
import { type Edit, edit, fit, readBlock } from "./page.ts";

/** What a test says about a Caddy and the servers behind it. */
export interface CaddyOptions {
  /** What differs from the page. */
  readonly edits?: readonly Edit[];
  /** What differs about the servers. */
  readonly server?: BackendOptions;
  /** Addresses in place of the servers' own. */
  readonly upstreams?: readonly string[];
}

/** Runs with two servers behind a Caddy at this address. */
export async function withCaddy(
  { edits = [], server = {}, upstreams = [] }: CaddyOptions,
  run: (origin: string, backends: readonly [Backend, Backend]) => Promise<void>,
): Promise<void> {
  await withBackends(server, async (backends) => {
    const origins = backends.map(({ origin }, i) => upstreams[i] ?? origin);
    const caddy = await PrivateServer.start(recipe(fit(edit(readBlock("caddyfile"), edits), origins)));
    try {
      await run(caddy.address, backends);
    } finally {
      await caddy.stop();
    }
  });
}

/** Before 2.6.4, `request_buffers` had another name, and no size. */
export function isOld(): boolean {
  const { stdout } = spawnSync(findCaddy(), ["version"], { encoding: "utf8" });
  const [, minor = 0, patch = 0] = /^v?2\.(\d+)\.(\d+)/.exec(stdout)?.map(Number) ?? [];
  return minor < 6 || minor === 6 && patch < 4;
}

function findCaddy(): string {
  return process.env.REALITY_CADDY ?? findProgram("caddy") ?? "caddy";
}

function recipe(text: string): Recipe {
  return {
    signal: "KILL",
    prepare: () => {},
    command: (folder, port) => {
      const file = join(folder, "Caddyfile");
      const placed = edit(text, [[":80 {", `:${port} {\n\tbind 127.0.0.1`]]);
      const known = isOld() ? placed.replace("request_buffers 2MB", "buffer_requests") : placed;
      writeFileSync(file, `{\n\tadmin off\n\tauto_https off\n}\n${known}`);
      const places = [`HOME=${folder}`, `XDG_CONFIG_HOME=${folder}`, `XDG_DATA_HOME=${folder}`];
      return ["env", ...places, findCaddy(), "run", "--config", file, "--adapter", "caddyfile"];
    },
    address: (port) => `http://127.0.0.1:${port}`,
  };
}
