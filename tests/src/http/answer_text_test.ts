import { equal } from "node:assert/strict";
import { asObject, type SyncAnswer } from "../../../src/answer.ts";
import { asText } from "../../../src/http/answer_text.ts";
import type { RealityNodeMeta, SyncResponse } from "../../../src/types.ts";
import { test } from "../../harness.ts";

/** An answer as text and, beside it, what `JSON.stringify` makes of the same answer as an object. */
function texts(changed: readonly string[], nodes: unknown[], peers: unknown = []): [string, string] {
  const metas = nodes as RealityNodeMeta[];
  const answer: SyncAnswer = {
    changed,
    nodes: new Map(metas.map((meta) => [meta.key, meta])),
    mesh: { peers, serverVersion: 12 } as SyncResponse["mesh"],
    epoch: '0mgr-\u2028"\\',
    serverTime: 1.5,
  };
  return [asText.toClient(answer), JSON.stringify(asObject.toClient(answer))];
}

test("an answer as text is what JSON.stringify() makes of it, whatever keys and hashes are like", () => {
  const names = [
    "a",
    "b:1",
    "",
    "__proto__",
    "constructor",
    '"',
    "\\",
    "\u{1f600}",
    "\ufffd",
    "\u2028",
    "é\ufeff",
    "\u007f",
    "~",
    " ",
    "[x]",
  ];
  const nodes = names.map((key, i) => ({
    key,
    version: 2 ** 53 - 1 - i,
    hash: `${key}${i}`,
    updatedAt: i * 1e21,
  }));
  const all = [...names, "gone"];
  for (let count = 0; count <= all.length; count++) equal(...texts(all.slice(0, count), nodes));
  equal(...texts(["a"], nodes, ["s1", "s2"]));
  equal(...texts([], nodes, { s1: "healthy" }));
});

test("an answer as text is JSON also of what a storage should not have given", () => {
  for (const wrong of [NaN, Infinity, undefined, null, "5"]) {
    equal(...texts(["a"], [{ key: "a", version: wrong, hash: "h", updatedAt: 1 }]));
    equal(...texts(["a"], [{ key: "a", version: 1, hash: "h", updatedAt: wrong }]));
    equal(...texts(["a"], [{ key: "a", version: 1, hash: wrong, updatedAt: 1 }]));
  }
});

test("what another server is told is JSON, too", () => {
  equal(asText.toPeer({ gossip: { from: "s1" } }), '{"gossip":{"from":"s1"}}');
});
