/**
 * Checks the doc comments of everything that the package exports, and that `docs/options.md` has what they say:
 * `deno task check` runs it.
 *
 * | rule | what must hold |
 * | --- | --- |
 * | `description` | Each exported module and symbol, and each public member of one, has a description. |
 * | `throws` | Each `@throws` names a class and a cause: `@throws {RangeError} If the key is too long.` |
 * | `example` | Each method and option of `RealityServer`, and each storage, has an example that `deno test --doc` runs. |
 *
 * @module
 */
import { createOptionsPage } from "./options_page.ts";
import { type Declaration, type DocOutput, type Documented, type Member, readDocs } from "./read_docs.ts";

/** The rules by name. */
export type RuleName = "description" | "throws" | "example";

/** A place where a rule does not hold. */
export interface Fault {
  readonly rule: RuleName;
  /** `RealityServer`, or `RealityServer.updateNode` for a member. */
  readonly symbol: string;
  /** The path and the line of the symbol: `src/server.ts:95`. */
  readonly place: string;
  readonly message: string;
}

/**
 * Faults that are not mended yet, as `rule symbol`. An entry that is no fault any more is a fault itself, so this list
 * only gets shorter.
 */
const KNOWN_FAULTS: readonly string[] = [];

/** An example in TypeScript. Those marked `ignore` or `no-run` do not run. */
const EXAMPLE = /^```ts(?!.*\b(?:ignore|no-run)\b).*\n/m;

/**
 * Finds all places where a rule does not hold.
 *
 * @param output What `deno doc --json` printed for the exported modules.
 * @param root The URL of the folder that paths are relative to, with a slash at its end.
 */
export function findFaults(output: DocOutput, root: string): Fault[] {
  const faults: Fault[] = [];
  for (const [url, { module_doc, symbols }] of Object.entries(output.nodes)) {
    const path = url.replace(root, "");
    if (!module_doc?.doc) {
      faults.push({
        rule: "description",
        symbol: path,
        place: `${path}:1`,
        message: "the module has no description",
      });
    }
    for (const { name, declarations } of symbols) {
      for (const declaration of declarations) {
        // A symbol that another module exports too is checked there.
        if (declaration.kind === "reference") continue;
        const needsExample = isStorage(path, declaration.kind);
        faults.push(...check(name, declaration, needsExample, root));
        for (const member of membersOf(declaration)) {
          const needsExample = name === "RealityServer" && member.kind === "method" ||
            name === "RealityServerOptions";
          faults.push(...check(`${name}.${member.name}`, member, needsExample, root));
        }
      }
    }
  }
  return faults;
}

/** Compares faults with a list of known ones. Returns the others, and the entries of the list that are no faults. */
export function compareWithKnown(
  faults: readonly Fault[],
  known: readonly string[],
): { unknown: Fault[]; mended: string[] } {
  const found = new Set(faults.map(({ rule, symbol }) => `${rule} ${symbol}`));
  return {
    unknown: faults.filter(({ rule, symbol }) => !known.includes(`${rule} ${symbol}`)),
    mended: known.filter((entry) => !found.has(entry)),
  };
}

/** Storages are the classes and functions of the modules in `storage/`, without the kit that tests them. */
function isStorage(path: string, kind: string): boolean {
  return path.startsWith("storage/") && !path.startsWith("storage/conformance/") &&
    (kind === "class" || kind === "function");
}

function membersOf({ def }: Declaration): Member[] {
  const { constructors = [], methods = [], properties = [] } = def ?? {};
  return [...constructors, ...methods, ...properties].filter(({ accessibility }) =>
    accessibility !== "private" && accessibility !== "protected"
  );
}

function check(
  symbol: string,
  { location, jsDoc = {} }: Documented,
  needsExample: boolean,
  root: string,
): Fault[] {
  const place = `${location.filename.replace(root, "")}:${location.line + 1}`;
  const faults: Fault[] = [];
  const { doc = "", tags = [] } = jsDoc;
  const report = (rule: RuleName, message: string) => faults.push({ rule, symbol, place, message });
  const description = doc.replaceAll(/^```[^]*?^```/gm, "").trim();
  if (description === "") report("description", "there is no description");
  for (const tag of tags.filter(({ kind }) => kind === "throws")) {
    const type = tag.tsType?.repr;
    const cause = tag.doc?.trim() ?? "";
    if (type === undefined || !/^[A-Z]\w*$/.test(type)) report("throws", `"@throws ${cause}" names no class`);
    else if (cause === "") report("throws", `"@throws {${type}}" names no cause`);
  }
  const isDeprecated = tags.some(({ kind }) => kind === "deprecated");
  const examples = [doc, ...tags.filter(({ kind }) => kind === "example").map((tag) => tag.doc ?? "")];
  if (needsExample && !isDeprecated && !examples.some((text) => EXAMPLE.test(text))) {
    report("example", "there is no example that runs: a block that begins with ```ts");
  }
  return faults;
}

if (import.meta.main) {
  const docs = await readDocs();
  const faults = findFaults(docs, new URL("../", import.meta.url).href);
  const page = createOptionsPage(docs, (url) => Deno.readTextFileSync(new URL(url)));
  const isCurrent = page === Deno.readTextFileSync("docs/options.md");
  if (!isCurrent) console.log("docs/options.md differs from the doc comments: run deno task build:options");
  const { unknown, mended } = compareWithKnown(faults, KNOWN_FAULTS);
  for (const { place, symbol, rule, message } of unknown) {
    console.log(`${place} ${symbol}: ${message} (rule ${rule})`);
  }
  for (const entry of mended) {
    console.log(`tools/check_docs.ts: "${entry}" is no fault any more: remove it from KNOWN_FAULTS`);
  }
  console.log(`${unknown.length + mended.length} faults in docs, ${KNOWN_FAULTS.length} known ones`);
  Deno.exit(unknown.length + mended.length > 0 || !isCurrent ? 1 : 0);
}
