/**
 * Runs the modules of `docs/recipes.md` that need a host: each is read from the page and imported, with requests in the
 * shape of that host. The page's other examples run as doc examples.
 *
 * @module
 */
import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer, type RequestListener } from "node:http";
import { dirname, resolve } from "node:path";
import process from "node:process";
import { DatabaseSync } from "node:sqlite";
import { pathToFileURL } from "node:url";
import express from "express";
import { createApp, createRouter, toNodeListener } from "h3";
import { MemoryStorage, type RealityServer } from "../../mod.ts";
import { test } from "../harness.ts";
import { soon } from "../http/client.ts";
import { listenNode } from "../runtimes/node.ts";

// deno-lint-ignore no-explicit-any
type Module = any;

const PACKAGE = "@rootlodge/reality-server";

const page = readFileSync("docs/recipes.md", "utf8");
const { exports }: { exports: Record<string, string> } = JSON.parse(readFileSync("deno.json", "utf8"));

/** The modules of a chapter, by their path, which is the comment in their first line. */
function modulesOf(chapter: string): Map<string, string> {
  const text = page.split(/^## /m).find((part) => part.startsWith(`${chapter}\n`));
  assert.ok(text !== undefined, `there is no chapter ${chapter}`);
  const blocks = [...text.matchAll(/^```ts ignore\n\/\/ (\S+)\n([\s\S]*?)^```/gm)];
  return new Map(blocks.map(([, path = "", code = ""]) => [path, code]));
}

/** What stands for packages that are not installed, or that need a server. */
const stubs: Record<string, string> = {
  "@rootlodge/reality-server/postgres": "export const openPostgres = globalThis.openStorage;",
  "@rootlodge/reality-server/dynamodb":
    "export class DynamoDBStorage { constructor() { return globalThis.openStorage(); } }",
  "@aws-sdk/client-dynamodb": "export class DynamoDB {}",
  "@nestjs/core": "export const NestFactory = { create: globalThis.createNest };",
  "app.module": "export class AppModule {}",
};

/**
 * Writes the modules of a chapter, and the one of "One server", into a folder below the project, where packages are found.
 * Imports lead to the sources, to the modules of the page, and to stand-ins.
 */
async function withModules(
  chapter: string,
  run: (load: (path: string) => Promise<Module>) => Promise<void>,
): Promise<void> {
  mkdirSync(".cache", { recursive: true });
  const folder = mkdtempSync(resolve(".cache/recipes-"));
  const modules = new Map([...modulesOf("One server"), ...modulesOf(chapter)]);
  const find = (name: string) => {
    const base = name.split("/").at(-1)!.replace(/\.server$/, "");
    if (name in stubs || base in stubs) {
      const file = `${folder}/${base}_stub.ts`;
      writeFileSync(file, stubs[name] ?? stubs[base]!);
      return file;
    }
    if (name.startsWith(PACKAGE)) return resolve(exports[name.replace(PACKAGE, ".")]!);
    if (!/^(\.|@\/|\$lib\/)/.test(name)) return undefined;
    const paths = [...modules.keys()];
    const end = `${name.replace(/^([.\/]+|@\/|\$lib\/)/, "")}.ts`;
    const path = paths.find((path) => path.endsWith(end)) ??
      paths.find((path) => path.endsWith(`${base}.ts`));
    assert.ok(path !== undefined, `${chapter} imports ${name}, which is not on the page`);
    return `${folder}/${path}`;
  };
  // A listener of the page may stay; it must not end the test run.
  const before = process.listeners("SIGTERM");
  Object.assign(globalThis, { openStorage: () => Object.assign(new MemoryStorage(), { async close() {} }) });
  try {
    for (const [path, code] of modules) {
      mkdirSync(dirname(`${folder}/${path}`), { recursive: true });
      const linked = code.replaceAll(
        /(from |import\()"([^"]+)"/g,
        (all, before, name) => {
          const file = find(name);
          return file === undefined ? all : `${before}${JSON.stringify(pathToFileURL(file).href)}`;
        },
      );
      writeFileSync(
        `${folder}/${path}`,
        `// deno-lint-ignore-file\nimport process from "node:process";\n${linked}`,
      );
    }
    await run((path) => import(pathToFileURL(`${folder}/${path}`).href));
  } finally {
    for (const listener of process.listeners("SIGTERM")) {
      if (!before.includes(listener)) process.off("SIGTERM", listener);
    }
    rmSync(folder, { recursive: true });
  }
}

