/**
 * The command `reality-server new-epoch`: gives a storage a new epoch after its data was restored from a backup.
 *
 * @module
 */
import { existsSync } from "node:fs";
import { describe, redactText } from "../src/redact.ts";
import type { RealityStorage } from "../src/store/contract.ts";
import type { StorageSetting } from "./environment/settings.ts";
import { parseStorage } from "./environment/values.ts";
import type { Environment } from "./environment/variables.ts";
import { loadWith } from "./optional_package.ts";

/** The output of the command. */
export interface NewEpochOutput {
  /** Prints the result. */
  log(line: string): void;
  /** Prints why nothing was changed. */
  error(line: string): void;
}

/** The help text. */
export const NEW_EPOCH_USAGE =
  `reality-server new-epoch URL starts a new epoch in a storage. Run it after the data was restored from a backup.

  --table NAME   table of the nodes                                    reality_nodes

URL is sqlite:<file> or postgres://<url>. Without it, REALITY_STORAGE is used.
Clients then fetch everything again. Servers on the storage may keep running; they drop what they have cached.
Exit code: 0 on success, 1 on failure.`;

/** Exit codes. */
const DONE = 0;
const FAILED = 1;

/**
 * Gives a storage a new epoch and prints the old and the new one.
 *
 * @param args The arguments after `new-epoch`.
 * @param environment The variables. `REALITY_STORAGE` is used if there is no URL.
 * @param output Where to print.
 * @returns The exit code: 0, or 1 if nothing was changed.
 */
export async function runNewEpoch(
  args: readonly string[],
  environment: Environment,
  output: NewEpochOutput,
): Promise<number> {
  if (args.includes("--help") || args.includes("-h")) {
    output.log(NEW_EPOCH_USAGE);
    return DONE;
  }
  let name = "";
  try {
    const { setting, tableName } = readArguments(args, environment);
    // A URL may contain a password.
    name = setting.kind === "sqlite" ? `sqlite:${setting.path}` : `${setting.kind}:…`;
    const storage = await open(setting, tableName);
    try {
      const before = await storage.getIdentity?.();
      const after = await storage.newEpoch?.();
      output.log(`Old epoch: ${before?.epoch}\nNew epoch: ${after?.epoch}`);
    } finally {
      await storage.close?.();
    }
    return DONE;
  } catch (error) {
    const message = redactText(describe(error));
    if (error instanceof UsageError) output.error(`${message}\n\n${NEW_EPOCH_USAGE}`);
    else output.error(name === "" ? message : `Cannot start a new epoch in ${name}: ${message}`);
    return FAILED;
  }
}

class UsageError extends Error {}

function readArguments(
  args: readonly string[],
  environment: Environment,
): { readonly setting: StorageSetting; readonly tableName: string | undefined } {
  const rest = [...args];
  const urls: string[] = [];
  let tableName: string | undefined;
  for (let arg = rest.shift(); arg !== undefined; arg = rest.shift()) {
    if (arg === "--table") {
      tableName = rest.shift();
      if (tableName === undefined) throw new UsageError("Cannot use --table: expected a name after it");
    } else if (arg.startsWith("-")) throw new UsageError(`Cannot read the argument "${arg}"`);
    else urls.push(arg);
  }
  if (urls.length > 1) throw new UsageError("Cannot start a new epoch: expected one URL, got more");
  const [url] = urls;
  if (url === undefined && !environment.REALITY_STORAGE) {
    throw new UsageError("Cannot start a new epoch: expected a URL, or REALITY_STORAGE to be set");
  }
  return {
    setting: url === undefined
      ? parseStorage(environment.REALITY_STORAGE, "REALITY_STORAGE")
      : parseStorage(url, "the URL"),
    tableName,
  };
}

/** Opens an existing storage. Creates nothing. */
async function open(setting: StorageSetting, tableName: string | undefined): Promise<RealityStorage> {
  const options = { createTables: false, ...(tableName === undefined ? {} : { tableName }) };
  if (setting.kind === "memory") throw new Error("a storage in memory has a new epoch at each start");
  if (setting.kind === "postgres") {
    const { openPostgres } = await loadWith(
      "postgres",
      () => import("../storage/sql/postgres/postgres_storage.ts"),
    );
    return openPostgres(setting.url, options);
  }
  // Opening would create the file.
  if (!existsSync(setting.path)) throw new Error("the file does not exist");
  return (await import("../storage/sql/sqlite/sqlite_storage.ts")).openSQLite(setting.path, options);
}
