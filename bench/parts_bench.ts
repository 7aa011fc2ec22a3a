/**
 * What the parts of an answer and of a change cost, in process: other ways to make the text of 100 changed nodes, and
 * the storage's share of `updateNode`. `node bench/parts_bench.ts`, on Deno, Node or Bun.
 *
 * @module
 */
import { RealityServer } from "../mod.ts";
import { versionOf } from "../src/sync/compare.ts";
import { createSequentialStorage } from "./contenders/reality.ts";
import { measure } from "./measure.ts";
import { finish, isQuick } from "./report.ts";
import { HASH, keyOf } from "./workload.ts";

const effort = isQuick ? { rounds: 3, roundMs: 40 } : { rounds: 9, roundMs: 150 };
const NODES = 10_000;
const storage = createSequentialStorage();
const server = new RealityServer({ storage });
await server.updateMany(Array.from({ length: NODES }, (_, i) => ({ key: keyOf(i), hash: HASH })));
const { nodes } = await storage.readNodes([]);
if (versionOf(nodes, keyOf(1)) !== 2) throw new Error("Cannot measure: the nodes have other versions");

const requests = Array.from(
  { length: 20 },
  (_, request) => Array.from({ length: 100 }, (_, i) => keyOf((request * 7919 + i * 104_729) % NODES)),
);
const stored = new Map(requests.flat().map((key) => [key, nodes.get(key)!]));
const entries = new Map([...stored].map(([key, node]) => [key, `"${key}":${JSON.stringify(node)}`]));
let turn = 0;
const textBy = (answer: (keys: readonly string[]) => string) => () => answer(requests[turn++ % 20]!);

/** Makes an object of nodes and then its text. */
function stringify(keys: readonly string[], find: (key: string) => object): string {
  const changed: Record<string, object> = Object.create(null);
  for (const key of keys) changed[key] = find(key);
  return JSON.stringify({ changed });
}

/** Joins the texts of nodes. */
function join(keys: readonly string[], write: (key: string) => string): string {
  return `{"changed":{${keys.map(write).join(",")}}}`;
}

function writeEntry(key: string): string {
  const { version, hash, updatedAt } = nodes.get(key)!;
  const quoted = JSON.stringify(key);
  return `${quoted}:{"key":${quoted},"version":${version},"hash":${
    JSON.stringify(hash)
  },"updatedAt":${updatedAt}}`;
}

const texts = {
  "stored objects": textBy((keys) => stringify(keys, (key) => stored.get(key)!)),
  "a copy of each node": textBy((keys) => stringify(keys, (key) => ({ ...nodes.get(key)! }))),
  "each node": textBy((keys) => stringify(keys, (key) => nodes.get(key)!)),
  "text of parts": textBy((keys) => join(keys, writeEntry)),
  "kept texts": textBy((keys) => join(keys, (key) => entries.get(key)!)),
};
const nextKey = () => keyOf(turn++ * 7919 % NODES);
const map = new Map(stored);
const changes = {
  "Map.set": () => {
    const key = nextKey();
    map.set(key, { key, version: turn, hash: HASH, updatedAt: Date.now() });
  },
  "storage.applyChanges": () => storage.applyChanges([{ key: nextKey(), hash: HASH, updatedAt: Date.now() }]),
  "updateNode": () => server.updateNode(nextKey(), HASH),
};
const measureAll = (contenders: Readonly<Record<string, () => unknown>>) =>
  measure(Object.entries(contenders).map(([name, run]) => ({ name, run })), effort);
finish("parts", [
  {
    group: "the text of an answer with 100 changed nodes",
    name: "100 nodes of 10,000",
    unit: "µs an answer",
    base: "stored objects",
    figures: await measureAll(texts),
  },
  {
    group: "a change in memory",
    name: "10,000 nodes",
    unit: "µs a change",
    base: "Map.set",
    figures: await measureAll(changes),
  },
]);
await server.close();
