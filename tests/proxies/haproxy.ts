/**
 * A private HAProxy with the configuration of docs/proxies.md, before two servers.
 *
 * @module
 */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import process from "node:process";
import { findProgram } from "../run/databases.ts";
import { PrivateServer, type Recipe } from "../run/server.ts";
import { type Backend, type BackendOptions, withBackends } from "./backends.ts";
import { type Edit, edit, fit, readBlock } from "./page.ts";

/** What a test says about an HAProxy and the servers behind it. */
export interface HAProxyOptions {
  /** What differs from the page. */
  readonly edits?: readonly Edit[];
  /** What differs about the servers. */
  readonly server?: BackendOptions;
  /** Addresses in place of the servers' own. */
  readonly upstreams?: readonly string[];
}

/** Runs with two servers behind an HAProxy at this address. */
export async function withHAProxy(
  { edits = [], server = {}, upstreams = [] }: HAProxyOptions,
  run: (origin: string, backends: readonly [Backend, Backend]) => Promise<void>,
): Promise<void> {
  await withBackends(server, async (backends) => {
    const origins = backends.map(({ origin }, i) => upstreams[i] ?? origin);
    const haproxy = await PrivateServer.start(recipe(fit(edit(readBlock("haproxy"), edits), origins)));
    try {
      await run(haproxy.address, backends);
    } finally {
      await haproxy.stop();
    }
  });
}

function recipe(text: string): Recipe {
  const program = process.env.REALITY_HAPROXY ?? findProgram("haproxy") ?? "haproxy";
  return {
    signal: "KILL",
    prepare: () => {},
    command: (folder, port) => {
      const file = join(folder, "haproxy.cfg");
      // It does not start where it may not open two files for each connection.
      const places = [["bind :80", `bind 127.0.0.1:${port}`], ["maxconn 60000", "maxconn 400"]] as const;
      writeFileSync(file, edit(text, places));
      return [program, "-db", "-f", file];
    },
    address: (port) => `http://127.0.0.1:${port}`,
  };
}
