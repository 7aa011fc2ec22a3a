/**
 * Version 1.2.2 from npm; behind Express on Node.
 *
 * @module
 */
import { createServer } from "node:http";
import { servePublished } from "../contenders/published.ts";
import { listen } from "./listen.ts";

const { fetch, listener } = await servePublished(0);
listen((request) => fetch!(request, undefined), () => createServer(listener!));
