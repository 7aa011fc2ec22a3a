import assert from "node:assert/strict";
import { createServer } from "node:net";
import { test } from "../harness.ts";
import { findPort } from "./server.ts";

test("findPort() finds ports that no system gives to a server at port 0 or to a connection", async () => {
  for (let i = 0; i < 20; i++) {
    const port = await findPort();
    // Linux gives those from 32768 on, other systems those from 49152 on.
    assert.ok(port >= 15_000 && port < 32_768, `${port}`);
    const server = createServer();
    await new Promise<void>((resolve, reject) =>
      server.once("error", reject).listen(port, "127.0.0.1", resolve)
    );
    await new Promise((resolve) => server.close(resolve));
  }
});
