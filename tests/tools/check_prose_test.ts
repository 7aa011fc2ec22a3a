import assert from "node:assert/strict";
import { compareCounts, findPhrases, folderOf } from "../../tools/check_prose.ts";
import { test } from "../harness.ts";

test("findPhrases() finds a phrase in code, in pages and across the lines of a comment", () => {
  const text = [
    "/** The server wakes who",
    " * waits. A seed by chance. */",
    "// It lets go",
    "// of the lock.",
    "Whoever reads this.",
    "> is none",
    "A client who is authorized waits at random.",
    "const nobodyElse = indoors;",
  ].join("\n");
  const found = findPhrases(text).map(({ line, phrase }) => `${line} ${phrase}`);
  assert.deepEqual(found, ["1 who waits", "2 by chance", "3 lets go of", "5 Whoever", "6 is none"]);
});

test("compareCounts() reports a count that rises, and a recorded count that is too high", () => {
  assert.deepEqual(compareCounts({ src: 3, tests: 1 }, { src: 3, tests: 1 }), []);
  assert.deepEqual(compareCounts({ src: 4, tools: 1 }, { src: 3, tests: 1 }), [
    "src: 4 phrases, only 3 allowed: write other words",
    "tests: 0 phrases, 1 recorded: run this tool with --update",
    "tools: 1 phrases, only 0 allowed: write other words",
  ]);
});

test("folderOf() returns the first folder of a path, and a dot for the root", () => {
  assert.equal(folderOf("src/mesh/README.md"), "src");
  assert.equal(folderOf("README.md"), ".");
});
