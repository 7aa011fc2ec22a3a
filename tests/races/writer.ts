/**
 * One of the processes of a race: a server with many writers and a few readers at once, which prints all that
 * they are told.
 *
 * @module
 */
import process from "node:process";
import { RealityServer } from "../../src/server.ts";
import { open, type Place } from "./engines.ts";
import type { Entry, Sight } from "./journal.ts";

/** What a writing process is told, as JSON. */
export interface WriterOrder {
  readonly place: Place;
  readonly name: string;
  /** How many writers there are at once. */
  readonly writers: number;
  /** How many changes they make together; each failed one is followed by another. */
  readonly changes: number;
  /** On so many keys. */
  readonly keys: number;
}

/** So many readers ask beside the writers, about so many keys at a time. */
const READERS = 2;
const READ_KEYS = 5;

const order = JSON.parse(process.argv[2] ?? "") as WriterOrder;
const { storage, close } = await open(order.place);
const server = new RealityServer({ storage });

print({ kind: "ready" });
// The database may crash under the others before this process has seen that it may begin.
while (!await storage.getNode("go").then((node) => node !== null, () => false)) await pause(5);

let asked = 0;
let left = order.changes;
const writers = Array.from({ length: order.writers }, async () => {
  while (left > 0) {
    left--;
    await write(`key:${Math.floor(Math.random() * order.keys)}`, `${order.name}.${asked++}`);
  }
});
const all = Promise.all(writers);
let isOver = false;
const readers = Array.from({ length: READERS }, async (_, reader) => {
  for (let i = reader; !isOver; i++) await read(i);
});
await all;
isOver = true;
await Promise.all(readers);
await server.close();
await close();
print({ kind: "done" });

async function write(key: string, hash: string): Promise<void> {
  const before = Date.now();
  try {
    const [meta] = await server.updateMany([{ key, hash }]);
    const { version = 0, hash: written = "" } = meta ?? {};
    print({ kind: "acknowledged", key, hash, asked: before, answered: Date.now(), version, written });
  } catch {
    print({ kind: "failed", key, hash });
    left++;
    await pause(20);
  }
}

async function read(turn: number): Promise<void> {
  const keys = Array.from({ length: READ_KEYS }, (_, i) => `key:${(turn * READ_KEYS + i) % order.keys}`);
  const before = Date.now();
  try {
    const { changed } = await server.handleSync({ known: Object.fromEntries(keys.map((key) => [key, 0])) });
    const sights = Object.values(changed).map(({ key, version, hash }): Sight => [key, version, hash]);
    print({ kind: "read", asked: before, keys, sights });
  } catch {
    await pause(20);
  }
  await pause(5);
}

function print(entry: Entry): void {
  process.stdout.write(`${JSON.stringify(entry)}\n`);
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
