import { equal } from "node:assert/strict";
import { writeAnswer } from "../../../src/http/answer_text.ts";
import type { RealityNodeMeta, SyncResponse } from "../../../src/types.ts";
import { test } from "../../harness.ts";

const text = (changed: Record<string, unknown>, peers: unknown = []): [string, string] => {
  const own = Object.assign(Object.create(null), changed) as Record<string, RealityNodeMeta>;
  const mesh = { peers, serverVersion: 12 } as SyncResponse["mesh"];
  const answer: SyncResponse = { changed: own, mesh, epoch: '0mgr-\u2028"\\', serverTime: 1.5 };
  return [writeAnswer(answer), JSON.stringify(answer)];
};

test("writeAnswer() writes what JSON.stringify() does, whatever keys and hashes are like", () => {
  const names = [
    "a",
    "b:1",
    "",
    "7",
    "__proto__",
    "constructor",
    '"',
    "\\",
    "\u{1f600}",
    "\ufffd",
    "\u2028",
    "é\ufeff",
  ];
  const nodes = names.map((key, i) => ({
    key,
    version: 2 ** 53 - 1 - i,
    hash: `${key}${i}`,
    updatedAt: i * 1e21,
  }));
  const gone = { key: "gone", version: 0, hash: "", updatedAt: 0, deleted: true };
  const all = [...nodes, gone];
  for (let count = 0; count <= all.length; count++) {
    const changed: Record<string, unknown> = Object.create(null);
    for (const meta of all.slice(0, count)) changed[meta.key] = meta;
    equal(...text(changed));
  }
  equal(...text({ a: nodes[0] }, ["s1", "s2"]));
  equal(...text({}, { s1: "healthy" }));
});

test("writeAnswer() writes JSON also of what a storage should not have given", () => {
  for (const wrong of [NaN, Infinity, undefined, null, "5"]) {
    equal(...text({ a: { key: "a", version: wrong, hash: "h", updatedAt: 1 } }));
    equal(...text({ a: { key: "a", version: 1, hash: "h", updatedAt: wrong } }));
    equal(...text({ a: { key: "a", version: 1, hash: wrong, updatedAt: 1 } }));
  }
});
