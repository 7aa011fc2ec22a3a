/**
 * The smallest server that answers: the runtime's own HTTP server and one `JSON.stringify`.
 *
 * @module
 */
import { createServer } from "node:http";
import { listen } from "./listen.ts";

const answer = () => JSON.stringify({ changed: {}, serverTime: Date.now() });

listen(
  () => new Response(answer(), { headers: { "content-type": "application/json" } }),
  () =>
    createServer((_, response) => {
      response.writeHead(200, { "content-type": "application/json" });
      response.end(answer());
    }),
);
