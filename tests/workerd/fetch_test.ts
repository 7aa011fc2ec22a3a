/**
 * The fetch handler inside workerd, the runtime of Cloudflare Workers, on memory and on D1. The test itself runs on Deno, and without its
 * watch over what is left behind, which would report timers of miniflare's.
 *
 * @module
 */
import { after, test } from "node:test";
import type { Test } from "../harness.ts";
import type { Adapter } from "../http/adapter.ts";
import { testAdapter, testSlowReader } from "../http/kit.ts";
import { startWorkerd } from "../runtimes/workerd.ts";

const workerd = await startWorkerd();
after(() => workerd.close());

const register: Test = (name, fn) => void test(name, async () => await fn());

for (const [name, database] of [["memory", "memory"], ["D1", "d1"]] as const) {
  const adapter: Adapter = {
    name: `createFetchHandler() in workerd, on ${name}`,
    host: "fetch",
    noticesLate: true,
    ownConnections: true,
    tellsNoAddress: true,
    open: (scene) => workerd.open(scene, { database }),
  };
  testAdapter(register, adapter);
  testSlowReader(register, adapter);
}
