/**
 * Reads the pages for users, `README.md` and `docs/*.md`: their fenced blocks.
 *
 * @module
 */
import { readdirSync, readFileSync } from "node:fs";

/** A fenced block of a page. */
export interface Block {
  readonly page: string;
  /** The line of the opening fence, from 1. */
  readonly line: number;
  /** The first word of the fence, such as `ts`; empty if the fence has no words. */
  readonly language: string;
  /** The other words of the fence. */
  readonly words: readonly string[];
  /** The word that is a file name: the block is a whole file. */
  readonly file: string | undefined;
  /** The text between the previous block or heading and this one. */
  readonly before: string;
  readonly text: string;
}

/** The paths of the pages for users. */
export const PAGES: readonly string[] = [
  "README.md",
  ...readdirSync("docs").filter((name) => name.endsWith(".md")).sort().map((name) => `docs/${name}`),
];

/** Returns the fenced blocks of a page, in order. */
export function readBlocks(page: string, text: string = readFileSync(page, "utf8")): Block[] {
  const lines = text.split("\n");
  const blocks: Block[] = [];
  let before = 0;
  for (let at = 0; at < lines.length; at++) {
    if (lines[at]!.startsWith("#")) before = at + 1;
    const [, fence, head = ""] = /^(`{3,})(.*)$/.exec(lines[at]!) ?? [];
    if (fence === undefined) continue;
    const end = lines.indexOf(fence, at + 1);
    if (end === -1) throw new Error(`${page}:${at + 1}: the block has no end`);
    const [language = "", ...words] = head.trim().split(/\s+/);
    blocks.push({
      ...{ page, line: at + 1, language, words },
      file: words.find((word) => /^[^=]+\.\w+$/.test(word)),
      before: lines.slice(before, at).join("\n"),
      text: lines.slice(at + 1, end).join("\n") + "\n",
    });
    at = end;
    before = end + 1;
  }
  return blocks;
}
