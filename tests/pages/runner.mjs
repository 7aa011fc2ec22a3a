/*
 * Runs programs of the pages one after the other: imports each in its folder, prints the address that it serves at,
 * and waits for a line before the next. The arguments are paths from the current folder.
 *
 * A program listens at a free port of 127.0.0.1 and not at the port that it names, which can be in use.
 */
import http from "node:http";
import net from "node:net";
import { dirname, resolve } from "node:path";
import process from "node:process";
import { createInterface } from "node:readline";
import { pathToFileURL } from "node:url";

const { Deno, Bun } = globalThis;
/** @type {Promise<number>[]} */
let ports = [];

for (const { prototype } of new Set([http.Server, net.Server])) {
  if (!Object.hasOwn(prototype, "listen")) continue;
  const listen = prototype.listen;
  prototype.listen = function (...args) {
    const callback = args.find((arg) => typeof arg === "function");
    ports.push(
      new Promise((resolve, reject) => {
        this.once("listening", () => resolve(this.address().port));
        this.once("error", reject);
      }),
    );
    return listen.call(this, 0, "127.0.0.1", callback);
  };
}
if (Deno !== undefined) {
  const serve = Deno.serve;
  Deno.serve = (...args) => {
    const options = args.find((arg) => typeof arg === "object") ?? {};
    const handler = args.find((arg) => typeof arg === "function") ?? options.handler;
    const server = serve({ ...options, port: 0, hostname: "127.0.0.1" }, handler);
    ports.push(Promise.resolve(server.addr.port));
    return server;
  };
}
if (Bun !== undefined) {
  const serve = Bun.serve;
  Bun.serve = (options) => {
    const server = serve({ ...options, port: 0, hostname: "127.0.0.1" });
    ports.push(Promise.resolve(server.port));
    return server;
  };
}

const lines = createInterface({ input: process.stdin })[Symbol.asyncIterator]();
for (const path of process.argv.slice(2).map((path) => resolve(path))) {
  ports = [];
  process.chdir(dirname(path));
  const { default: exported } = await import(pathToFileURL(path).href);
  if (ports.length === 0 && typeof exported?.fetch === "function") {
    // What Bun and `deno serve` do with a default export that has fetch().
    if (Deno !== undefined) Deno.serve((request, info) => exported.fetch(request, info));
    if (Bun !== undefined) Bun.serve({ fetch: (request, server) => exported.fetch(request, server) });
  }
  const [port] = await Promise.all(ports);
  const address = port === undefined ? null : `http://127.0.0.1:${port}`;
  console.log(`#running ${JSON.stringify({ address })}`);
  await lines.next();
}
process.exit(0);
