/**
 * The command serves: its settings, storages, rights and errors.
 *
 * @module
 */
import assert from "node:assert/strict";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { SignJWT } from "jose";
import { test } from "../harness.ts";
import { soon } from "../http/client.ts";
import { Child } from "../runtimes/child.ts";
import { listenNode } from "../runtimes/node.ts";
import { MEMORY, statusOf, sync, TOKEN, withCommand, withFolder, write } from "./command.ts";

test("the command serves, and logs its address and its settings", async () => {
  await withFolder(async (folder) => {
    const env = { ...MEMORY, REALITY_SERVER_ID: "the-one", REALITY_BASE_PATH: "/live", REALITY_CORS: "*" };
    await withCommand(env, folder, async (child, url) => {
      assert.match(child.output, /server the-one is at http:\/\/127\.0\.0\.1:\d+\/live\n/);
      assert.match(child.output, /^Storage: memory; nodes are lost/m);
      assert.match(child.output, /^Writes: closed; set REALITY_WRITE_TOKEN/m);
      assert.match(child.output, /^Reads: open to all clients; set REALITY_JWT_SECRET/m);
      const response = await fetch(`${url}/health`, { headers: { origin: "https://a.example" } });
      assert.equal(response.headers.get("access-control-allow-origin"), "*");
      assert.deepEqual(await response.json(), { status: "ok" });
      assert.equal((await write(url, "a")).status, 403);
    });
  });
});

test("the command stores nodes in a file, and accepts writes with a token", async () => {
  await withFolder(async (folder) => {
    const env = {
      PORT: "0",
      HOST: "127.0.0.1",
      REALITY_STORAGE: "sqlite:nodes.db",
      REALITY_WRITE_TOKEN: `other-${TOKEN},${TOKEN}`,
    };
    const written = await withCommand(env, folder, async (_child, url) => {
      const { versions } = await (await write(url, "a")).json();
      return versions.a;
    });
    await withCommand(env, folder, async (_child, url) => {
      const { changed } = await (await sync(url, { known: { a: 0 } })).json();
      assert.equal(changed.a.version, written);
    });
  });
});

