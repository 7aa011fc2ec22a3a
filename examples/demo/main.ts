/**
 * The demo's server: a page, the board behind it, and Reality beside it, on one port. Runs on Deno, Node and Bun.
 *
 * @module
 */
import { readdir, readFile } from "node:fs/promises";
import { createServer, type IncomingMessage, type OutgoingHttpHeaders, type ServerResponse } from "node:http";
import * as module from "node:module";
import type { AddressInfo } from "node:net";
import process from "node:process";
import { DatabaseSync } from "node:sqlite";
import { createNodeHandler } from "../../adapters/node.ts";
import { stopWhenAsked } from "../../cli/signals.ts";
import { RealityServer } from "../../mod.ts";
import { openSQLite } from "../../storage/sql/sqlite/sqlite_storage.ts";
import { Board, BOARD_KEY } from "./board.ts";

const settings = readSettings();
const db = new DatabaseSync(settings.path ?? ":memory:");
db.exec("PRAGMA journal_mode = WAL; PRAGMA busy_timeout = 5000");
// With a path it also sees what other programs write.
const storage = openSQLite(settings.path ?? db, { outbox: true });
const server = new RealityServer({
  storage,
  onError: (error) => console.error(error),
});
const board = await Board.open(db, server);
const files = await readFiles();
const reality = createNodeHandler(server);

const listener = createServer((request, response) => {
  // Everything that Reality answers is below one path; all else is the application's.
  if (request.url?.startsWith("/reality/")) reality(request, response);
  else void answer(request, response);
});
listener.on("error", (error: NodeJS.ErrnoException) => {
  const why = error.code === "EADDRINUSE"
    ? "is in use, choose another: PORT=8001"
    : `cannot be had: ${error.message}`;
  fail(`Port ${settings.port} ${why}`);
});
listener.listen(settings.port, settings.host, () => {
  const { port } = listener.address() as AddressInfo;
  const base = `http://${isLocal(settings.host) ? "localhost" : settings.host}:${port}`;
  const json = "-H 'content-type: application/json'";
  const command = `sqlite3 ${settings.path} "UPDATE board_items SET done = 1"`;
  const sql = settings.path === null ? "" : `  With SQL     ${command}\n`;
  console.log(`
  Open         ${base}
  Side by side ${base}/pair

  Try          Open it in two windows, then add, tick and remove. Or change it from here:
               curl ${base}/api/items ${json} -d '{"text":"Marshmallows","by":"curl"}'
${sql}  Ask Reality  curl ${base}/reality/sync ${json} -d '{"known":{"${BOARD_KEY}":0}}'

  Kept in ${settings.path ?? "memory: gone at the end"}. Ctrl+C stops.
`);
});

async function stop(): Promise<void> {
  listener.close();
  // All waiting requests are answered. Clients reconnect when a server runs again.
  await server.close();
  await storage.close();
  listener.closeAllConnections();
  db.close();
}
stopWhenAsked(stop);

/** The board over HTTP, and the page's files. */
async function answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
  const [pathname = "/"] = (request.url ?? "/").split("?");
  const id = Number(/^\/api\/items\/(\d{1,15})$/.exec(pathname)?.[1]);
  const file = files.get(pathname);
  try {
    switch (`${request.method} ${id ? "/api/items/{id}" : pathname}`) {
      case "GET /api/items": {
        // The stamp first, then the items. The other way round, a change between the two would be missed.
        const stamp = await server.stamp([BOARD_KEY], { request });
        if (stamp.isFresh(request)) return void response.writeHead(304, stamp.headers).end();
        return reply(response, 200, board.read(), stamp.headers);
      }
      case "POST /api/items": {
        const { text, by } = await readBody(request);
        return reply(response, 201, await board.add(toText(text, 120), toName(by)));
      }
      case "PATCH /api/items/{id}": {
        const { done, by } = await readBody(request);
        const item = await board.tick(id, done === true, toName(by));
        return item
          ? reply(response, 200, item)
          : reply(response, 404, { message: "It is not there any more" });
      }
      case "DELETE /api/items/{id}":
        await board.remove(id);
        return reply(response, 204);
    }
    if (file === undefined || request.method !== "GET") return reply(response, 404, { message: "Not found" });
    response.writeHead(200, {
      "content-type": file.type,
      "cache-control": "no-cache",
      "content-security-policy": "default-src 'self'; img-src 'self' data:; frame-ancestors 'self'",
    });
    response.end(file.content);
  } catch (error) {
    const isTheirs = error instanceof RangeError || error instanceof SyntaxError;
    if (!isTheirs) console.error(error);
    reply(response, isTheirs ? 400 : 500, { message: isTheirs ? error.message : "The board failed" });
  }
}

