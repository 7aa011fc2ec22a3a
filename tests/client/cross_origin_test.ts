/*
 * What the client reads and sends, against what CORS allows a page of another origin.
 */
import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { createClient } from "../../client/mod.ts";
import { createFetchHandler, MemoryStorage, RealityServer } from "../../mod.ts";
import { test } from "../harness.ts";

const ORIGIN = "https://app.example";

/** Headers that every page may read or send (the Fetch standard: CORS-safelisted). */
const SAFE_RESPONSE_HEADERS = ["cache-control", "content-language", "content-length", "content-type"];
const SAFE_REQUEST_HEADERS = ["accept", "accept-language", "content-language"];

/** Splits a list of header names. */
function split(names: string | null): string[] {
  return (names ?? "").split(",").map((name) => name.trim().toLowerCase());
}

/** Returns what the option `cors` allows the client. */
async function preflight(): Promise<Headers> {
  const server = new RealityServer({ storage: new MemoryStorage() });
  const headers = { origin: ORIGIN, "access-control-request-method": "POST" };
  const request = new Request("http://localhost/reality/sync", { method: "OPTIONS", headers });
  const response = await createFetchHandler(server, { cors: { origin: [ORIGIN] } })(request);
  await server.close();
  return response.headers;
}

test("each response header that the client reads is exposed to pages of other origins", async () => {
  const exposed = split((await preflight()).get("access-control-expose-headers"));
  const code = readdirSync("client").filter((name) => name.endsWith(".ts"))
    .map((name) => readFileSync(`client/${name}`, "utf8").replaceAll(/^ *(?:\/\*)?\*.*$/gm, ""));
  const read = new Set(
    code.flatMap((text) => [...text.matchAll(/headers\??\s*\.get\(\s*([^)]*)/g)])
      .map(([, name = ""]) => name.replace(/,?\s*$/, "")),
  );
  assert.deepEqual([...read].sort(), ['"reality-stamp"', '"reality-time"', '"retry-after"']);
  // Answers of the application have stamps: it has to expose the field itself, as its guide says.
  const ofServer = [...read].map((name) => name.slice(1, -1)).filter((name) => name !== "reality-stamp");
  const hidden = ofServer.filter((name) => ![...exposed, ...SAFE_RESPONSE_HEADERS].includes(name));
  assert.deepEqual(hidden, []);
  assert.match(readFileSync("docs/stamps.md", "utf8"), /Access-Control-Expose-Headers: Reality-Stamp/);
});

test("each request header that the client sends is allowed to pages of other origins", async () => {
  const allowed = split((await preflight()).get("access-control-allow-headers"));
  const sent = new Set<string>();
  const server = new RealityServer({ storage: new MemoryStorage() });
  const handler = createFetchHandler(server);
  for (const transport of ["wait", "poll", "events"] as const) {
    let onTold = () => {};
    const told = new Promise<void>((resolve) => onTold = resolve);
    using client = createClient({
      url: "http://localhost/reality",
      transport,
      headers: { authorization: "Bearer token" },
      fetch(url, init) {
        for (const [name] of new Headers(init?.headers)) sent.add(name);
        return handler(new Request(String(url), init));
      },
    });
    client.follow(["a"], onTold);
    await told;
  }
  await server.close();
  assert.deepEqual([...sent].sort(), ["authorization", "content-type"]);
  assert.deepEqual([...sent].filter((name) => ![...allowed, ...SAFE_REQUEST_HEADERS].includes(name)), []);
});