test("the command reads rights from tokens, limits clients, and logs JSON", async () => {
  const secret = "the secret of the command, 32 or more".replace(",", "");
  const env = {
    ...MEMORY,
    REALITY_JWT_SECRET: secret,
    REALITY_WRITE_TOKEN: TOKEN,
    REALITY_RATE_LIMIT: "4/3600",
    REALITY_MAX_KEYS: "2",
    REALITY_LOG_FORMAT: "json",
    REALITY_LOG_LEVEL: "debug",
  };
  await withFolder(async (folder) => {
    const child = Child.run("cli/bin.ts", env, folder);
    try {
      const [, url = ""] = await child.printed(/ is at (http:[^"]+)"/);
      await (await write(url, "mine")).body?.cancel();
      const token = await new SignJWT({ reality: { keys: ["mine"] } }).setProtectedHeader({ alg: "HS256" })
        .sign(new TextEncoder().encode(secret));
      const ask = (known: unknown, headers: Record<string, string>) =>
        fetch(`${url}/sync`, {
          method: "POST",
          headers: { "content-type": "application/json", ...headers },
          body: JSON.stringify({ known }),
        });
      const known = { mine: 0, theirs: 0 };
      const allowed = await (await ask(known, { authorization: `Bearer ${token}` })).json();
      assert.deepEqual(Object.keys(allowed.changed), ["mine"]);
      assert.equal(await statusOf(ask(known, {})), 401);
      assert.equal(await statusOf(ask({ a: 0, b: 0, c: 0 }, {})), 413);
      assert.equal(await statusOf(ask(known, {})), 429);
      child.signal("SIGTERM");
      assert.equal(await child.ended(), 0);
      const lines = child.output.trim().split("\n").map((line) => JSON.parse(line));
      assert.ok(
        lines.some(({ level, message }) =>
          level === "info" && /^Reads: open to clients with a token/.test(message)
        ),
      );
      assert.ok(
        lines.some(({ level, message, status }) =>
          level === "debug" && message === "request" && status === 401
        ),
      );
      assert.ok(
        !child.output.includes(token) && !child.output.includes(secret) && !child.output.includes(TOKEN),
      );
    } finally {
      await child.kill();
    }
  });
});

test("the command asks the application which keys a client may read, and logs a failure of it once", async () => {
  let keys: unknown = ["mine"];
  const { origin, close } = await listenNode((request, response) => {
    const isKnown = request.headers.authorization === "Basic ana";
    response.writeHead(keys === null ? 500 : isKnown ? 200 : 401).end(JSON.stringify({ keys }));
  });
  await withFolder(async (folder) => {
    const env = { ...MEMORY, REALITY_AUTHORIZE_URL: `${origin}/rights`, REALITY_WRITE_TOKEN: TOKEN };
    await withCommand(env, folder, async (child, url) => {
      assert.match(child.output, /Reads: decided by http:\/\/127\.0\.0\.1:\d+\/rights\n/);
      await (await write(url, "mine")).body?.cancel();
      await (await write(url, "theirs")).body?.cancel();
      const ask = (authorization: string) =>
        fetch(`${url}/sync`, {
          method: "POST",
          headers: { "content-type": "application/json", authorization },
          body: JSON.stringify({ known: { mine: 0, theirs: 0 } }),
        });
      const { changed } = await (await ask("Basic ana")).json();
      assert.deepEqual(Object.keys(changed), ["mine"]);
      assert.equal(await statusOf(ask("Basic eve")), 401);
      assert.equal(await statusOf(fetch(`${url}/events?keys=mine`)), 401);
      keys = null;
      for (let i = 0; i < 2; i++) assert.equal(await statusOf(ask("Basic ana")), 503);
      assert.equal(child.output.match(/who may read: it answered 500/g)?.length, 1);
      keys = true;
      assert.equal(await statusOf(ask("Basic ana")), 200);
    });
  });
  await close();
});

test("the command refuses wrong variables and arguments, and names them", async () => {
  await withFolder(async (folder) => {
    const cases: [Record<string, string>, string[], number, RegExp][] = [
      [{ PORT: "high" }, [], 1, /^Cannot use PORT: .*"high"\n$/],
      [
        { REALITY_STORAGE: "sqlite:./none/nodes.db" },
        [],
        1,
        /Cannot use REALITY_STORAGE, sqlite:\.\/none\/nodes\.db: /,
      ],
      [{}, ["--port"], 1, /^Cannot read the argument "--port"[\s\S]*REALITY_STORAGE/],
      [
        { REALITY_STORAG: "memory:" },
        [],
        1,
        /^Cannot use REALITY_STORAG: there is no such variable: did you mean REALITY_STORAGE\?\n$/,
      ],
      [{}, ["--version"], 0, /^\d+\.\d+\.\d+\n$/],
      [{}, ["--help"], 0, /^Settings are environment variables:\n[\s\S]*REALITY_WRITE_TOKEN/],
    ];
    for (const [env, args, code, output] of cases) {
      const child = Child.run("cli/bin.ts", { ...MEMORY, ...env }, folder, args);
      assert.equal(await child.ended(), code);
      assert.match(child.output, output);
      assert.doesNotMatch(child.output, /\bat .*\.ts/);
    }
  });
});

test("the command starts a new epoch in a file that a server has open, and prints both epochs", async () => {
  await withFolder(async (folder) => {
    const env = {
      PORT: "0",
      HOST: "127.0.0.1",
      REALITY_STORAGE: "sqlite:nodes.db",
      REALITY_WRITE_TOKEN: TOKEN,
    };
    await withCommand(env, folder, async (_child, url) => {
      const { versions } = await (await write(url, "a")).json();
      const known = { a: versions.a };
      const { epoch } = await (await sync(url, { known })).json();
      const waiting = sync(url, { known, epoch, wait: 20_000 });
      await (await fetch(`${url}/health`)).body?.cancel();
      const child = Child.run("cli/bin.ts", { REALITY_STORAGE: "" }, folder, [
        "new-epoch",
        "sqlite:nodes.db",
      ]);
      assert.equal(await child.ended(), 0);
      const [, before, after] = /^Old epoch: (\S+)\nNew epoch: (\S+)\n$/.exec(child.output) ?? [];
      assert.equal(before, epoch, child.output);
      const answer = await (await soon(waiting, "the answer to the waiting request")).json();
      assert.equal(answer.epoch, after);
      assert.equal(answer.changed.a.version, versions.a);
      const quiet = await (await sync(url, { known, epoch: after })).json();
      assert.deepEqual(quiet.changed, {});
    });
  });
});

test("the command tells of rows that another program writes to the outbox", async () => {
  await withFolder(async (folder) => {
    const env = { ...MEMORY, REALITY_STORAGE: "sqlite:nodes.db", REALITY_OUTBOX: "app_outbox" };
    await withCommand(env, folder, async (child, url) => {
      assert.match(child.output, /\nOutbox: app_outbox\n/);
      const waiting = sync(url, { known: { "chat:1": 0 }, wait: 20_000 });
      const database = new DatabaseSync(join(folder, "nodes.db"));
      database.exec("PRAGMA busy_timeout = 5000; INSERT INTO app_outbox (key) VALUES ('chat:1')");
      database.close();
      const { changed } = await (await soon(waiting, "the answer to the waiting request")).json();
      assert.ok(changed["chat:1"].version > 0);
    });
  });
});

test("the command starts no new epoch if there is no storage, and prints why", async () => {
  await withFolder(async (folder) => {
    const cases: [Record<string, string>, string[], number, RegExp][] = [
      [{}, ["sqlite:none.db"], 1, /^Cannot start a new epoch in sqlite:none\.db: the file does not exist\n$/],
      [{}, ["memory:"], 1, /^Cannot start a new epoch in .*memory has a new epoch at each start\n$/],
      [{}, ["mysql://app:secret@localhost/app"], 1, /^Cannot use the URL: .*"mysql:…"\n$/],
      [{}, [], 1, /^Cannot start a new epoch: expected a URL, or REALITY_STORAGE[\s\S]*--table/],
      [{}, ["--loud"], 1, /^Cannot read the argument "--loud"/],
      [{ REALITY_STORAGE: "sqlite:none.db" }, [], 1, /sqlite:none\.db: the file does not exist\n$/],
      [{}, ["postgres://app:secret@127.0.0.1:1/app"], 1, /^Cannot start a new epoch in postgres:…: /],
      [{}, ["--help"], 0, /^reality-server new-epoch URL starts a new epoch/],
    ];
    for (const [env, args, code, output] of cases) {
      const child = Child.run("cli/bin.ts", { REALITY_STORAGE: "", ...env }, folder, [
        "new-epoch",
        ...args,
      ]);
      assert.equal(await child.ended(), code, child.output);
      assert.match(child.output, output);
      assert.doesNotMatch(child.output, /secret|\bat .*\.ts/);
    }
  });
});

test("the command reports that a port is in use", async () => {
  const { origin, close } = await listenNode((_request, response) => void response.end());
  await withFolder(async (folder) => {
    const { port } = new URL(origin);
    const child = Child.run("cli/bin.ts", { ...MEMORY, PORT: port }, folder);
    assert.equal(await child.ended(), 1);
    assert.match(child.output, new RegExp(`Cannot use PORT: ${port} is in use.*PORT=${Number(port) + 1}`));
  });
  await close();
});
