/**
 * The command `reality-server check`: arguments in, a report and an exit code out.
 *
 * @module
 */
import { CheckError, type CheckOptions, checkServer, type RuleResult } from "./mod.ts";

/** Where the command writes lines. */
export interface CommandOutput {
  /** The report. */
  log(line: string): void;
  /** Why there is none. */
  error(line: string): void;
}

/** How the command is called. */
export const CHECK_USAGE =
  `reality-server check URL checks a server by the rules of its protocol, and changes nothing.

  --write-token TOKEN      checks writes, too, on keys of its own that it takes away again
  --header "Name: value"   sends this with every request; may be given several times
  --timeout MS             how long one answer may take                          10000
  --json                   prints the report as JSON

URL is http://host/base-path, or http://host for the base path /reality.
Ends with 0 when all rules hold that could be checked, 1 when one does not, 2 when there was nothing to check.`;

/** Exit codes. */
const HOLDS = 0;
const BROKEN = 1;
const NOTHING_CHECKED = 2;

/** What the arguments say. */
interface Arguments {
  readonly url: string;
  readonly json: boolean;
  readonly options: CheckOptions;
}

/**
 * Checks a server and prints what was found.
 *
 * @param args What follows `check` on the command line.
 * @param output Where to print.
 * @returns The exit code: 0, 1 when a rule is broken, 2 when nothing could be checked.
 */
export async function runCheck(args: readonly string[], output: CommandOutput): Promise<number> {
  if (args.includes("--help") || args.includes("-h")) {
    output.log(CHECK_USAGE);
    return HOLDS;
  }
  try {
    const { url, json, options } = readArguments(args);
    const report = await checkServer(url, {
      ...options,
      onResult: (result) => json || output.log(lineOf(result)),
    });
    if (json) output.log(JSON.stringify(report, null, 2));
    else {
      for (const key of report.leftBehind) output.log(`The key ${key} could not be taken away`);
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

function readArguments(args: readonly string[]): Arguments {
  const rest = [...args];
  const urls: string[] = [];
  const headers: Record<string, string> = {};
  const options: { writeToken?: string; timeout?: number } = {};
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
    else if (arg === "--timeout") options.timeout = readTimeout(valueOf(arg));
    else if (arg === "--header") Object.assign(headers, readHeader(valueOf(arg)));
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

function readTimeout(text: string): number {
  const timeout = Number(text);
  if (/^\d{1,7}$/.test(text) && timeout >= 10) return timeout;
  throw new UsageError(
    `Cannot read --timeout: expected milliseconds, 10 or more, got ${JSON.stringify(text)}`,
  );
}

function readHeader(text: string): Record<string, string> {
  const [, name, value] = /^([\w!#$%&'*+.^`|~-]+): *(.*)$/.exec(text) ?? [];
  // What follows may be a secret.
  if (name === undefined || value === undefined) {
    throw new UsageError('Cannot read --header: expected "Name: value"');
  }
  return { [name.toLowerCase()]: value };
}

function lineOf({ rule, sentence, outcome, found }: RuleResult): string {
  const said = outcome === "failed" ? "FAILED" : outcome;
  const line = `${rule.padEnd(5)} ${said.padEnd(11)}  ${sentence}`;
  if (found === undefined) return line;
  return outcome === "failed" ? `${line}\n${" ".repeat(19)}found: ${found}` : `${line} (${found})`;
}
