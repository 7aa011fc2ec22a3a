/**
 * Writes `src/openapi.json`, the routes for the usual base path: `deno task build:openapi`.
 *
 * @module
 */
import { createOpenAPI } from "../src/http/openapi.ts";

await Deno.writeTextFile("src/openapi.json", JSON.stringify(createOpenAPI("/reality"), null, 2) + "\n");
