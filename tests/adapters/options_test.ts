/**
 * Options that every adapter refuses when it is created.
 *
 * @module
 */
import { throws } from "node:assert/strict";
import { createExpressAdapter } from "../../adapters/express.ts";
import { createFetchHandler } from "../../adapters/fetch.ts";
import { createNodeHandler } from "../../adapters/node.ts";
import { type HandlerOptions, MemoryStorage, RealityServer } from "../../mod.ts";
import { test } from "../harness.ts";

const adapters: Record<string, (server: RealityServer, options: HandlerOptions) => unknown> = {
  createFetchHandler,
  createNodeHandler,
  createExpressAdapter,
  "server.getFetchHandler": (server, options) => server.getFetchHandler(options),
};

for (const [name, open] of Object.entries(adapters)) {
  test(`${name}() refuses "*" together with credentials, and invalid origins`, async () => {
    const server = new RealityServer({ storage: new MemoryStorage() });
    const refused: [unknown, RegExp][] = [
      [
        { origin: "*", credentials: true },
        /^Option "cors" is wrong: origin "\*" together with credentials/,
      ],
      [{ origin: ["*"], credentials: true }, /^Option "origin" is wrong: .* got "\*"$/],
      [{ origin: ["https://app.example/"] }, /^Option "origin" is wrong/],
      [{ origin: ["app.example"] }, /^Option "origin" is wrong/],
      [{ origin: "https://app.example" }, /^Option "origin" is wrong/],
      [{ origin: [], credentials: "yes" }, /^Option "credentials" is wrong/],
      [{}, /^Option "origin" is wrong/],
    ];
    for (const [cors, message] of refused) {
      throws(() => open(server, { cors } as HandlerOptions), { name: "TypeError", message });
    }
    await server.close();
  });
}
