/**
 * The configurations of docs/proxies.md, as a test runs them.
 *
 * @module
 */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";

/** A line of a configuration, and what stands there instead; nothing for a line left out. */
export type Edit = readonly [line: string, instead: string];

/**
 * A block of the page.
 *
 * @param language The language of the block.
 * @param beginning What it begins with, where the page has several blocks in this language.
 */
export function readBlock(language: string, beginning: string = ""): string {
  const page = readFileSync("docs/proxies.md", "utf8");
  const all = [...page.matchAll(new RegExp(`^\`\`\`${language}\\n([\\s\\S]*?)^\`\`\``, "gm"))];
  const found = all.flatMap(([, text = ""]) => text.startsWith(beginning) ? [text] : []);
  assert.equal(found.length, 1, `docs/proxies.md has ${found.length} blocks of ${language} "${beginning}"`);
  return found[0] ?? "";
}

/** A configuration with some lines changed, each of which must be there as it is named. */
export function edit(text: string, edits: readonly Edit[]): string {
  return edits.reduce((result, [line, instead]) => {
    assert.ok(result.includes(line), `docs/proxies.md has no line "${line}"`);
    return result.replaceAll(line, instead);
  }, text);
}

/** The configuration with the addresses of this run put in. */
export function fit(text: string, upstreams: readonly string[]): string {
  return edit(text, upstreams.map((origin, i) => [`127.0.0.1:${8001 + i}`, new URL(origin).host]));
}
