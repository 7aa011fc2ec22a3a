/**
 * The door of `node:http`.
 *
 * @module
 */
import { createNodeHandler } from "../../adapters/node.ts";
import { test } from "../harness.ts";
import { openDoor } from "../http_door.ts";
import { testDoor } from "../http_kit.ts";
import { listenNode } from "../runtimes/node.ts";

testDoor(test, {
  name: "createNodeHandler()",
  open: (name) => openDoor(name, ({ server, handler }) => listenNode(createNodeHandler(server, handler))),
});
