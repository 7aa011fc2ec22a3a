/**
 * Reads a runner's report about a test file, and compares it with the exit code.
 *
 * @module
 */

/** How many tests ended how. */
export interface Count {
  passed: number;
  failed: number;
  skipped: number;
}

/** The outcome of one run. */
export interface Result extends Count {
  /** What is wrong with the run itself: it crashed, ran nothing, or its report contradicts it. */
  faults: readonly string[];
  skippedNames: readonly string[];
  failedNames: readonly string[];
}

// Attributes are matched whole, since Node leaves ">" as it is in them.
const testcase = /<testcase(?:\s+\w+="[^"]*")*\s*(?:\/>|>[\s\S]*?<\/testcase>)/g;

/**
 * Counts a JUnit report by Deno, Node or Bun. Each fault counts as one failed test.
 *
 * @param xml the report, or `undefined` when there is none
 * @param exitCode how the runner ended
 */
export function readReport(xml: string | undefined, exitCode: number): Result {
  const cases = (xml ?? "").match(testcase) ?? [];
  const stated = /<testsuites [^>]*\btests="(\d+)"/.exec(xml ?? "")?.[1] ??
    /<!-- tests (\d+) -->/.exec(xml ?? "")?.[1];
  const count = { passed: 0, failed: 0, skipped: 0 };
  const [skippedNames, failedNames]: [string[], string[]] = [[], []];
  for (const text of cases) {
    const name = /\sname="([^"]*)"/.exec(text)?.[1] ?? "";
    if (/<(failure|error)\b/.test(text)) {
      count.failed++;
      failedNames.push(name);
    } else if (/<skipped\b/.test(text)) {
      count.skipped++;
      skippedNames.push(name);
    } else count.passed++;
  }
  const faults: string[] = [];
  if (stated !== undefined && Number(stated) !== cases.length) {
    faults.push(`the report says ${stated} tests and lists ${cases.length}`);
  }
  if (cases.length === 0) faults.push("it ran no test");
  // Node writes the number of tests last.
  else if (stated === undefined) faults.push("it ended before its report did");
  if (exitCode !== 0 && count.failed + faults.length === 0) {
    faults.push(`it ended with exit code ${exitCode}`);
  }
  return { ...count, failed: count.failed + faults.length, faults, skippedNames, failedNames };
}

/** The sum of several counts. */
export function add(counts: readonly Count[]): Count {
  const sum = { passed: 0, failed: 0, skipped: 0 };
  for (const { passed, failed, skipped } of counts) {
    sum.passed += passed;
    sum.failed += failed;
    sum.skipped += skipped;
  }
  return sum;
}
