/**
 * The command `reality-server check`: parses arguments, prints a report and returns an exit code.
 *
 * @module
 */
import { CheckError, type CheckOptions, checkServer, type RuleResult } from "./mod.ts";

/** The output of the command. */
export interface CommandOutput {
  /** Prints a line of the report. */
  log(line: string): void;
  /** Prints why there is no report. */
  error(line: string): void;
}

/** The help text. */
export const CHECK_USAGE =
  `reality-server check URL checks a running server against the rules of the protocol. It changes nothing.

  --write-token TOKEN      also check writes, on keys of its own that are deleted at the end
  --stamped URL            also check the stamp of this answer of the application: its URL, or its path.
                           With --write-token, one of its keys is invalidated, so that its clients fetch again
  --header "Name: value"   send this header with every request; can be repeated. "Origin: https://app.example"
                           checks what CORS allows that page
  --timeout MS             time for one answer                                   10000
  --json                   print the report as JSON

URL is http://host/base-path, or http://host for the base path /reality.
Exit code: 0 if the server keeps all checked rules, 1 if a rule is broken, 2 if the server cannot be checked.`;

/** Exit codes. */
const HOLDS = 0;
const BROKEN = 1;
const NOTHING_CHECKED = 2;

/** The parsed arguments. */
interface Arguments {
  readonly url: string;
  readonly json: boolean;
  readonly options: CheckOptions;
}

/**
 * Checks a server and prints the report.
 *
 * @param args The arguments after `check`.
 * @param output Where to print.
 * @returns The exit code: 0, 1 if a rule is broken, 2 if the server cannot be checked.
 */
export async function runCheck(args: readonly string[], output: CommandOutput): Promise<number> {
  if (args.includes("--help") || args.includes("-h")) {
    output.log(CHECK_USAGE);
    return HOLDS;
  }
  try {
    const { url, json, options } = parseArguments(args);
    const report = await checkServer(url, {
      ...options,
      onResult: (result) => json || output.log(formatResult(result)),
    });
    if (json) output.log(JSON.stringify(report, null, 2));
    else {
      for (const key of report.leftBehind) output.log(`The key ${key} could not be deleted`);
      output.log(
        `\n${report.url}: ${report.ok} ok, ${report.failed} failed, ${report.notChecked} not checked`,
      );
    }
    return report.failed > 0 ? BROKEN : HOLDS;
  } catch (error) {
    if (error instanceof UsageError) output.error(`${error.message}\n\n${CHECK_USAGE}`);
    else if (error instanceof CheckError || error instanceof TypeError) output.error(error.message);
    else throw error;
    return NOTHING_CHECKED;
  }
}

class UsageError extends Error {}

function parseArguments(args: readonly string[]): Arguments {
  const rest = [...args];
  const urls: string[] = [];
  const headers: Record<string, string> = {};
  const options: { writeToken?: string; stamped?: string; timeout?: number } = {};
  let json = false;
  const valueOf = (name: string) => {
    const value = rest.shift();
    if (value === undefined || value === "") {
      throw new UsageError(`Cannot read ${name}: expected a value after it`);
    }
    return value;
  };
  for (let arg = rest.shift(); arg !== undefined; arg = rest.shift()) {
    if (arg === "--json") json = true;
    else if (arg === "--write-token") options.writeToken = valueOf(arg);
    else if (arg === "--stamped") options.stamped = valueOf(arg);
    else if (arg === "--timeout") options.timeout = parseTimeout(valueOf(arg));
    else if (arg === "--header") Object.assign(headers, parseHeader(valueOf(arg)));
    else if (arg.startsWith("-")) {
      throw new UsageError(
        `Cannot read the argument ${JSON.stringify(arg.replace(/=.*/s, "=…"))}: no such option`,
      );
    } else urls.push(arg);
  }
  const [url] = urls;
  if (url === undefined || urls.length > 1) {
    throw new UsageError(
      `Cannot check: expected one URL, got ${urls.length === 0 ? "none" : urls.join(" ")}`,
    );
  }
  return { url, json, options: { ...options, headers } };
}

function parseTimeout(text: string): number {
  const timeout = Number(text);
  if (/^\d{1,7}$/.test(text) && timeout >= 10) return timeout;
  throw new UsageError(
    `Cannot read --timeout: expected milliseconds, 10 or more, got ${JSON.stringify(text)}`,
  );
}

function parseHeader(text: string): Record<string, string> {
  const [, name, value] = /^([\w!#$%&'*+.^`|~-]+): *(.*)$/.exec(text) ?? [];
  // The text may contain a secret.
  if (name === undefined || value === undefined) {
    throw new UsageError('Cannot read --header: expected "Name: value"');
  }
  return { [name.toLowerCase()]: value };
}

function formatResult({ rule, sentence, outcome, found }: RuleResult): string {
  const said = outcome === "failed" ? "FAILED" : outcome;
  const line = `${rule.padEnd(5)} ${said.padEnd(11)}  ${sentence}`;
  if (found === undefined) return line;
  return outcome === "failed" ? `${line}\n${" ".repeat(19)}found: ${found}` : `${line} (${found})`;
}
