/**
 * The choice of `deno task test:unit`: the tests that run in under a minute on Deno alone.
 *
 * @module
 */

import type { Job, Leg } from "./legs.ts";

/** One `deno test` process. Its files share the start of the runtime and the loading of `src/`. */
interface Group {
  readonly name: string;
  /** What the paths of its files begin with. */
  readonly folders: readonly RegExp[];
}

const groups: readonly Group[] = [
  { name: "src, client", folders: [/^tests\/(src|client)\//] },
  {
    name: "adapters, command line, memory storage, conformance kit, contract, layout, tools",
    folders: [
      /^tests\/(adapters|cli|tools|run)\//,
      /^tests\/storage\/(memory|conformance)/,
      /^tests\/[^/]+$/,
    ],
  },
];

/** What a unit test does not do, though its folder is chosen: start another process, or run the whole checker. */
const isSlow = (file: string, text: string) => file.includes("/check/") || text.includes("runtimes/child.ts");

/** The unit tests, and a sentence that says which tests are left out. */
export interface UnitTests {
  readonly leg: Leg;
  readonly leftOut: string;
}

/**
 * Chooses the unit tests by their folders.
 *
 * @param deno the path of Deno
 * @param files all test files, without those of `tests/jsr/`
 * @param words parts of a path. When there are any, only files that contain one of them are chosen.
 * @param needsService whether a file needs a database or another program
 */
export async function chooseUnitTests(
  deno: string,
  files: readonly string[],
  words: readonly string[],
  needsService: (file: string) => boolean,
): Promise<UnitTests> {
  const chosen = new Set<string>();
  const jobs: Job[] = [];
  for (const { name, folders } of groups) {
    const members: string[] = [];
    for (const file of files) {
      if (!folders.some((folder) => folder.test(file)) || needsService(file)) continue;
      if (/^tests\/(adapters|cli)\//.test(file) && isSlow(file, await Deno.readTextFile(file))) continue;
      chosen.add(file);
      if (words.length === 0 || words.some((word) => file.includes(word))) members.push(file);
    }
    if (members.length === 0) continue;
    const report = `.cache/reports/unit/${name.replaceAll(/\W+/g, "-")}.xml`;
    const flags = ["--allow-all", "--no-check", "--sanitize-ops", "--sanitize-resources", "--reporter=dot"];
    jobs.push({
      file: `${name} (${members.length} files)`,
      report,
      command: [deno, "test", ...flags, `--junit-path=${report}`, ...members],
    });
  }
  const folders = new Map<string, number>();
  for (const file of files) {
    if (chosen.has(file)) continue;
    const folder = /^tests\/(?:storage\/)?[^/]+/.exec(file)![0].slice("tests/".length).replace(
      /_test\.ts$/,
      "",
    );
    folders.set(folder, (folders.get(folder) ?? 0) + 1);
  }
  const list = [...folders].map(([folder, count]) => `${folder} (${count})`).join(", ");
  return {
    leg: { name: "unit", jobs },
    leftOut: `Node, Bun, the examples in doc comments, and these folders or files: ${list}`,
  };
}
