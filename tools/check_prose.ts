/**
 * Counts words and phrases that this project does not write, such as "whoever": `deno task check` runs it. The counts
 * of `tools/prose.json` may only fall. After a rewrite, `deno run -A tools/check_prose.ts --update` lowers them;
 * `deno run -A tools/check_prose.ts src/mesh` shows each place below a folder.
 *
 * @module
 */

/** What is not written, and what to write instead. Text is matched without regard to case and line breaks. */
export const PHRASES: readonly { readonly pattern: string; readonly instead: string }[] = [
  {
    pattern: "who (?:waits?|asks?|reads?|writes?|comes?|follows?|listens?|starts?|holds?|makes|sends)",
    instead: "client, request, reader, caller",
  },
  { pattern: "whoever|whomever|whatever comes|what comes", instead: "the request, the client, each value" },
  { pattern: "nobody|somebody|anybody", instead: "no client, a client, any request" },
  { pattern: "lets? go of", instead: "releases" },
  { pattern: "such as there (?:is|are)", instead: "if there is one" },
  { pattern: "by chance", instead: "at random" },
  { pattern: "comes? to stand|came to stand", instead: "is placed" },
  { pattern: "comes? to rest|came to rest", instead: "waits" },
  { pattern: "in its own words|of its own accord", instead: "itself" },
  { pattern: "is of no use", instead: "is useless" },
  { pattern: "(?:hears?|heard) of", instead: "receives" },
  { pattern: "turns? down|turned down", instead: "refuse" },
  { pattern: "(?:is|are|was|were) (?:none|no one)", instead: "is not a …, does not exist" },
  { pattern: "doors?|desks?|ledgers?|corridors?", instead: "adapter, request handler, storage, folder" },
];

/** Files of other languages have no prose of ours. */
const EXTENSIONS = /\.(?:ts|md)$/;
/** What is generated or belongs to others, and this list with its test. */
const LEFT_OUT =
  /^(?:\.|node_modules|npm|test-output|.*\/results\b|tools\/check_prose\.ts|tests\/tools\/check_prose)/;

/** One place where a phrase stands. */
export interface Place {
  readonly line: number;
  readonly phrase: string;
  readonly instead: string;
}

/** Finds all phrases in a text. A phrase may go on in the next line of a comment. */
export function findPhrases(text: string): Place[] {
  const places: Place[] = [];
  for (const { pattern, instead } of PHRASES) {
    const spaced = pattern.replaceAll(" ", String.raw`(?: +|\s*\n\s*(?:\*|//|>)? *)`);
    for (const match of text.matchAll(new RegExp(String.raw`\b(?:${spaced})\b`, "gi"))) {
      const line = text.slice(0, match.index).split("\n").length;
      places.push({ line, phrase: match[0].replaceAll(/\s+(?:\*|\/\/)?\s*/g, " "), instead });
    }
  }
  return places.sort((a, b) => a.line - b.line);
}

/** The part of a path that is counted as one: the folder, or for pages in the root `.`. */
export function folderOf(path: string): string {
  return /^[^/]+(?=\/)/.exec(path)?.[0] ?? ".";
}

/** Compares counts per folder with the allowed ones. Returns a message for each folder whose count differs. */
export function compareCounts(
  counts: Readonly<Record<string, number>>,
  allowed: Readonly<Record<string, number>>,
): string[] {
  return [...new Set([...Object.keys(counts), ...Object.keys(allowed)])].sort().flatMap((folder) => {
    const [count = 0, limit = 0] = [counts[folder], allowed[folder]];
    if (count > limit) return [`${folder}: ${count} phrases, only ${limit} allowed: write other words`];
    if (count < limit) return [`${folder}: ${count} phrases, ${limit} recorded: run this tool with --update`];
    return [];
  });
}

function* listFiles(folder = ""): Generator<string> {
  for (const { name, isDirectory } of Deno.readDirSync(folder === "" ? "." : folder)) {
    const path = `${folder}${name}`;
    if (LEFT_OUT.test(path)) continue;
    if (isDirectory) yield* listFiles(`${path}/`);
    else if (EXTENSIONS.test(name)) yield path;
  }
}

if (import.meta.main) {
  const record = new URL("prose.json", import.meta.url);
  const allowed: Record<string, number> = JSON.parse(await Deno.readTextFile(record));
  const [word = ""] = Deno.args;
  const counts: Record<string, number> = {};
  for (const path of [...listFiles()].sort()) {
    const places = findPhrases(await Deno.readTextFile(path));
    if (places.length === 0) continue;
    const folder = folderOf(path);
    counts[folder] = (counts[folder] ?? 0) + places.length;
    if (word === "") console.log(`${places.length} ${path}`);
    else if (path.includes(word)) {
      for (const { line, phrase, instead } of places) console.log(`${path}:${line} "${phrase}": ${instead}`);
    }
  }
  if (word === "--update") {
    const lower = Object.keys(allowed).map((folder) =>
      [folder, Math.min(counts[folder] ?? 0, allowed[folder]!)] as const
    ).filter(([, count]) => count > 0);
    await Deno.writeTextFile(record, JSON.stringify(Object.fromEntries(lower), null, 2) + "\n");
  } else {
    const faults = compareCounts(counts, allowed);
    for (const fault of faults) console.log(fault);
    Deno.exit(faults.length > 0 ? 1 : 0);
  }
}
