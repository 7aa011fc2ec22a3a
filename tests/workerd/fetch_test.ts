/**
 * The fetch handler inside workerd, the runtime of Cloudflare Workers. The test itself runs on Deno, and without its
 * watch over what is left behind, which would report timers of miniflare's.
 *
 * @module
 */
import { after, test } from "node:test";
import type { Test } from "../harness.ts";
import { type Door, testDoor, testSlowReader } from "../http_kit.ts";
import { startWorkerd } from "../runtimes/workerd.ts";

const workerd = await startWorkerd();
after(() => workerd.close());

const door: Door = {
  name: "createFetchHandler() in workerd",
  noticesLate: true,
  ownConnections: true,
  tellsNoAddress: true,
  open: (scene) => workerd.open(scene),
};

const register: Test = (name, fn) => void test(name, async () => await fn());
testDoor(register, door);
testSlowReader(register, door);
