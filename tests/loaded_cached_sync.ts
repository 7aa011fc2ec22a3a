/**
 * Loads what a server and a client load for syncs by GET, for tests in which only the time of a fake clock passes.
 *
 * @module
 */
import "../client/transport_get.ts";
import { createFetchHandler, MemoryStorage, RealityServer } from "../mod.ts";

// The first request loads the module, and all servers of the process keep it.
const server = new RealityServer({ storage: new MemoryStorage(), public: () => true });
await createFetchHandler(server)(new Request("http://localhost/reality/sync?k=a:0"));
await server.close();
