/**
 * Which runner runs which test files, and how.
 *
 * @module
 */

import type { Machine } from "./machine.ts";

/** One run of a runner on one file, or on all doc examples at once. */
export interface Job {
  /** The test file, as it is shown. */
  file: string;
  command: readonly string[];
  /** Where the runner writes its JUnit report. */
  report: string;
  /** Whether it mostly waits, and takes less than half a core. */
  waits?: boolean;
}

/** Jobs that belong together and are counted together. */
export interface Leg {
  name: string;
  jobs: readonly Job[];
  /** Why none of the jobs can run; each is then a skip. */
  missing?: string;
}

/** These folders are legs of their own, on Deno. All other tests but `hosts` run on Deno, on Node and on Bun. */
const ownLegs = [
  "races",
  "cluster",
  "mesh",
  "proxies",
  "examples",
  "browser",
  "frameworks",
  "workerd",
  "npm",
];

/**
 * Files that mostly wait: the protocol check, whose rules have time limits, the HTTP kit on sockets, connections that
 * fall silent, and servers that restart. Measured on Deno, they take 10 to 40 % of a core.
 */
const mostlyWait = new RegExp(
  "^tests/(?:cli/check|redis)/|^tests/adapters/(?:node|node_http2|express)_test|(?:blackhole|failover|half_open)_test",
);

const reports = ".cache/reports";
const testTimeout = 60_000;

/**
 * The legs that the words ask for. A word is the name of a leg or a part of a file's path; without
 * words it is everything.
 */
export async function chooseLegs(machine: Machine, words: readonly string[]): Promise<Leg[]> {
  const { deno, node24, bun, chromium } = machine;
  const denoTest = [deno, "test", "--allow-all", "--no-check", "--sanitize-ops", "--sanitize-resources"];
  const onDeno = (file: string, report: string) => [...denoTest, `--junit-path=${report}`, file];
  const onNode = (file: string, report: string) => [
    // Without `--test`, which would start a second process that reads the report of the first.
    ...[node24, `--test-timeout=${testTimeout}`],
    ...["--test-reporter=spec", "--test-reporter-destination=stdout"],
    ...["--test-reporter=junit", `--test-reporter-destination=${report}`, file],
  ];
  const onBun = (file: string, report: string) => [
    ...[bun, "test", "--no-install", `--timeout=${testTimeout}`],
    ...["--reporter=junit", `--reporter-outfile=${report}`, `./${file}`],
  ];
  const onDoc = (_: string, report: string) => [
    // Examples serve at the default port, which may be taken.
    ...["env", "DENO_SERVE_ADDRESS=tcp:127.0.0.1:0"],
    ...[deno, "test", "--allow-all", "--doc", "--preload=tests/run/strict_assert.ts"],
    `--junit-path=${report}`,
    ...["README.md", ...findGuides(), "mod.ts", "src", "storage", "adapters", "cli", "client"],
  ];

  const files = await findTestFiles();
  const own = (name: string) => files.filter((file) => file.startsWith(`tests/${name}/`));
  const shared = files.filter((file) =>
    ![...ownLegs, "hosts"].some((name) => file.startsWith(`tests/${name}/`))
  );
  const leg = (name: string, command: typeof onDeno, from: readonly string[]) => ({
    name,
    jobs: from.map((file) => {
      const report = `${reports}/${name}/${file.replaceAll(/[^\w.]/g, "-")}.xml`;
      return { file, report, command: command(file, report), waits: mostlyWait.test(file) };
    }),
  });
  // Legs with few and long files come first: at the end, no core waits long for the other's last file.
  const all: Leg[] = [
    ...ownLegs.map((name) => leg(name, onDeno, own(name))),
    leg("hosts", onNode, own("hosts")),
    leg("docs", onDoc, ["README.md, docs and doc comments"]),
    leg("deno", onDeno, shared),
    leg("node", onNode, shared),
    leg("bun", onBun, shared),
  ];
  if (typeof chromium !== "string") {
    for (const leg of all) if (["examples", "browser"].includes(leg.name)) leg.missing = chromium.missing;
  }

  const names = words.filter((word) => all.some((leg) => leg.name === word));
  const parts = words.filter((word) => !names.includes(word));
  const chosen = all.filter((leg) => names.length === 0 || names.includes(leg.name));
  if (parts.length === 0) return chosen;
  const matching = (leg: Leg) => leg.jobs.filter((job) => parts.some((part) => job.file.includes(part)));
  return chosen.map((leg) => ({ ...leg, jobs: matching(leg) })).filter((leg) => leg.jobs.length > 0);
}

/** The pages in `docs/` whose examples run as doc examples. Those in JavaScript have tests of their own. */
function findGuides(): string[] {
  const pages = [...Deno.readDirSync("docs")].map(({ name }) => `docs/${name}`).sort();
  return pages.filter((page) => page.endsWith(".md") && !/^```js$/m.test(Deno.readTextFileSync(page)));
}

/** All test files, but those that need packages from JSR, which not every machine reaches: `deno task test:jsr`. */
export async function findTestFiles(): Promise<string[]> {
  return (await findTests("tests")).filter((file) => !file.startsWith("tests/jsr/"));
}

async function findTests(folder: string): Promise<string[]> {
  const found: string[] = [];
  for await (const entry of Deno.readDir(folder)) {
    const path = `${folder}/${entry.name}`;
    if (entry.isDirectory) found.push(...await findTests(path));
    else if (entry.name.endsWith("_test.ts")) found.push(path);
  }
  return found.sort();
}
