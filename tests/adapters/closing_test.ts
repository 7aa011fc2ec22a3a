import assert from "node:assert/strict";
import { tmpdir } from "node:os";
import { RawClient, soon, until } from "../http/client.ts";
import { test } from "../harness.ts";
import { Child } from "../runtimes/child.ts";

const HEAD = "Host: a\r\nContent-Type: application/json\r\n";

test("close() leaves no timer, listener or connection that keeps the process running", async () => {
  const child = Child.run("tests/adapters/closing.ts", {}, tmpdir());
  const clients: RawClient[] = [];
  try {
    const [, port] = await child.printed(/listens on (\d+)\./);
    const ask = async (text: string) => {
      const client = await RawClient.connect(`http://127.0.0.1:${port}`);
      clients.push(client);
      client.send(text);
      return client;
    };
    const body = '{"known":{"quiet":0},"wait":20000}';
    const waiting = await Promise.all(
      Array.from(
        { length: 20 },
        () => ask(`POST /reality/sync HTTP/1.1\r\n${HEAD}Content-Length: ${body.length}\r\n\r\n${body}`),
      ),
    );
    const streams = await Promise.all(
      Array.from({ length: 5 }, () => ask("GET /reality/events?keys=quiet HTTP/1.1\r\nHost: a\r\n\r\n")),
    );
    const isParked = async () =>
      (await (await fetch(`http://127.0.0.1:${port}/reality/metrics`)).text()).includes(
        "\nreality_waiters 25\n",
      );
    await until(isParked, "all of them are parked");
    child.signal("SIGTERM");
    await child.printed(/closed with 0 waiters, 0 streams\./);
    for (const client of waiting) {
      await soon(client.closed(), "the end of a connection that waited");
      assert.match(client.received, /^HTTP\/1\.1 200 [\s\S]*"changed":\{/);
    }
    for (const client of streams) {
      await soon(client.closed(), "the end of a stream");
      assert.match(client.received, /retry: \d+\n\n[\s\S]*retry: \d+\n\n/);
    }
    assert.equal(await child.ended(), 0);
    assert.doesNotMatch(child.output, /CLOSED|INTERNAL/);
  } finally {
    for (const client of clients) await client.close();
    await child.kill();
  }
});
