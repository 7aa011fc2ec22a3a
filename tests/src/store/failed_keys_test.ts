import { equal, ok } from "node:assert/strict";
import { FailedKeys } from "../../../src/store/failed_keys.ts";
import { test } from "../../harness.ts";
import { SeededRandom } from "../../random.ts";

test("FailedKeys forgets keys that were written again, also after it had too many of them", () => {
  const failed = new FailedKeys(3);
  const keys = ["a", "b", "c", "d", "e"];
  for (const key of keys) failed.add(key);
  ok(failed.has("f"), "a key of which it does not know");
  failed.delete("a");
  ok(!failed.has("a"));
  ok(failed.has("b"));
  failed.add("a");
  ok(failed.has("a"));
  for (const key of ["a", "b", "c"]) failed.delete(key);
  for (const key of ["a", "b", "c"]) ok(!failed.has(key), key);
  failed.delete("d");
  ok(failed.has("a"), "with too many of them");
});

test("FailedKeys forgets keys without an answer once all of them have it, also after it had too many of them", () => {
  const failed = new FailedKeys(2);
  const keys = ["a", "b", "c", "c"];
  equal(keys.map((key) => failed.begin(key)).join(), "false,false,false,true");
  ok(failed.has("d"));
  for (const key of ["c", "a", "b"]) failed.end(key);
  ok(failed.has("d"));
  failed.end("c");
  for (const key of ["a", "b", "c", "d"]) ok(!failed.has(key), key);
});

test("FailedKeys has each key in doubt, whatever was remembered before", () => {
  const seed = Math.floor(Math.random() * 1e9);
  console.log(`failed keys: seed ${seed}`);
  const random = new SeededRandom(seed);
  for (let round = 0; round < 200; round++) {
    const failed = new FailedKeys(random.between(1, 5));
    const doubted = new Set<string>();
    const unanswered: string[] = [];
    for (let step = 0; step < 100; step++) {
      const key = `${random.between(1, 9)}`;
      const kind = random.between(1, 4);
      if (kind === 1) doubted.add(key), failed.add(key);
      if (kind === 2) doubted.delete(key), failed.delete(key);
      if (kind === 3) {
        ok(
          failed.begin(key) || !unanswered.includes(key),
          `round ${round}, step ${step}: a change of ${key}`,
        );
        unanswered.push(key);
      }
      if (kind === 4 && unanswered.length > 0) {
        failed.end(unanswered.splice(random.between(0, unanswered.length - 1), 1)[0]!);
      }
      for (const each of [...doubted, ...unanswered]) {
        ok(failed.has(each), `round ${round}, step ${step}: ${each}`);
      }
    }
  }
});
