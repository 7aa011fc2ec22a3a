/**
 * A private nginx with the configuration of docs/proxies.md, before two servers.
 *
 * @module
 */
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import process from "node:process";
import { findProgram } from "../run/databases.ts";
import { PrivateServer, type Recipe } from "../run/server.ts";
import { type Backend, type BackendOptions, withBackends } from "./backends.ts";
import { type Edit, edit, fit, readBlock } from "./page.ts";

/** An nginx that runs. */
export interface Nginx {
  /** Its address without a path. */
  readonly origin: string;
  /** What it has said. */
  log(): string;
  /** Has it read its configuration again. */
  reload(): void;
  /** Ends it and starts it again, with the answers that are in its cache. */
  restart(): Promise<void>;
}

/** What a test says about an nginx. */
interface NginxSettings {
  /** What differs from the page. */
  readonly edits?: readonly Edit[];
  /** What follows the address at which it listens. `http2` serves HTTP/2 without TLS. */
  readonly listen?: "http2" | "reuseport";
  /** Adds the page's lines for a cache. */
  readonly cache?: boolean;
}

/** What a test says about an nginx and the servers behind it. */
export interface NginxOptions extends NginxSettings {
  /** What differs about the servers. */
  readonly server?: BackendOptions;
  /** Addresses in place of the servers' own. */
  readonly upstreams?: readonly string[];
}

/** Runs with two servers behind an nginx. */
export async function withNginx(
  { server = {}, upstreams = [], ...settings }: NginxOptions,
  run: (nginx: Nginx, backends: readonly [Backend, Backend]) => Promise<void>,
): Promise<void> {
  await withBackends(server, async (backends) => {
    const origins = backends.map(({ origin }, i) => upstreams[i] ?? origin);
    await withNginxBefore(origins, settings, (nginx) => run(nginx, backends));
  });
}

/** Runs with an nginx before these addresses. */
export async function withNginxBefore(
  origins: readonly string[],
  { edits = [], listen, cache = false }: NginxSettings,
  run: (nginx: Nginx) => Promise<void>,
): Promise<void> {
  const block = readBlock("nginx", "# /etc/nginx/nginx.conf");
  const text = fit(edit(cache ? addCache(block) : block, edits), origins);
  let folder = "";
  const nginx = await PrivateServer.start(recipe(text, listen, (found) => folder = found));
  try {
    await run({
      origin: nginx.address,
      log: () => readFileSync(join(folder, "log"), "utf8"),
      reload: () => void process.kill(Number(readFileSync(join(folder, "pid"), "utf8")), "SIGHUP"),
      async restart() {
        await nginx.crash();
        await nginx.restart();
      },
    });
  } finally {
    await nginx.stop();
  }
}

/** The configuration with the page's lines for a cache. */
function addCache(text: string): string {
  const places = [["http {\n", "# http { }"], ["client_max_body_size 2m;\n", "# server { }"]] as const;
  return edit(text, places.map(([line, name]) => [line, `${line}${readBlock("nginx", name)}`]));
}

function recipe(text: string, listen: string = "", onFolder: (folder: string) => void): Recipe {
  const program = process.env.REALITY_NGINX ?? findProgram("nginx") ?? "nginx";
  return {
    signal: "TERM",
    prepare: () => {},
    command: (folder, port) => {
      onFolder(folder);
      const file = join(folder, "nginx.conf");
      writeFileSync(file, place(text, folder, `127.0.0.1:${port} ${listen}`));
      const settings = `daemon off; pid ${join(folder, "pid")}; error_log stderr notice;`;
      return [program, "-e", "stderr", "-p", folder, "-c", file, "-g", settings];
    },
    address: (port) => `http://127.0.0.1:${port}`,
  };
}

/** The configuration with its files in a folder of the test's. */
function place(text: string, folder: string, address: string): string {
  const kinds = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"];
  const paths = kinds.map((kind) => `${kind}_temp_path ${join(folder, kind)};`);
  return edit(text.replace("/var/cache/nginx/reality", join(folder, "cache")), [
    ["listen 80;", `listen ${address};`],
    ["http {\n", `http {\naccess_log off;\n${paths.join("\n")}\n`],
  ]);
}
