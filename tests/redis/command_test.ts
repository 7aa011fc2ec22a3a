/**
 * The command with REDIS_URL, as a process of its own.
 *
 * @module
 */
import assert from "node:assert/strict";
import { tmpdir } from "node:os";
import { Redis } from "ioredis";
import { test } from "../harness.ts";
import { redisRecipe } from "../run/redis.ts";
import { PrivateServer } from "../run/server.ts";
import { Child } from "../runtimes/child.ts";

const MEMORY = { PORT: "0", HOST: "127.0.0.1", REALITY_STORAGE: "memory:" };

test("the command connects to Redis, logs that without the password, and disconnects at the end", async () => {
  const server = await PrivateServer.start(redisRecipe());
  const admin = new Redis(server.address);
  try {
    const { port } = new URL(server.address);
    await admin.config("SET", "requirepass", "of-the-test");
    const child = await run({ REDIS_URL: `redis://default:of-the-test@127.0.0.1:${port}` }, async (child) => {
      await child.printed(new RegExp(`Redis: 127\\.0\\.0\\.1:${port}\\n`));
      assert.equal(await connections(admin), 2);
    });
    assert.doesNotMatch(child.output, /of-the-test/);
    assert.equal(await connections(admin), 0);
  } finally {
    admin.disconnect();
    await server.stop();
  }
});

test("the command serves while Redis is unreachable, and stops", async () => {
  const server = await PrivateServer.start(redisRecipe());
  await server.stop();
  await run({ REDIS_URL: server.address }, async (child) => {
    const [, url = ""] = await child.printed(/ is at (http:\S+)\n/);
    // Before any request.
    await child.printed(/RelayError: Redis failed: .*ECONNREFUSED/);
    const response = await fetch(`${url}/health`);
    assert.deepEqual(await response.json(), { status: "ok" });
  });
});

/** Runs the command, and ends it as a person would. */
async function run(env: Record<string, string>, play: (child: Child) => Promise<void>): Promise<Child> {
  const child = Child.run("cli/bin.ts", { ...MEMORY, ...env }, tmpdir());
  try {
    await play(child);
    child.signal("SIGINT");
    assert.equal(await child.ended(), 0);
    return child;
  } finally {
    await child.kill();
  }
}

/** How many connections of servers Redis has. */
async function connections(admin: Redis): Promise<number> {
  const list = String(await admin.client("LIST"));
  return list.split("\n").filter((line) => line.includes(" name=reality-server ")).length;
}
