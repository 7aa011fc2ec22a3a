/**
 * A process that waits: a server with one sync at a time for one key, which prints every change it is told of,
 * until it is told of the hash "end".
 *
 * @module
 */
import process from "node:process";
import { RealityServer } from "../../src/server.ts";
import { open, type Place } from "./engines.ts";

/** What a waiting process is told, as JSON. */
export interface WaiterOrder {
  readonly place: Place;
  readonly key: string;
}

/** What it prints for each change, as JSON. */
export interface Told {
  readonly version: number;
  readonly hash: string;
  /** When, in milliseconds since 1970, with fractions. */
  readonly answered: number;
  /** How many statements it has sent so far. */
  readonly asked: number;
}

const { place, key } = JSON.parse(process.argv[2] ?? "") as WaiterOrder;
let asked = 0;
const { storage, close } = await open(place, { connections: 2, onAsk: () => asked++ });
const server = new RealityServer({ storage });

let [version, hash] = [0, ""];
while (hash !== "end") {
  const { changed } = await server.handleSync({ known: { [key]: version }, wait: 25_000 });
  const answered = performance.timeOrigin + performance.now();
  const meta = changed[key];
  if (meta === undefined) continue;
  ({ version, hash } = meta);
  const told: Told = { version, hash, answered, asked };
  process.stdout.write(`${JSON.stringify(told)}\n`);
}
await server.close();
await close();
