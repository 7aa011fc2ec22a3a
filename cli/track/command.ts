/**
 * The commands `reality-server track` and `untrack`: print or install the triggers that write the keys of changed rows to
 * the outbox.
 *
 * @module
 */
import { describe, redactText } from "../../src/redact.ts";
import {
  type TrackOptions,
  trackTable,
  type UntrackOptions,
  untrackTable,
} from "../../storage/sql/track/track_table.ts";
import { splitArguments, UsageError } from "./arguments.ts";
import { checkColumns, listUnseen } from "./columns.ts";
import { connect, type DatabaseAddress } from "./database.ts";
import { formatScript, toTransaction } from "./script.ts";

/** The output of the command. */
export interface TrackOutput {
  /** Prints the result. */
  log(line: string): void;
  /** Prints why nothing was changed. */
  error(line: string): void;
}

/** The help text. */
export const TRACK_USAGE =
  `reality-server track URL --table NAME --keys KEY…   writes the keys of changed rows to the outbox
reality-server untrack URL --table NAME             ends it

  --table NAME    the table
  --keys KEY…     the keys of a row, such as 'chat:{room_id}' 'user:{author_id}:inbox'
  --when SQL      only rows for which this is true, such as '{is_draft} = 0'
  --schema NAME   schema of the table, or database on MySQL            public; that of the URL
  --outbox NAME   table of the outbox                                  reality_outbox
  --name NAME     to track a table in several ways
  --apply         install the triggers; otherwise the SQL is printed

URL is sqlite:<file>, postgres://<url> or mysql://<url>. Only --apply connects to it.
--apply checks that the table, its columns and the outbox exist. What it installs replaces what is there.
Exit code: 0 on success, 1 on failure.`;

/** Exit codes. */
const DONE = 0;
const FAILED = 1;

/**
 * Prints or installs the triggers of a table, or removes them.
 *
 * @param command The command.
 * @param args The arguments after it.
 * @param output Where to print.
 * @returns The exit code: 0, or 1 if nothing was changed.
 */
export async function runTrack(
  command: "track" | "untrack",
  args: readonly string[],
  output: TrackOutput,
): Promise<number> {
  if (args.includes("--help") || args.includes("-h")) {
    output.log(TRACK_USAGE);
    return DONE;
  }
  let table = "";
  try {
    const { database, options, isApplied } = splitArguments(command, args);
    const statements = command === "track" ? trackTable(options as TrackOptions) : untrackTable(options);
    table = options.table;
    if (isApplied) {
      const unseen = await apply(database, statements, options);
      output.log(`${command === "track" ? "Tracked" : "No longer tracked"}: ${table}`);
      for (const change of unseen) output.log(`Not told: ${change}`);
    } else output.log(formatScript(options, statements));
    return DONE;
  } catch (error) {
    const message = redactText(describe(error));
    if (error instanceof UsageError) output.error(`${message}\n\n${TRACK_USAGE}`);
    else output.error(table === "" ? message : `Cannot ${command} ${JSON.stringify(table)}: ${message}`);
    return FAILED;
  }
}

/** Returns which changes the triggers do not see. */
async function apply(
  database: DatabaseAddress,
  statements: readonly string[],
  options: UntrackOptions | TrackOptions,
): Promise<string[]> {
  // Closing it undoes a transaction that was not committed.
  const connection = await connect(database);
  try {
    if ("keys" in options) await checkColumns(connection, options);
    for (const statement of toTransaction(options, statements)) await connection.run(statement);
    return "keys" in options ? await listUnseen(connection, options) : [];
  } finally {
    await connection.close();
  }
}
