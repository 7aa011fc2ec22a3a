/**
 * One client that waits for as many keys as it can, at one server, and prints what it came to. Started by
 * `memory_test.ts` in a process of its own.
 *
 * @module
 */
import { MemoryStorage, RealityServer } from "../../mod.ts";
import { measureMemory } from "./memory.ts";

/** So many syncs of 10,000 keys each: three times as many as one client may have. */
const REQUESTS = 150;
const KEYS = 10_000;
/** Longer than all of this takes, in milliseconds. */
const WAIT = 600_000;

const server = new RealityServer({ storage: new MemoryStorage(), limits: { maxWait: WAIT } });
const handler = server.getFetchHandler();
const host = { remoteAddr: { hostname: "203.0.113.7" } };
let paused = 0;
const before = await measureMemory();
for (let i = 0; i < REQUESTS; i++) {
  void ask(i).then(({ pause }) => {
    if (pause !== undefined) paused++;
  });
  if (i % 20 === 19) await new Promise((resolve) => setTimeout(resolve));
}
while (paused + (await server.getStats()).waiters < REQUESTS) {
  await new Promise((resolve) => setTimeout(resolve, 10));
}
console.log(
  `waiters: ${(await server.getStats()).waiters}, paused: ${paused}, held: ${await measureMemory() - before}`,
);
await server.close();
console.log("end");

async function ask(i: number): Promise<{ pause?: number }> {
  const known = Object.fromEntries(Array.from({ length: KEYS }, (_, j) => [`${i}:${j}`, 0]));
  const headers = { "content-type": "application/json" };
  const body = JSON.stringify({ known, wait: WAIT });
  const response = await handler(
    new Request("http://localhost/reality/sync", { method: "POST", headers, body }),
    host,
  );
  return await response.json();
}
