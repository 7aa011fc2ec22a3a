/**
 * This package as an application of its own has it, with a `MemoryStorage`. `start_bench.ts` turns it into JavaScript,
 * in few files, since that is what is installed.
 *
 * @module
 */
import { createServer } from "node:http";
import { createNodeHandler } from "../../adapters/node.ts";
import { createFetchHandler, MemoryStorage, RealityServer } from "../../mod.ts";
import { listen } from "./listen.ts";

const server = new RealityServer({ storage: new MemoryStorage() });
listen(createFetchHandler(server), () => createServer(createNodeHandler(server)));
