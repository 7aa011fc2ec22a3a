import assert from "node:assert/strict";
import { test } from "../harness.ts";
import { add, readReport } from "./report.ts";

test("readReport() counts what Deno, Node and Bun write", () => {
  const byDeno = `<testsuites name="deno test" tests="3" failures="1" errors="0" time="0.1">
    <testsuite name="./tests/harness.ts" tests="3" disabled="1" errors="0" failures="1">
      <testcase name="&lt;one&gt;" classname="./tests/harness.ts" time="0.000" line="14" col="24">
      </testcase>
      <testcase name="two" classname="./tests/harness.ts"><failure message="1 !== 2">at x</failure></testcase>
      <testcase name="three" classname="./tests/harness.ts"><skipped/></testcase>
    </testsuite></testsuites>`;
  const byNode = `<testsuites>
    <testcase name="a -> b" time="0.0007" classname="test" file="/tests/harness.ts"/>
    <testcase name="two" time="0.0009" classname="test" failure="1 !== 2"><failure type="x">y</failure></testcase>
    <testcase name="three" time="0.0007" classname="test"><skipped type="skipped" message="true"/></testcase>
    <!-- tests 3 --></testsuites>`;
  const byBun = `<testsuites name="bun test" tests="3" assertions="0" failures="1" skipped="1" time="0.09">
    <testsuite name="tests/a_test.ts" tests="3"><testcase name="one" classname="" assertions="0" />
    <testcase name="two" classname="">
      <failure type="AssertionError" message="1 !== 2">at &lt;skipped&gt;</failure>
    </testcase>
    <testcase name="three" classname=""><skipped /></testcase></testsuite></testsuites>`;
  for (const report of [byDeno, byNode, byBun]) {
    const { faults, skippedNames, failedNames, ...count } = readReport(report, 1);
    assert.deepEqual(count, { passed: 1, failed: 1, skipped: 1 });
    assert.deepEqual(faults, []);
    assert.deepEqual(skippedNames, ["three"]);
    assert.deepEqual(failedNames, ["two"]);
  }
});

test("readReport() counts a file without tests as a failure", () => {
  const byBun = `<testsuites name="bun test" tests="0" assertions="0"></testsuites>`;
  const byNode = `<?xml version="1.0" encoding="utf-8"?>\n<testsuites>\n`;
  for (const report of [byBun, byNode, undefined]) {
    const { passed, failed, faults } = readReport(report, 0);
    assert.deepEqual({ passed, failed, faults }, { passed: 0, failed: 1, faults: ["it ran no test"] });
  }
});

test("readReport() counts an unexplained exit code as a failure", () => {
  const report = `<testsuites tests="1"><testcase name="one"/></testsuites>`;
  assert.equal(readReport(report, 0).failed, 0);
  assert.deepEqual(readReport(report, 7).faults, ["it ended with exit code 7"]);
  assert.equal(readReport(report, 7).failed, 1);
});

test("readReport() counts a contradictory report as a failure", () => {
  const report = `<testsuites tests="2"><testcase name="one"/></testsuites>`;
  assert.deepEqual(readReport(report, 0).faults, ["the report says 2 tests and lists 1"]);
});

test("readReport() counts a report that ends too soon as a failure", () => {
  const byNode =
    `<?xml version="1.0" encoding="utf-8"?>\n<testsuites>\n<testcase name="one" classname="test"/>\n`;
  const { passed, failed, faults } = readReport(byNode, 0);
  assert.deepEqual({ passed, failed, faults }, {
    passed: 1,
    failed: 1,
    faults: ["it ended before its report did"],
  });
});

test("add() sums counts", () => {
  const count = { passed: 1, failed: 2, skipped: 3 };
  assert.deepEqual(add([count, count]), { passed: 2, failed: 4, skipped: 6 });
  assert.deepEqual(add([]), { passed: 0, failed: 0, skipped: 0 });
});
