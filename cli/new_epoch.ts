/**
 * The command `reality-server new-epoch`: for an operator who has brought a database back from a copy.
 *
 * @module
 */
import { existsSync } from "node:fs";
import { describe, redactText } from "../src/redact.ts";
import type { RealityStorage } from "../src/store/contract.ts";
import { type Environment, readStorage, type StorageSetting } from "./environment.ts";
import { loadWith } from "./optional_package.ts";

/** Where the command writes lines. */
export interface NewEpochOutput {
  /** What was done. */
  log(line: string): void;
  /** Why nothing was. */
  error(line: string): void;
}

/** How the command is called. */
export const NEW_EPOCH_USAGE =
  `reality-server new-epoch URL begins a new epoch in a storage, once its data was brought back from a copy.

  --table NAME   the table in which the nodes are                      reality_nodes

URL is sqlite:<file> or postgres://<url>; without one, REALITY_STORAGE says where the storage is.
Clients fetch everything anew, and servers on the storage, which may run meanwhile, drop what they remember.
Ends with 0 when it is done, 1 when it is not.`;

/** Exit codes. */
const DONE = 0;
const FAILED = 1;

/**
 * Gives a storage a new epoch and prints the old and the new one.
 *
 * @param args What follows `new-epoch` on the command line.
 * @param environment The variables, of which `REALITY_STORAGE` stands in for the URL.
 * @param output Where to print.
 * @returns The exit code: 0, or 1 when nothing was changed.
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
    // A URL may hold a password.
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
    else output.error(name === "" ? message : `Cannot begin a new epoch in ${name}: ${message}`);
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
  if (urls.length > 1) throw new UsageError("Cannot begin a new epoch: expected one URL, got more");
  const [url] = urls;
  if (url === undefined && !environment.REALITY_STORAGE) {
    throw new UsageError("Cannot begin a new epoch: expected a URL, or REALITY_STORAGE to be set");
  }
  return {
    setting: url === undefined
      ? readStorage(environment.REALITY_STORAGE, "REALITY_STORAGE")
      : readStorage(url, "the URL"),
    tableName,
  };
}

/** Opens what is there, and makes nothing. */
async function open(setting: StorageSetting, tableName: string | undefined): Promise<RealityStorage> {
  const options = { createTables: false, ...(tableName === undefined ? {} : { tableName }) };
  if (setting.kind === "memory") throw new Error("memory has a new epoch at each start");
  if (setting.kind === "postgres") {
    const { openPostgres } = await loadWith(
      "postgres",
      () => import("../storage/sql/postgres/postgres_storage.ts"),
    );
    return openPostgres(setting.url, options);
  }
  // Opening it would make the file.
  if (!existsSync(setting.path)) throw new Error("the file is not there");
  return (await import("../storage/sql/sqlite/sqlite_storage.ts")).openSQLite(setting.path, options);
}
