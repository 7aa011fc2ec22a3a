import { readFile } from "node:fs/promises";
import { createServer } from "node:http";
import { createExpressAdapter, MemoryStorage, RealityServer } from "@rootlodge/reality-server";

const server = new RealityServer({ storage: new MemoryStorage() });
const reality = createExpressAdapter(server); // also for node:http
let votes = 0;

createServer(async (req, res) => {
  const file = /^\/(node_modules\/@rootlodge\/[\w/-]+\.js)$/.exec(req.url)?.[1];
  if (file) return res.setHeader("content-type", "text/javascript").end(await readFile(file).catch(() => ""));
  if (req.url === "/") return res.setHeader("content-type", "text/html").end(await readFile("index.html"));
  if (req.url !== "/votes") return reality(req, res);
  if (req.method === "POST") await server.updateNode("votes", String(++votes)); // after each write
  const stamp = await server.stamp(["votes"]); // before the data is read
  res.writeHead(stamp.isFresh(req) ? 304 : 200, stamp.headers).end(JSON.stringify(votes));
}).listen(process.env.PORT ?? 8000, "localhost");
