import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { DEFAULT_LIMITS } from "../src/server_limits.ts";
import { test } from "./harness.ts";

const text = readFileSync("SECURITY.md", "utf8");

test("SECURITY.md names every limit with its default", () => {
  const named = [...text.matchAll(/^\| `(\w+)` \| ([\d ]+?)(?: ms)? \|/gm)]
    .map(([, name, value]) => [name, Number(value!.replaceAll(" ", ""))]);
  assert.deepEqual(Object.fromEntries(named), { ...DEFAULT_LIMITS });
});
