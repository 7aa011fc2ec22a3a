/**
 * The command on PostgreSQL: two servers behind which there is one database.
 *
 * @module
 */
import assert from "node:assert/strict";
import { tmpdir } from "node:os";
import { test } from "../../../harness.ts";
import { soon } from "../../../http/client.ts";
import { Child } from "../../../runtimes/child.ts";
import { POSTGRES_URL } from "./drivers.ts";

const TOKEN = "token-of-the-command";

test("a change through one command wakes clients that wait at another on the same PostgreSQL", async () => {
  const env = { PORT: "0", HOST: "127.0.0.1", REALITY_STORAGE: POSTGRES_URL, REALITY_WRITE_TOKEN: TOKEN };
  const commands = [0, 1].map(() => Child.run("cli/bin.ts", env, tmpdir()));
  try {
    const urls = await Promise.all(commands.map(async (command) => {
      const [, url = ""] = await command.printed(/ is at (http:\S+)\n/);
      return url;
    }));
    assert.match(commands[0]?.output ?? "", /Storage: PostgreSQL at 127\.0\.0\.1:\d+\n/);
    const key = `command:${crypto.randomUUID()}`;
    const post = async (url: string | undefined, path: string, body: unknown) => {
      const response = await fetch(`${url}/${path}`, {
        method: "POST",
        headers: { "content-type": "application/json", authorization: `Bearer ${TOKEN}` },
        body: JSON.stringify(body),
      });
      return await response.json();
    };
    const first = await post(urls[0], "update", { key, hash: "1" });
    const waiting = post(urls[1], "sync", { known: { [key]: first.versions[key] }, wait: 20_000 });
    const second = await post(urls[0], "update", { key, hash: "2" });
    const { changed, epoch } = await soon(waiting, "the answer to the waiting client");
    assert.equal(changed[key].version, second.versions[key]);
    assert.equal(epoch, second.epoch);
    for (const command of commands) command.signal("SIGTERM");
    assert.deepEqual(await Promise.all(commands.map((command) => command.ended())), [0, 0]);
  } finally {
    await Promise.all(commands.map((command) => command.kill()));
  }
});

test("the command names REALITY_STORAGE and no password when PostgreSQL does not answer", async () => {
  const command = Child.run("cli/bin.ts", {
    PORT: "0",
    REALITY_STORAGE: "postgres://me:secret-word@127.0.0.1:1/none",
  }, tmpdir());
  try {
    assert.equal(await command.ended(), 1);
    assert.match(command.output, /Cannot use REALITY_STORAGE, postgres:…: /);
    assert.equal(command.output.includes("secret-word"), false);
  } finally {
    await command.kill();
  }
});
