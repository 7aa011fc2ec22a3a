/**
 * Runs the examples of docs/standalone.md.
 *
 * @module
 */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { createServer, type RequestListener, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { SignJWT } from "jose";
import { authorizeByURL } from "../../cli/authorize_url.ts";
import { readEnvironment } from "../../cli/environment/read_environment.ts";
import { USAGE } from "../../cli/environment/variables.ts";
import { jwtAuthorize } from "../../adapters/jwt.ts";
import { test } from "../harness.ts";
import { PAGES, readBlocks } from "../pages/blocks.ts";

const page = readFileSync("docs/standalone.md", "utf8");

/** Returns the code blocks of one language. */
const blocks = (language: string): string[] =>
  readBlocks("docs/standalone.md").filter((block) => block.language === language).map(({ text }) => text);

/** Runs a block with its imports replaced by `names`. Returns one of its variables. */
async function run(text: string, names: Record<string, unknown>, result = "undefined"): Promise<unknown> {
  const code = text.replace(/^import .*\n/gm, "");
  const body = `return (async () => { ${code}; return ${result}; })()`;
  return await new Function(...Object.keys(names), body)(...Object.values(names));
}

const withHeader = (authorization: string) => new Request("http://localhost", { headers: { authorization } });

test("the token of the page allows the keys that the page says", async () => {
  const secret = "the secret of the page, 32 or more";
  const token = await run(
    blocks("js")[0]!,
    { SignJWT, process: { env: { REALITY_JWT_SECRET: secret } } },
    "token",
  );
  const keys = ["user:7", "user:8", "chat:room:1"];
  const rights = await jwtAuthorize({ secret })(withHeader(`Bearer ${token}`), keys);
  assert.deepEqual((rights as { keys: string[] }).keys, ["user:7", "chat:room:1"]);
});

test("the application of the page answers as the page says", async () => {
  let listener: Server | undefined;
  const create = (handler: RequestListener) => {
    listener = createServer(handler);
    return { listen: () => {} };
  };
  await run(blocks("js")[1]!, { createServer: create });
  await new Promise<void>((resolve) => listener?.listen(0, "127.0.0.1", resolve));
  try {
    const { port } = listener?.address() as AddressInfo;
    const authorize = authorizeByURL({ url: `http://127.0.0.1:${port}/reality-rights`, headers: [] });
    const keys = ["user:7", "user:8", "chat:room:1"];
    assert.deepEqual(await authorize(withHeader("Bearer token-of-ana"), keys), ["user:7", "chat:room:1"]);
    await assert.rejects(authorize(withHeader("Bearer another"), keys), { code: "ERR_REALITY_UNAUTHORIZED" });
  } finally {
    listener?.closeAllConnections();
    await new Promise((resolve) => listener?.close(resolve));
  }
});

test("the page and the other pages name only variables that exist", () => {
  const known = new Set(USAGE.match(/REALITY_\w+/g));
  for (const path of PAGES) {
    const named = new Set(readFileSync(path, "utf8").match(/\bREALITY_[A-Z_]*[A-Z]\b/g));
    assert.deepEqual([...named].filter((name) => !known.has(name)), [], path);
  }
  assert.ok(new Set(page.match(/\bREALITY_[A-Z_]*[A-Z]\b/g)).size > 5);
});

test("the settings of the service of the page can be read", () => {
  const [unit = ""] = blocks("ini");
  const [, line = ""] = /^Environment=(.*)$/m.exec(unit) ?? [];
  const settings = readEnvironment(Object.fromEntries(line.split(" ").map((pair) => pair.split(/=(.*)/s))));
  assert.deepEqual(settings.storage, { kind: "sqlite", path: "/var/lib/reality/nodes.db" });
});
