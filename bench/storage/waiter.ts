/**
 * A process with one sync that waits, which prints each change that it is told of, and when:
 * `waiter.ts ENGINE FOLDER TABLE`.
 *
 * @module
 */
import process from "node:process";
import { RealityServer } from "../../mod.ts";
import { findEngine } from "./engines.ts";

const [name = "", folder = "", tableName = ""] = process.argv.slice(2);
const { storage, close } = findEngine(name, folder).open(tableName);
const server = new RealityServer({ storage });
let [version, hash] = [0, ""];
while (hash !== "end") {
  const { changed } = await server.handleSync({ known: { followed: version }, wait: 25_000 });
  const answered = performance.timeOrigin + performance.now();
  const meta = changed.followed;
  if (meta === undefined) continue;
  ({ version, hash } = meta);
  process.stdout.write(`${JSON.stringify([hash, answered])}\n`);
}
await server.close();
await close();
