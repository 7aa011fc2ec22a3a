/**
 * Prints how large files and functions are: `deno run -A tools/code_size.ts [folder of a checkout]`. For each group of
 * folders it prints the number of TypeScript files, the median and the 90th percentile of their lines, the longest file
 * and the longest function. Lines of an array or object literal in a function do not count: a table may be long.
 *
 * @module
 */
import ts from "typescript";

/** The conformance kit is published, but consists of tests: it is a group of its own. */
const KIT = "storage/conformance";

/** The folders of a group. A folder that does not exist has no files. */
const GROUPS: Readonly<Record<string, readonly string[]>> = {
  published: ["src", "storage", "adapters", "client", "cli"],
  [KIT]: [KIT],
  tests: ["tests"],
  "bench, examples, tools": ["bench", "examples", "tools"],
};

/** The length of something in lines, and where it is. */
export interface Size {
  readonly lines: number;
  readonly name: string;
}

/** Returns the value that a share of the sorted values does not exceed; 0 without values. */
export function percentileOf(values: readonly number[], share: number): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.max(0, Math.ceil(sorted.length * share) - 1)] ?? 0;
}

/** Returns the lines of each function with a body, without the literals in it. */
export function measureFunctions(file: string, text: string): Size[] {
  const source = ts.createSourceFile(file, text, ts.ScriptTarget.Latest, true);
  const lineOf = (position: number) => source.getLineAndCharacterOfPosition(position).line;
  const sizes: Size[] = [];
  const tableLines = (node: ts.Node): number => {
    if (ts.isArrayLiteralExpression(node) || ts.isObjectLiteralExpression(node)) {
      return Math.max(0, lineOf(node.end) - lineOf(node.getStart()) - 1);
    }
    let sum = 0;
    ts.forEachChild(node, (child) => void (sum += tableLines(child)));
    return sum;
  };
  const visit = (node: ts.Node): void => {
    if (ts.isFunctionLike(node) && "body" in node && node.body !== undefined) {
      const name = node.name?.getText() ?? "(anonymous)";
      const [first, last] = [lineOf(node.getStart()), lineOf(node.end)];
      sizes.push({ lines: last - first + 1 - tableLines(node), name: `${file}:${first + 1} ${name}` });
    }
    ts.forEachChild(node, visit);
  };
  visit(source);
  return sizes;
}

function* listFiles(folder: string): Generator<string> {
  let entries: Deno.DirEntry[] = [];
  try {
    entries = [...Deno.readDirSync(folder)];
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  }
  for (const { name, isDirectory } of entries) {
    if (isDirectory) yield* listFiles(`${folder}/${name}`);
    else if (name.endsWith(".ts")) yield `${folder}/${name}`;
  }
}

/** Returns the longest; a size of 0 without any. */
function longest(sizes: readonly Size[]): Size {
  return sizes.reduce((a, b) => b.lines > a.lines ? b : a, { lines: 0, name: "none" });
}

if (import.meta.main) {
  const [root = "."] = Deno.args;
  for (const [group, folders] of Object.entries(GROUPS)) {
    const texts = folders.flatMap((folder) => [...listFiles(`${root}/${folder}`)])
      .filter((path) => group === KIT || !path.startsWith(`${root}/${KIT}/`))
      .map((path) => [path.slice(root.length + 1), Deno.readTextFileSync(path)] as const);
    const files = texts.map(([name, text]): Size => ({ name, lines: text.split("\n").length - 1 }));
    const lines = files.map((file) => file.lines);
    const [file, own] = [
      longest(files),
      longest(texts.flatMap(([name, text]) => measureFunctions(name, text))),
    ];
    console.log(
      `${group}: ${files.length} files, median ${percentileOf(lines, 0.5)} lines, ` +
        `90th percentile ${percentileOf(lines, 0.9)}, longest ${file.lines} (${file.name}); ` +
        `longest function ${own.lines} (${own.name})`,
    );
  }
}
