/**
 * The arguments of `reality-server track` and `untrack`. Pure.
 *
 * @module
 */
import { redactInvalidURL } from "../../src/redact.ts";
import type { TrackOptions, UntrackOptions } from "../../storage/sql/track/track_table.ts";
import type { DatabaseAddress } from "./database.ts";

/** The command was called wrongly: the help text follows. */
export class UsageError extends Error {}

/** What the command is to do. */
export interface TrackArguments {
  readonly database: DatabaseAddress;
  readonly options: TrackOptions | UntrackOptions;
  /** Whether the triggers are installed. */
  readonly isApplied: boolean;
}

const VALUES = {
  track: ["--table", "--when", "--schema", "--outbox", "--name"],
  untrack: ["--table", "--schema", "--name"],
} as const;

/**
 * Splits the arguments.
 *
 * @param command The command.
 * @param args The arguments after it.
 * @throws {UsageError} When one is missing, unknown or wrong.
 */
export function splitArguments(command: "track" | "untrack", args: readonly string[]): TrackArguments {
  const rest = [...args];
  const urls: string[] = [];
  const keys: string[] = [];
  const values: Record<string, string> = {};
  let isApplied = false;
  for (let arg = rest.shift(); arg !== undefined; arg = rest.shift()) {
    if (arg === "--apply") isApplied = true;
    else if (arg === "--keys" && command === "track") {
      while (rest.length > 0 && !rest[0]!.startsWith("--")) keys.push(rest.shift()!);
    } else if ((VALUES[command] as readonly string[]).includes(arg)) {
      const value = rest.shift();
      if (value === undefined) throw new UsageError(`Cannot use ${arg}: expected a value after it`);
      values[arg.slice(2)] = value;
    } else if (arg.startsWith("-")) throw new UsageError(`Cannot read the argument "${arg}"`);
    else urls.push(arg);
  }
  const [url, second] = urls;
  if (url === undefined || second !== undefined) {
    throw new UsageError(
      `Cannot ${command}: expected one URL, got ${urls.length}${
        url === undefined ? "" : "; keys come after --keys"
      }`,
    );
  }
  const { table, ...more } = values;
  if (table === undefined) throw new UsageError(`Cannot ${command}: expected --table`);
  if (command === "track" && keys.length === 0) throw new UsageError("Cannot track: expected --keys");
  const database = parseAddress(url);
  const options = { dialect: database.dialect, table, ...more, ...(command === "track" ? { keys } : {}) };
  return { database, options, isApplied };
}

function parseAddress(text: string): DatabaseAddress {
  const [, path] = /^sqlite:(.+)$/.exec(text) ?? [];
  if (path !== undefined) return { dialect: "sqlite", address: path };
  if (/^postgres(?:ql)?:\/\//.test(text) && URL.canParse(text)) return { dialect: "postgres", address: text };
  if (/^(?:mysql|mariadb):\/\//.test(text) && URL.canParse(text)) {
    return { dialect: "mysql", address: text.replace(/^mariadb/, "mysql") };
  }
  throw new UsageError(
    `Cannot use the URL: expected sqlite:<file>, postgres://<url> or mysql://<url>, got ${
      JSON.stringify(redactInvalidURL(text))
    }`,
  );
}
