import assert from "node:assert/strict";
import { test } from "../../harness.ts";
import { toAnswerText } from "../../../src/sync/answer_text.ts";
import type { RealityNodeMeta, SyncResponse } from "../../../src/types.ts";

const META: RealityNodeMeta = { key: "a", version: 1, hash: '"', updatedAt: 2 };

function answerOf(changed: Record<string, RealityNodeMeta>, more: Partial<SyncResponse> = {}): SyncResponse {
  const own = Object.assign(Object.create(null), changed);
  return {
    changed: own,
    mesh: { peers: [], serverVersion: 2 ** 53 - 1 },
    epoch: "e",
    serverTime: 3,
    ...more,
  };
}

test("toAnswerText() writes what JSON.stringify writes", () => {
  const answers = [
    answerOf({}),
    answerOf({}, { pause: 17 }),
    answerOf({}, { epoch: '"\\\u2028\ud800é' }),
    answerOf({}, { epoch: "", serverTime: 0 }),
    answerOf({}, { mesh: { peers: ["b", '"'], serverVersion: 0 } }),
    answerOf({}, { mesh: { peers: {}, serverVersion: 1 } }),
    answerOf({}, { mesh: { peers: { b: "healthy" }, serverVersion: 1 } }),
    answerOf({}, { refused: { "a*": { code: "ERR_REALITY_NO_GROUP", message: '"a*"' } } }),
    answerOf({ a: META }),
    answerOf({ ["__proto__"]: META, b: { ...META, deleted: true } }, { pause: 0 }),
    { gossip: { form: 1 } } as unknown as SyncResponse,
  ];
  for (const answer of answers) assert.equal(toAnswerText(answer), JSON.stringify(answer));
});
