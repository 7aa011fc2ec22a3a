/**
 * The fetch handler inside workerd, the runtime of Cloudflare Workers. The test itself runs on Deno, and without its
 * watch over what is left behind, which would report timers of miniflare's.
 *
 * @module
 */
import { after, test } from "node:test";
import { testDoor } from "../http_kit.ts";
import { startWorkerd } from "../runtimes/workerd.ts";

const workerd = await startWorkerd();
after(() => workerd.close());

testDoor((name, fn) => void test(name, async () => await fn()), {
  name: "createFetchHandler() in workerd",
  noticesLate: true,
  open: (scene) => workerd.open(scene),
});
