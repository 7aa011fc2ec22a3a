import assert from "node:assert/strict";
import { PeerError, RealityError, RelayError, StorageError } from "../../mod.ts";
import { Log, LOG_LEVELS, type LogSetting } from "../../cli/log.ts";
import { test } from "../harness.ts";

/** A log that records its lines and their outputs. */
function createLog(setting: LogSetting): { log: Log; lines: string[] } {
  const lines: string[] = [];
  const output = {
    log: (line: string) => lines.push(`out ${line}`),
    error: (line: string) => lines.push(`err ${line}`),
  };
  return { log: new Log(setting, output, () => new Date(0)), lines };
}

test("Log writes text up to its level, and errors and warnings to the standard error", () => {
  const told = (level: LogSetting["level"]) => {
    const { log, lines } = createLog({ level, format: "text" });
    for (const each of LOG_LEVELS) log.write(each, each);
    return lines;
  };
  assert.deepEqual(told("error"), ["err error"]);
  assert.deepEqual(told("info"), ["err error", "err warn", "out info"]);
  assert.deepEqual(told("debug"), ["err error", "err warn", "out info", "out debug"]);
});

test("Log writes failures of the environment in one line, and unexpected ones with their stacks", () => {
  const { log, lines } = createLog({ level: "info", format: "text" });
  log.onError(new StorageError("getNode", new Error("no space")));
  log.onError(new RelayError("gone"));
  log.onError(new PeerError("http://a/x", "refused", "no"));
  log.onError(new RelayError("gone", true));
  assert.deepEqual(lines, [
    "err StorageError: Storage failed at getNode: no space",
    "err RelayError: Redis failed: gone",
    "err PeerError: Cannot exchange with peer http://a/x: no",
    "out RelayError: Redis is well again",
  ]);
  const cause = new TypeError("why", { cause: "words" });
  log.onError(new RealityError("ERR_REALITY_INTERNAL", "A request failed", { cause }));
  assert.match(
    lines[4]!,
    /^err RealityError: A request failed\n +at .*[\s\S]*\ncaused by TypeError: why\n +at [\s\S]*\ncaused by words$/,
  );
});

test("Log writes one JSON object per line", () => {
  const { log, lines } = createLog({ level: "info", format: "json" });
  log.write("info", "two\nlines");
  log.onError(new StorageError("getNode", new Error("no space")));
  log.onError(new RealityError("ERR_REALITY_INTERNAL", "A request failed"));
  const [first, second, third] = lines.map((line) => JSON.parse(line.slice(4)));
  const time = "1970-01-01T00:00:00.000Z";
  assert.deepEqual(first, { time, level: "info", message: "two\nlines" });
  const message = "Storage failed at getNode: no space";
  assert.deepEqual(second, { time, level: "error", message, code: "ERR_REALITY_STORAGE" });
  assert.match(third.stack, /log_test/);
});

test("Log writes events at level debug, and has no onEvent at other levels", () => {
  assert.equal(createLog({ level: "info", format: "text" }).log.onEvent, undefined);
  for (const format of ["text", "json"] as const) {
    const { log, lines } = createLog({ level: "debug", format });
    log.onEvent!({ type: "redis", at: 1, state: "down" });
    const json = { time: "1970-01-01T00:00:00.000Z", level: "debug", message: "redis", state: "down" };
    assert.deepEqual(lines, [
      format === "text" ? 'out redis {"state":"down"}' : `out ${JSON.stringify(json)}`,
    ]);
  }
});
