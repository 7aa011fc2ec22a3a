/**
 * The npm package as its users meet it: packed, installed in an empty folder, run on every runtime, type-checked.
 *
 * @module
 */

import assert from "node:assert/strict";
import { basename, dirname, join } from "node:path/posix";
import { chromium } from "playwright-core";
import { skip, test } from "../harness.ts";
import { RawClient, until } from "../http/client.ts";
import { PAGES, readBlocks } from "../pages/blocks.ts";
import { commandsOf, linkPackages, runPrograms, RUNTIMES, writePrograms } from "../pages/programs.ts";
import { findPort } from "../run/server.ts";

interface Packed {
  filename: string;
  size: number;
  unpackedSize: number;
  files: { path: string }[];
}

const env = (name: string) =>
  Deno.env.get(name) ?? assert.fail(`Cannot test the package: ${name} is not set`);
const runtimes = {
  "Node 20": env("REALITY_NODE20"),
  "Node 22": env("REALITY_NODE22"),
  "Node 24": env("REALITY_NODE"),
  "Bun": env("REALITY_BUN"),
};
const config: { exports: Record<string, string> } = JSON.parse(await Deno.readTextFile("deno.json"));
// In the npm package the command is no export: it has a name of its own.
delete config.exports["./bin"];
const name = "@rootlodge/reality-server";

/** The environment of a program: paths only, none of the variables of the tests. */
const PLACES: Record<string, string> = {
  PATH: `${dirname(runtimes["Node 20"])}:${Deno.env.get("PATH")}`,
  ...Object.fromEntries(
    ["HOME", "TMPDIR", "DENO_DIR", "XDG_CACHE_HOME", "npm_config_cache"].flatMap((name) => {
      const value = Deno.env.get(name);
      return value === undefined ? [] : [[name, value]];
    }),
  ),
};

// Outside of the project, so that nothing is found in its node_modules.
const folder = await Deno.makeTempDir({ prefix: "reality-npm-" });
globalThis.addEventListener("unload", () => Deno.removeSync(folder, { recursive: true }));

await run(".", Deno.execPath(), "task", "--quiet", "build:npm");
const [packed]: [Packed] = JSON.parse(
  await run(".", "npm", "pack", "./npm", "--json", "--pack-destination", folder),
);
const app = `${folder}/app`;
await Deno.mkdir(app);
await run(app, "npm", "install", "--offline", "--no-audit", "--no-fund", `../${packed.filename}`);
const installed = `${app}/node_modules/${name}`;
const manifest = JSON.parse(await Deno.readTextFile(`${installed}/package.json`));
const command = `${installed}/${manifest.bin["reality-server"]}`;
const token = "token-of-the-package";

const pages = `${folder}/pages`;
const programs = await writePrograms(pages);
await linkPackages(pages, installed);
const commands = commandsOf({
  node20: runtimes["Node 20"],
  node24: runtimes["Node 24"],
  bun: runtimes.Bun,
});

test("the package has the exports of deno.json, each built and typed", () => {
  const built = Object.entries(config.exports).map(([key, path]) => {
    const js = path.replace(/\.ts$/, ".js");
    return [key, { types: path.replace(/\.ts$/, ".d.ts"), import: js, default: js }];
  });
  assert.deepEqual(manifest.exports, Object.fromEntries(built));
  const files = packed.files.map(({ path }) => `./${path}`);
  const missing = Object.values<Record<string, string>>(manifest.exports).flatMap(Object.values)
    .filter((path) => !files.includes(path));
  assert.deepEqual(missing, []);
});

