/**
 * A process that writes to a file and follows it, while the file is replaced by backups: a server with some writers, and
 * with a client for each key that waits for news of it. Prints at the end what each client holds.
 *
 * @module
 */
import process from "node:process";
import { RealityServer } from "../../src/server.ts";
import { openSQLite } from "../../storage/sqlite.ts";

/** What the process is told, as JSON. */
export interface FollowerOrder {
  readonly path: string;
  readonly name: string;
  readonly keys: readonly string[];
}

/**
 * How long nothing may change before the clients are asked what they hold, in milliseconds: longer than the 5 seconds
 * after which the watch looks at the latest on a storage that announces changes.
 */
const CALM = 7000;

const { path, name, keys } = JSON.parse(process.argv[2] ?? "") as FollowerOrder;
const storage = openSQLite(path, { counter: "clock" });
const server = new RealityServer({ storage });
const held: Record<string, number> = {};
let isWriting = true;
let isOver = false;

console.log(JSON.stringify({ ready: true }));
const clients = keys.map(follow);
let count = 0;
while (isWriting) {
  const key = keys[Math.floor(Math.random() * keys.length)] ?? "";
  const change = Math.random() < 0.1 ? server.deleteNode(key) : server.updateNode(key, `${name}.${count++}`);
  const done = await change.then(() => true, () => false);
  if (done) console.log(JSON.stringify({ acknowledged: count }));
  isWriting = await server.getNode("stop").then((node) => node === null, () => true);
  await pause(1 + Math.random() * 10);
}
await pause(CALM);
isOver = true;
console.log(JSON.stringify({ held }));
await server.close();
await Promise.all(clients);
await storage.close();

/** Asks as a client does that knows no more than it was told. */
async function follow(key: string): Promise<void> {
  let [version, epoch] = [0, ""];
  while (!isOver) {
    try {
      const known = { [key]: version };
      const answer = await server.handleSync({ known, ...(epoch ? { epoch } : {}), wait: 25_000 });
      epoch = answer.epoch;
      version = answer.changed[key]?.version ?? version;
      held[key] = version;
    } catch {
      await pause(20);
    }
  }
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