/** A sync request. */
const sync = (key: string, wait = 0) =>
  new Request("http://localhost/reality/sync", {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ known: { [key]: 0 }, wait }),
  });

/** Requires that an answer tells that a key has changed. */
async function tells(answer: Response, key: string): Promise<void> {
  assert.equal(answer.status, 200);
  assert.ok(Object.hasOwn((await answer.json()).changed, key));
}

/** Requires that SIGTERM answers a request that waits. */
async function stops(answer: Promise<Response>, reality: RealityServer): Promise<void> {
  process.emit("SIGTERM");
  const { status, body } = await soon(answer, "the answer");
  await body?.cancel();
  assert.ok(status === 200 || status === 503, `it has status ${status}`);
  await reality.close();
}

test("the recipe for Next.js shares one server, answers by its route and stops", async () => {
  await withModules("Next.js", async (load) => {
    const { GET, POST, DELETE, OPTIONS } = await load("app/reality/[...path]/route.ts");
    const { reality } = await load("lib/reality.ts");
    assert.equal(reality, (globalThis as Module).reality);
    const { addPost } = await load("app/actions.ts");
    await addPost("hello");
    const context = { params: Promise.resolve({ path: ["sync"] }) };
    await tells(await POST(sync("posts"), context), "posts");
    assert.equal((await GET(new Request("http://localhost/reality/health"), context)).status, 200);
    for (const handler of [DELETE, OPTIONS]) assert.equal(handler, POST);
    process.env.NEXT_RUNTIME = "nodejs";
    await (await load("instrumentation.ts")).register();
    delete process.env.NEXT_RUNTIME;
    await stops(POST(sync("none", 20_000), context), reality);
    delete (globalThis as Module).reality;
  });
});

test("the recipe for SvelteKit answers by its route and stops", async () => {
  await withModules("SvelteKit", async (load) => {
    const { fallback } = await load("src/routes/reality/[...path]/+server.ts");
    const { reality } = await load("reality.ts");
    await reality.invalidate("posts");
    await tells(await fallback({ request: sync("posts") }), "posts");
    await (await load("src/hooks.server.ts")).init();
    await stops(fallback({ request: sync("none", 20_000) }), reality);
  });
});

test("the recipe for Nuxt answers in h3, and stops with Nitro", async () => {
  await withModules("Nuxt and h3", async (load) => {
    const { default: route } = await load("server/routes/reality/[...path].ts");
    const { reality } = await load("reality.ts");
    await reality.invalidate("posts");
    const app = createApp().use(createRouter().use("/reality/**", route));
    const listening = await listenNode(toNodeListener(app) as RequestListener);
    const { method, headers } = sync("posts");
    const ask = async (request: Request) =>
      await fetch(`${listening.origin}/reality/sync`, { method, headers, body: await request.text() });
    await tells(await ask(sync("posts")), "posts");
    const health = await fetch(`${listening.origin}/reality/health`);
    assert.equal(health.status, 200);
    await health.body?.cancel();
    let close: (() => Promise<void>) | undefined;
    (await load("server/plugins/reality.ts")).default({
      hooks: { hook: (_: string, run: () => Promise<void>) => close = run },
    });
    await stops(ask(sync("none", 20_000)), reality);
    await close!();
    await listening.close();
  });
});

test("the recipe for Astro answers by its route and stops", async () => {
  await withModules("Astro", async (load) => {
    const { ALL, prerender } = await load("src/pages/reality/[...path].ts");
    const { reality } = await load("reality.ts");
    assert.equal(prerender, false);
    await reality.invalidate("posts");
    const ask = (request: Request) => ALL({ request, clientAddress: "192.0.2.1" });
    await tells(await ask(sync("posts")), "posts");
    const { exit } = process;
    const exited = new Promise<void>((resolve) => process.exit = resolve as typeof exit);
    try {
      await stops(ask(sync("none", 20_000)), reality);
      await soon(exited, "the end of the process");
    } finally {
      process.exit = exit;
    }
  });
});

