/**
 * The command stops, and so does the module for runtimes that serve a default export.
 *
 * @module
 */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import process from "node:process";
import { test } from "../harness.ts";
import { RawClient, soon } from "../http/client.ts";
import { Child, RUN, runtime } from "../runtimes/child.ts";
import { MEMORY, sync, testInNamespace, TOKEN, urlOf, withFolder, write } from "./command.ts";

test("the command answers waiting requests when it stops", async () => {
  await withFolder(async (folder) => {
    for (const signal of ["SIGTERM", "SIGINT"] as const) {
      const child = Child.run("cli/bin.ts", MEMORY, folder);
      try {
        const url = await urlOf(child);
        const stream = await fetch(`${url}/events?keys=a`);
        const waiting = sync(url, { known: { a: 0 }, wait: 20_000 });
        // When this is answered, the wait has begun: the two requests arrived in this order on two connections.
        await (await fetch(`${url}/health`)).body?.cancel();
        child.signal(signal);
        const response = await soon(waiting, "the answer to the waiting request");
        assert.ok(response.status === 200 || response.status === 503);
        await response.body?.cancel();
        assert.match(await soon(stream.text(), "the stream's end"), /retry: \d+\n\n$/);
        assert.equal(await child.ended(), 0);
        assert.match(child.output, new RegExp(`Stopping at ${signal}`));
      } finally {
        await child.kill();
      }
    }
  });
});

testInNamespace("the command stops in order as process 1 of a PID namespace", async () => {
  const flags = ["--pid", "--fork", "--mount-proc", "--kill-child", process.execPath];
  const args = [...flags, ...RUN[runtime]!, `${process.cwd()}/cli/bin.ts`];
  await withFolder(async (folder) => {
    const child = new Child(args, MEMORY, folder, "unshare");
    try {
      const url = await urlOf(child);
      const waiting = sync(url, { known: { a: 0 }, wait: 20_000 });
      await (await fetch(`${url}/health`)).body?.cancel();
      const [first = ""] = readFileSync(`/proc/${child.pid}/task/${child.pid}/children`, "utf8").split(" ");
      process.kill(Number(first), "SIGTERM");
      await (await soon(waiting, "the answer to the waiting request")).body?.cancel();
      assert.equal(await child.ended(), 0);
      assert.match(child.output, /Stopping at SIGTERM/);
    } finally {
      await child.kill();
    }
  });
});

test("the command ignores a signal that its runner forwards a second time", async () => {
  await withFolder(async (folder) => {
    const child = Child.run("cli/bin.ts", MEMORY, folder);
    try {
      const url = await urlOf(child);
      const waiting = sync(url, { known: { a: 0 }, wait: 20_000 });
      await (await fetch(`${url}/health`)).body?.cancel();
      for (let i = 0; i < 3; i++) child.signal("SIGINT");
      await (await soon(waiting, "the answer to the waiting request")).body?.cancel();
      assert.equal(await child.ended(), 0);
    } finally {
      await child.kill();
    }
  });
});

test("the command stops at once at a second signal", async () => {
  await withFolder(async (folder) => {
    const child = Child.run("cli/bin.ts", MEMORY, folder);
    const raw = await RawClient.connect(await urlOf(child));
    try {
      // A body that does not end keeps a connection open.
      raw.send("POST /reality/sync HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n");
      raw.send("Expect: 100-continue\r\nContent-Length: 100\r\n\r\n");
      await raw.receive((received) => received.includes("100 Continue"));
      child.signal("SIGINT");
      await child.printed(/Stopping at SIGINT/);
      const again = setInterval(() => {
        try {
          child.signal("SIGINT");
        } catch {
          // The process has just ended.
        }
      }, 100);
      assert.equal(await child.ended().finally(() => clearInterval(again)), 1);
    } finally {
      await raw.close();
      await child.kill();
    }
  });
});

test("serve.ts runs in runtimes that serve a default export, and stops cleanly", async () => {
  await withFolder(async (folder) => {
    const module = `${process.cwd()}/cli/serve.ts`;
    const env = { PORT: "0", REALITY_STORAGE: "memory:", REALITY_WRITE_TOKEN: TOKEN };
    // Node does not serve a default export: call its `fetch` there.
    const asked = `const { default: app } = await import(${JSON.stringify(module)});
      console.log(await (await app.fetch(new Request("http://localhost/reality/health"))).text());
      setInterval(() => {}, 1000);`;
    const args = {
      deno: ["serve", "--allow-all", "--no-lock", "--port", "0", "--host", "127.0.0.1", module],
      bun: ["run", "--no-install", module],
      node: ["--disable-warning=ExperimentalWarning", "--input-type=module", "--eval", asked],
    };
    const child = new Child(args[runtime], env, folder);
    try {
      if (runtime === "node") {
        await child.printed(/"status":"ok"/);
      } else {
        const [, port] = await child.printed(/http:\/\/[\w.]+:(\d+)/);
        const url = `http://127.0.0.1:${port}/reality`;
        const waiting = sync(url, { known: { a: 0 }, wait: 20_000 });
        const { versions } = await (await write(url, "a")).json();
        const { changed } = await (await soon(waiting, "the answer to the waiting request")).json();
        assert.equal(changed.a.version, versions.a);
      }
      child.signal("SIGTERM");
      assert.equal(await child.ended(), 0);
    } finally {
      await child.kill();
    }
    const wrong = new Child(args[runtime], { ...env, REALITY_CORS: "everybody" }, folder);
    assert.equal(await wrong.ended(), 1);
    assert.match(wrong.output, /Cannot use REALITY_CORS: .*"everybody"/);
  });
});
