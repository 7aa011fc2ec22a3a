/**
 * The fetch handler before the runtime's own server.
 *
 * @module
 */
import { createFetchHandler } from "../../adapters/fetch.ts";
import { test } from "../harness.ts";
import { openDoor } from "../http_door.ts";
import { type Door, testDoor, testSlowReader } from "../http_kit.ts";
import { listenFetch, serverName } from "../runtimes/fetch.ts";

const door: Door = {
  name: `createFetchHandler() before ${serverName}`,
  open: (name) => openDoor(name, ({ server, handler }) => listenFetch(createFetchHandler(server, handler))),
};

testDoor(test, door);
testSlowReader(test, door);
