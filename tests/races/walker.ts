/**
 * One of the processes of a race: it follows the history, page by page, until it meets the key "end".
 *
 * @module
 */
import process from "node:process";
import { open, type Place } from "./engines.ts";
import type { Entry, Sight } from "./journal.ts";

/** What the walker is told, as JSON. */
export interface WalkerOrder {
  readonly place: Place;
  /** How much of the history it asks for at once. */
  readonly limit: number;
}

const order = JSON.parse(process.argv[2] ?? "") as WalkerOrder;
const { storage, close } = await open(order.place, { connections: 1 });
print({ kind: "ready" });

let last = 0;
for (let isOver = false; !isOver;) {
  const metas = await storage.listChangedSince(last, order.limit).catch(() => []);
  const answered = Date.now();
  const sights = metas.map(({ key, version, hash }): Sight => [key, version, hash]);
  if (sights.length > 0) print({ kind: "page", answered, sights });
  last = metas.at(-1)?.version ?? last;
  isOver = sights.some(([key]) => key === "end");
  await new Promise((resolve) => setTimeout(resolve, sights.length > 0 ? 0 : 5));
}
await close();
print({ kind: "done" });

function print(entry: Entry): void {
  process.stdout.write(`${JSON.stringify(entry)}\n`);
}