test("the package has the pages that people read first, and their links lead to the repository", async () => {
  for (const page of ["README.md", "CHANGELOG.md", "SECURITY.md"]) {
    const text = await Deno.readTextFile(`${installed}/${page}`);
    const links = [...text.matchAll(/\]\(([^)]+)\)|(?:src|href)="([^"]+)"/g)].map(([, a, b]) => a ?? b ?? "");
    assert.ok(links.length > 0, page);
    assert.deepEqual(links.filter((link) => !/^(https:|#)/.test(link)), [], page);
  }
  assert.match(manifest.homepage, /^https:/);
  assert.match(manifest.bugs, /^https:.*issues$/);
});

test("the package has no dependencies, and only optional peer dependencies", async () => {
  assert.equal(manifest.dependencies, undefined);
  const peers = Object.keys(manifest.peerDependencies);
  assert.deepEqual(peers.filter((peer) => manifest.peerDependenciesMeta[peer]?.optional !== true), []);
  const used = Object.values<{ default: string }>(manifest.exports).flatMap((found) =>
    packagesOf(found.default)
  );
  // Imported by names that are values, so that bundlers do not include them where they are not needed.
  const lazy = ["@aws-sdk/client-dynamodb", "mysql2"];
  // The application passes it in.
  const passed = "@tanstack/query-core";
  const scripts = packed.files.map(({ path }) => path).filter((path) => path.endsWith(".js"));
  const texts = await Promise.all(scripts.map((path) => Deno.readTextFile(`${installed}/${path}`)));
  for (const peer of lazy) assert.ok(texts.some((text) => text.includes(`"${peer}"`)), peer);
  assert.deepEqual(peers.sort(), [...new Set([...used, ...lazy, passed])].sort());
  const found = await Array.fromAsync(Deno.readDir(`${app}/node_modules`), (entry) => entry.name);
  assert.deepEqual(found.filter((entry) => !entry.startsWith(".")), ["@rootlodge"]);
});

test("an entry loads few files, because each costs a Node process a millisecond at its start", () => {
  const most = Math.max(
    ...Object.values<{ default: string }>(manifest.exports).map((found) => filesOf(found.default).size),
  );
  assert.ok(most <= 8, `one of them loads ${most}`);
});

test("a plain server loads what it uses: nothing for its first sync, and one file or two for another feature", async () => {
  const script = `
    import { registerHooks } from "node:module";
    const loaded = [];
    registerHooks({
      load(url, context, next) {
        if (url.startsWith("file:")) loaded.push(url);
        return next(url, context);
      },
    });
    const { createFetchHandler, MemoryStorage, RealityServer } = await import("${name}");
    const server = new RealityServer({ storage: new MemoryStorage(), writeTokens: ["token-of-the-tests"] });
    const handler = createFetchHandler(server);
    const counts = [];
    const request = async (path, body) => {
      const headers = { "content-type": "application/json", authorization: "Bearer nobody" };
      const response = await handler(
        new Request("http://localhost/reality/" + path, body ? { method: "POST", headers, body: JSON.stringify(body) } : {}),
      );
      await response.body?.cancel();
      counts.push(path + " " + response.status + " " + loaded.splice(0).length);
    };
    await server.updateNode("a", "1");
    await request("sync", { known: { a: 0 } });
    await request("sync", { known: { a: 1 }, wait: 1 });
    await request("health");
    await request("update", { key: "a", hash: "2" });
    await request("events?keys=a");
    await request("metrics");
    await request("openapi.json");
    await server.stamp(["a"]);
    counts.push("stamp " + loaded.splice(0).length);
    await server.close();
    console.log(counts.join(", "));
  `;
  assert.equal(
    await run(app, runtimes["Node 24"], "--input-type=module", "--eval", script),
    "sync 200 2, sync 200 0, health 200 0, update 401 2, events?keys=a 200 1, metrics 200 1, openapi.json 200 1, stamp 1\n",
  );
});

test("a class is the same object in each entry that exports it", async () => {
  const script = `
    const [all, memory, sqlite, sql] = await Promise.all(["", "/memory", "/sqlite", "/sql"].map((entry) =>
      import("${name}" + entry)));
    console.log(all.MemoryStorage === memory.MemoryStorage, all.SQLStorage === sql.SQLStorage);
  `;
  assert.equal(await run(app, runtimes["Node 22"], "--input-type=module", "--eval", script), "true true\n");
});

test("the package holds no sources, maps or locks, and is smaller than 1 MB", () => {
  const strange = packed.files.map(({ path }) => path)
    .filter((path) => !/(\.js|\.d\.ts|\.md|^LICENSE|^package\.json|^src\/openapi\.json)$/.test(path));
  assert.deepEqual(strange, []);
  assert.ok(packed.files.some(({ path }) => path === "README.md"));
  assert.ok(packed.size < 1_000_000, `it has ${packed.size} bytes`);
});

test("the installation is one package, smaller than 1.5 MB", async () => {
  const lock = JSON.parse(await Deno.readTextFile(`${app}/node_modules/.package-lock.json`));
  assert.deepEqual(Object.keys(lock.packages), [`node_modules/${name}`]);
  assert.ok(packed.unpackedSize < 1_500_000, `it has ${packed.unpackedSize} bytes`);
});

const chromiumPath = Deno.env.get("REALITY_CHROMIUM");
const testPage = chromiumPath ? test : skip;
testPage(
  "the minimal example runs on Node 20 as it stands, and its page, in Chromium, shows a change",
  async () => {
    const example = `${folder}/minimal`;
    await Deno.mkdir(example);
    for (const file of ["server.mjs", "index.html"]) {
      await Deno.copyFile(`examples/minimal/${file}`, `${example}/${file}`);
    }
    const lines = (await Deno.readTextFile(`${example}/server.mjs`)).split("\n");
    assert.ok(lines.filter((line) => line !== "").length <= 15);
    await run(example, "npm", "install", "--offline", "--no-audit", "--no-fund", `../${packed.filename}`);
    const port = await findPort();
    const child = new Deno.Command(runtimes["Node 20"], {
      args: ["server.mjs"],
      cwd: example,
      env: { ...PLACES, PORT: String(port) },
      clearEnv: true,
    }).spawn();
    const url = `http://localhost:${port}`;
    try {
      await until(
        () => fetch(url).then(async (page) => (await page.text()) !== "", () => false),
        "it answers",
      );
      // The modules of the client, and nothing else of the folder.
      for (const path of ["/server.mjs", "/node_modules/@rootlodge/reality-server/package.json"]) {
        const response = await fetch(url + path);
        await response.body?.cancel();
        assert.equal(response.status, 404);
      }
      const missing = await fetch(`${url}/node_modules/@rootlodge/missing.js`);
      assert.equal(await missing.text(), "");

      const first = await fetch(`${url}/votes`);
      assert.equal(await first.json(), 0);
      const again = await fetch(`${url}/votes`, { headers: { "if-none-match": first.headers.get("etag")! } });
      assert.equal(again.status, 304);

      const browser = await chromium.launch({
        executablePath: env("REALITY_CHROMIUM"),
        args: ["--no-sandbox"],
      });
      try {
        const [one, other] = [await browser.newPage(), await browser.newPage()];
        await Promise.all([one.goto(url), other.goto(url)]);
        await Promise.all([one, other].map((page) => page.getByText("0 votes").waitFor()));
        await one.getByRole("button", { name: "Vote" }).click();
        await Promise.all([one, other].map((page) => page.getByText("1 votes").waitFor()));
      } finally {
        await browser.close();
      }
    } finally {
      child.kill("SIGTERM");
      await child.status;
    }
  },
);

for (const [runtime, program] of Object.entries(runtimes)) {
  test(`the quick start runs on ${runtime}`, async () => {
    await Deno.copyFile("tests/npm/quick_start.js", `${app}/quick_start.mjs`);
    assert.match(await run(app, program, "quick_start.mjs"), /^quick start: ok$/m);
  });

  test(`every export that needs no package loads on ${runtime}`, async () => {
    const keys = Object.keys(config.exports).filter((key) =>
      packagesOf(manifest.exports[key].default).length === 0
    );
    const imports = keys.map((key) => `await import(${JSON.stringify(name + key.slice(1))});`);
    const lines = [`process.env.REALITY_STORAGE = "memory:";`, ...imports, `console.log("loaded");`];
    await Deno.writeTextFile(`${app}/load.mjs`, [...lines, "process.exit();"].join("\n"));
    assert.match(await run(app, program, "load.mjs"), /loaded/);
  });

  test(`the command starts, answers, checks itself and stops on ${runtime}`, async () => {
    const storage = runtime === "Node 20" ? "memory:" : `sqlite:./${runtime}.db`;
    const child = new Deno.Command(program, {
      args: [command],
      cwd: app,
      env: { ...PLACES, PORT: "0", HOST: "127.0.0.1", REALITY_STORAGE: storage, REALITY_WRITE_TOKEN: token },
      clearEnv: true,
      stdout: "piped",
      stderr: "inherit",
    }).spawn();
    try {
      const { address, rest } = await firstAddress(child.stdout);
      const response = await fetch(`${address}/reality/sync`, {
        method: "POST",
        headers: { "content-type": "application/json" },
        body: JSON.stringify({ known: { a: 0 } }),
      });
      assert.equal(response.status, 200);
      assert.deepEqual((await response.json()).changed, {});
      const document = await (await fetch(`${address}/reality/openapi.json`)).json();
      assert.deepEqual(document, JSON.parse(await Deno.readTextFile(`${installed}/src/openapi.json`)));
      const report = await run(app, program, command, "check", address, "--write-token", token);
      assert.match(report, /: \d+ ok, 0 failed, \d+ not checked\n$/);
      // On Node 20 and 22 only the first of pipelined responses is told of its connection's end. Bun answers one at a time.
      await givesPlacesBack(address, runtime === "Bun" ? 1 : 40);
      child.kill("SIGTERM");
      await rest;
      assert.equal((await child.status).code, 0);
    } catch (error) {
      child.kill("SIGKILL");
      throw error;
    }
  });
}

for (const runtime of RUNTIMES) {
  test(`the programs of the pages run on ${runtime}`, async () => {
    const own = programs.filter(({ runtimes }) => runtimes.includes(runtime));
    assert.ok(own.length > 0);
    await runPrograms(pages, own, commands[runtime]);
  });
}

test("the types of the TypeScript programs of the pages are correct", async () => {
  const files = programs.filter(({ file }) => file.endsWith("ts")).map(({ page, file }) => `${page}/${file}`);
  if (files.length > 0) await run(pages, Deno.execPath(), "check", "--quiet", ...files);
});

/** Checks that a lost connection frees the slots of all its pipelined requests. */
async function givesPlacesBack(address: string, count: number): Promise<void> {
  const has = (waiters: number) =>
    until(async () => {
      const metrics = await (await fetch(`${address}/reality/metrics`)).text();
      return metrics.includes(`\nreality_waiters ${waiters}\n`);
    }, `${waiters} wait`);
  const body = '{"known":{"a":0},"wait":20000}';
  const raw = await RawClient.connect(address);
  raw.send(
    ("POST /reality/sync HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n" +
      `Content-Length: ${body.length}\r\n\r\n${body}`).repeat(count),
  );
  await has(count);
  await raw.close();
  await has(0);
}

test("the command reports on Node 20 that SQLite is missing", async () => {
  const { code, stderr } = await serve("Node 20", {});
  assert.equal(code, 1);
  assert.match(new TextDecoder().decode(stderr), /node:sqlite is not there: use Node 22 or newer/);
});

test("the command says how to install a missing package", async () => {
  const cases: [keyof typeof runtimes, string, Record<string, string>][] = [
    ["Node 24", "postgres", { REALITY_STORAGE: "postgres://app:secret@127.0.0.1:1/app" }],
    ["Bun", "ioredis", { REALITY_STORAGE: "memory:", REDIS_URL: "redis://127.0.0.1:1" }],
    ["Node 20", "jose", {
      REALITY_STORAGE: "memory:",
      REALITY_JWT_SECRET: "a secret of 32 characters or more",
    }],
  ];
  for (const [runtime, missing, env] of cases) {
    const { code, stderr } = await serve(runtime, env);
    assert.equal(code, 1, runtime);
    const expected = `^Cannot use \\w+.*: the package ${missing} is missing: npm install ${missing}, or npx `;
    assert.match(new TextDecoder().decode(stderr), new RegExp(expected), runtime);
  }
});

test("the command ends when npx ends, which does not forward the signal", async () => {
  const npx = new Deno.Command("npx", {
    args: ["--no-install", "reality-server"],
    cwd: app,
    env: { ...PLACES, PORT: "0", HOST: "127.0.0.1", REALITY_STORAGE: "memory:" },
    clearEnv: true,
    stdout: "piped",
    stderr: "inherit",
  }).spawn();
  const { address, rest } = await firstAddress(npx.stdout);
  npx.kill("SIGTERM");
  await npx.status;
  // The pipe ends with its last holder: the server itself.
  await rest;
  await assert.rejects(fetch(`${address}/reality/health`));
});

test("the command reports on each runtime which rules it cannot check", async () => {
  for (const [runtime, program] of Object.entries(runtimes)) {
    const check = new Deno.Command(program, { args: [command, "check", "http://127.0.0.1:1"], cwd: app });
    const { code, stderr } = await check.output();
    assert.equal(code, 2, runtime);
    assert.match(
      new TextDecoder().decode(stderr),
      /^Cannot check http:\/\/127\.0\.0\.1:1\/reality: /,
      runtime,
    );
  }
});

test("npm runs the command by its name", async () => {
  const link = await Deno.realPath(`${app}/node_modules/.bin/reality-server`);
  assert.equal(link, await Deno.realPath(`${installed}/${manifest.bin["reality-server"]}`));
  assert.match(await Deno.readTextFile(link), /^#!\/usr\/bin\/env node\n/);
});

test("Bun installs the package", async () => {
  const bunApp = `${folder}/bun`;
  await Deno.mkdir(bunApp);
  await Deno.writeTextFile(`${bunApp}/package.json`, "{}");
  await run(bunApp, runtimes.Bun, "add", `../${packed.filename}`);
  await Deno.copyFile("tests/npm/quick_start.js", `${bunApp}/quick_start.mjs`);
  assert.match(await run(bunApp, runtimes.Bun, "--no-install", "quick_start.mjs"), /^quick start: ok$/m);
});

/** How TypeScript finds modules, and the module format of the application. "node10" is the default of `module: "commonjs"`. */
const RESOLUTIONS = [
  ["nodenext", "nodenext", "module"],
  ["nodenext", "nodenext", "commonjs"],
  ["bundler", "esnext", "module"],
  ["node10", "commonjs", "commonjs"],
];

for (const [resolution, module, type] of RESOLUTIONS) {
  test(`all types pass strict checks with "${resolution}" resolution in a package of type "${type}"`, async () => {
    const checked = `${folder}/${resolution}-${type}`;
    await Deno.mkdir(`${checked}/node_modules/@rootlodge`, { recursive: true });
    await run(checked, "cp", "-r", installed, "node_modules/@rootlodge");
    await Deno.writeTextFile(`${checked}/package.json`, JSON.stringify({ type }));
    const modules = await Deno.realPath("node_modules");
    const compile = async (types: string[], files: string[], lib = ["esnext", "dom"]) => {
      const compilerOptions = {
        ...{
          strict: true,
          exactOptionalPropertyTypes: true,
          skipLibCheck: false,
          checkJs: true,
          noEmit: true,
        },
        ...{ target: "es2022", lib, types, module, moduleResolution: resolution },
      };
      await Deno.writeTextFile(`${checked}/tsconfig.json`, JSON.stringify({ compilerOptions, files }));
      await run(checked, runtimes["Node 24"], `${modules}/typescript/lib/tsc.js`);
    };

    // The main module asks for no other package's types, not even for Node's. CommonJS has no `await` at the top.
    await Deno.copyFile("tests/npm/consumer.ts", `${checked}/consumer.ts`);
    if (type === "module") await compile([], ["consumer.ts"]);

    for (const peer of ["@types/node", ...Object.keys(manifest.peerDependencies)]) {
      await Deno.mkdir(dirname(`${checked}/node_modules/${peer}`), { recursive: true });
      await Deno.symlink(`${modules}/${peer}`, `${checked}/node_modules/${peer}`);
    }
    await Deno.copyFile("tests/npm/quick_start.js", `${checked}/quick_start.js`);
    const keys = Object.keys(config.exports);
    const everyExport = keys.map((key, i) => `export * as e${i} from "${name + key.slice(1)}";`);
    await Deno.writeTextFile(`${checked}/every.ts`, everyExport.join("\n"));
    await compile(["node"], type === "module" ? ["every.ts", "quick_start.js"] : ["every.ts"]);
    // A back end has the types of Node, and none of the DOM.
    await compile(["node"], ["every.ts"], ["es2023"]);
  });
}

test("the TypeScript examples of the pages pass strict checks with the types of Node", async () => {
  const checked = `${folder}/examples/typed`;
  await Deno.mkdir(checked, { recursive: true });
  const modules = await Deno.realPath("node_modules");
  await Deno.symlink(modules, `${folder}/examples/node_modules`);
  await Deno.symlink(`${app}/node_modules`, `${checked}/node_modules`);
  const files = PAGES.flatMap((page) => readBlocks(page)).filter(({ language, words, file }) =>
    language === "ts" && file === undefined && !words.includes("ignore")
  ).map(({ page, line, text }) => {
    const path = `${basename(page, ".md")}-${line}.ts`;
    Deno.writeTextFileSync(`${checked}/${path}`, `${text}export {};\n`);
    return path;
  });
  assert.ok(files.length > 60);
  await Deno.writeTextFile(`${checked}/untyped.d.ts`, `declare module "better-sqlite3";`);
  await Deno.writeTextFile(`${checked}/package.json`, `{"type": "module"}`);
  const compilerOptions = {
    ...{ strict: true, noUncheckedIndexedAccess: true, noEmit: true, target: "es2022", lib: ["esnext"] },
    // Packages that are not ours may need the types of the DOM.
    ...{ types: ["node"], typeRoots: [`${modules}/@types`], module: "nodenext", skipLibCheck: true },
  };
  const config = { compilerOptions, files: [...files, "untyped.d.ts"] };
  await Deno.writeTextFile(`${checked}/tsconfig.json`, JSON.stringify(config));
  await run(checked, runtimes["Node 24"], `${modules}/typescript/lib/tsc.js`);
});

/** The packages that a built file imports, itself or by way of others. */
/** The files that an entry loads when it is imported. */
function filesOf(path: string): Set<string> {
  const files = new Set<string>();
  packagesOf(path, files);
  return files;
}

function packagesOf(path: string, seen: Set<string> = new Set()): string[] {
  if (seen.has(path)) return [];
  seen.add(path);
  const text = Deno.readTextFileSync(`${installed}/${path}`);
  const names = [...text.matchAll(/^(?:.*\*\/ )?(?:import|export)\s(?:[^;"'=()]*?from\s*)?"([^"]+)"/gm)].map((
    match,
  ) => match[1]!);
  return names.flatMap((found) => {
    if (found.startsWith(".")) return packagesOf(join(dirname(path), found), seen);
    return found.startsWith("node:") ? [] : [found.match(/^(@[^/]+\/)?[^/]+/)![0]];
  });
}

/** Runs the command until it ends by itself. */
async function serve(
  runtime: keyof typeof runtimes,
  env: Record<string, string>,
): Promise<Deno.CommandOutput> {
  const options = { args: [command], cwd: app, env: { ...PLACES, PORT: "0", ...env }, clearEnv: true };
  return await new Deno.Command(runtimes[runtime], options).output();
}

/** Runs a program to its end and gives what it printed; what it printed is the error if it fails. */
async function run(cwd: string, program: string, ...args: string[]): Promise<string> {
  const command = new Deno.Command(program, { args, cwd, env: { ...PLACES, NO_COLOR: "1" }, clearEnv: true });
  const { code, stdout, stderr } = await command.output();
  const text = new TextDecoder().decode(stdout);
  if (code !== 0) {
    assert.fail(
      `${program} ${args.join(" ")} ended with ${code}:\n${text}${new TextDecoder().decode(stderr)}`,
    );
  }
  return text;
}

/** The first address in what a server prints; `rest` settles when it has printed everything. */
async function firstAddress(stream: ReadableStream<Uint8Array<ArrayBuffer>>) {
  const reader = stream.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  while (true) {
    const { value, done } = await reader.read();
    if (done) assert.fail(`the server ended after printing: ${text}`);
    text += value;
    const address = /http:\/\/[\w.]+:\d+/.exec(text)?.[0];
    if (!address) continue;
    const drain = async () => {
      while (!(await reader.read()).done);
    };
    return { address, rest: drain() };
  }
}