function reply(
  response: ServerResponse,
  status: number,
  value?: unknown,
  headers?: OutgoingHttpHeaders,
): void {
  response.writeHead(status, {
    "content-type": "application/json",
    ...(headers ?? { "cache-control": "no-store" }),
  });
  response.end(value === undefined ? undefined : JSON.stringify(value));
}

async function readBody(request: IncomingMessage): Promise<Record<string, unknown>> {
  // A page of another site can send a form here, but not this type.
  if (!request.headers["content-type"]?.startsWith("application/json")) throw new RangeError("Expected JSON");
  let body = "";
  for await (const chunk of request.setEncoding("utf8")) {
    body += chunk;
    if (body.length > 4096) throw new RangeError("The body is too long");
  }
  return Object(JSON.parse(body));
}

function toText(value: unknown, longest: number): string {
  const text = typeof value === "string" ? value.replace(/\s+/g, " ").trim().slice(0, longest) : "";
  if (text === "") throw new RangeError("The text is missing");
  return text;
}

function toName(value: unknown): string {
  return typeof value === "string" && value.trim() !== "" ? toText(value, 20) : "Somebody";
}

/** Reads the files of the page, and the modules of the client without their types: a browser runs those as they are. */
async function readFiles(): Promise<Map<string, { type: string; content: Uint8Array | string }>> {
  const files = new Map<string, { type: string; content: Uint8Array | string }>();
  const types: Record<string, string> = { html: "text/html", css: "text/css", js: "text/javascript" };
  for (const name of ["index.html", "pair.html", "style.css", "page.js", "traffic.js"]) {
    const type = `${types[name.split(".")[1]!]}; charset=utf-8`;
    const path = name === "index.html" ? "/" : `/${name.replace(".html", "")}`;
    files.set(path, { type, content: await readFile(new URL(name, import.meta.url)) });
  }
  // In a project of yours a bundler does this, or the page loads the modules of the npm package: examples/minimal.
  const folder = new URL("../../client/", import.meta.url);
  for (const name of (await readdir(folder)).filter((name) => name.endsWith(".ts"))) {
    const content = stripTypes(await readFile(new URL(name, folder), "utf8"));
    files.set(`/client/${name}`, { type: "text/javascript; charset=utf-8", content });
  }
  return files;
}

/** Erases types. Deno and Node have a function for it, and Bun has another one. */
function stripTypes(code: string): string {
  // deno-lint-ignore no-explicit-any -- a global of Bun, whose types are not there
  const { Bun } = globalThis as any;
  return Bun ? new Bun.Transpiler({ loader: "ts" }).transformSync(code) : module.stripTypeScriptTypes(code);
}

function readSettings(): { port: number; host: string; path: string | null } {
  const { PORT = "8000", HOST = "127.0.0.1", REALITY_STORAGE = "sqlite:./reality.db" } = process.env;
  const port = Number(PORT);
  if (PORT === "" || !Number.isInteger(port) || port < 0 || port > 65_535) {
    fail(`Cannot use PORT=${PORT}: expected a number up to 65535`);
  }
  const path = /^sqlite:(.+)$/.exec(REALITY_STORAGE)?.[1] ?? null;
  if (path === null && REALITY_STORAGE !== "memory:") {
    fail(`Cannot use REALITY_STORAGE=${REALITY_STORAGE}: expected sqlite:<file> or memory:`);
  }
  return { port, host: HOST, path };
}

function isLocal(host: string): boolean {
  return host === "127.0.0.1" || host === "::1" || host === "0.0.0.0" || host === "::";
}

function fail(message: string): never {
  console.error(message);
  process.exit(1);
}