test("the recipe for React Router answers by its route and stops", async () => {
  await withModules("React Router", async (load) => {
    const { loader, action } = await load("app/routes/reality.ts");
    const { reality } = await load("reality.ts");
    await reality.invalidate("posts");
    await tells(await action({ request: sync("posts") }), "posts");
    assert.equal((await loader({ request: new Request("http://localhost/reality/health") })).status, 200);
    await reality.close();
  });
});

test("the recipe for NestJS answers beside the routes of the application, and stops", async () => {
  await withModules("NestJS", async (load) => {
    const app = express();
    const listener = createServer(app as RequestListener);
    let closed = false;
    const nest = {
      use: (handler: express.RequestHandler) => app.use(handler),
      listen: () => new Promise<void>((resolve) => listener.listen(0, "127.0.0.1", resolve)),
      close: () => Promise.resolve(void (closed = true)),
    };
    Object.assign(globalThis, { createNest: () => Promise.resolve(nest) });
    await load("main.ts");
    const { reality } = await load("reality.ts");
    await reality.invalidate("posts");
    const { port } = listener.address() as { port: number };
    const { method, headers } = sync("posts");
    const ask = async (request: Request) =>
      await fetch(`http://127.0.0.1:${port}/reality/sync`, { method, headers, body: await request.text() });
    await tells(await ask(sync("posts")), "posts");
    await stops(ask(sync("none", 20_000)), reality);
    const done = new Promise((resolve) => listener.close(resolve));
    listener.closeIdleConnections();
    await done;
    assert.ok(closed);
  });
});

test("the recipe for Workers creates its server with the database of the first request", async () => {
  await withModules("Workers with D1", async (load) => {
    const { default: app, getReality } = await load("worker.ts");
    const database = new DatabaseSync(":memory:");
    const DB = {
      prepare: (sql: string) => ({
        bind: (...params: string[]) => ({
          all: () => Promise.resolve({ results: database.prepare(sql).all(...params) }),
        }),
      }),
    };
    const env = { DB, REALITY_WRITE_TOKEN: "a-long-random-token" };
    assert.equal((await app.request("/posts", { method: "POST" }, env)).status, 204);
    await tells(await app.request(sync("posts"), {}, env), "posts");
    await getReality(env).close();
    database.close();
  });
});

test("the recipe for AWS Lambda answers an event of an HTTP API", async () => {
  await withModules("AWS Lambda", async (load) => {
    const { handler } = await load("lambda.ts");
    const body = '{"known":{"posts":0}}';
    const answer = await handler({
      version: "2.0",
      rawPath: "/reality/sync",
      rawQueryString: "",
      headers: { "content-type": "application/json", "content-length": String(body.length) },
      requestContext: { http: { method: "POST", path: "/reality/sync", sourceIp: "192.0.2.1" } },
      body,
      isBase64Encoded: false,
    }, {});
    assert.equal(answer.statusCode, 200);
    assert.deepEqual(JSON.parse(answer.body).changed, {});
  });
});

test("the recipe for a page without a framework reads what the stream sends", () => {
  const listeners: Record<string, (event: { data: string }) => void> = {};
  let url = "";
  class EventSource {
    constructor(given: string) {
      url = given;
    }
    addEventListener(name: string, listener: (event: { data: string }) => void) {
      listeners[name] = listener;
    }
  }
  const logged: unknown[][] = [];
  const [[, code = ""] = []] = [...modulesOf("In the page")];
  const run = new Function("EventSource", "console", code);
  run(EventSource, { log: (...words: unknown[]) => logged.push(words) });
  listeners.update!({ data: '{"key":"posts","version":1}' });
  assert.deepEqual(logged, [["fetch again:", "posts"]]);
  assert.equal(new URL(url, "http://localhost").searchParams.getAll("keys").join(), "posts,user:7");
});
