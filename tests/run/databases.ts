/**
 * How private database servers are made: PostgreSQL and MariaDB.
 *
 * @module
 */
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { delimiter, join } from "node:path";
import process from "node:process";
import { type Recipe, run } from "./server.ts";

/** What a database server may be told. */
export interface DatabaseOptions {
  /**
   * Whether what is committed is on the disk. It costs most of the time and is needed only where a crash is
   * tested.
   *
   * @default {false}
   */
  durable?: boolean;
}

/** PostgreSQL; as root it runs as the user `postgres`, since it refuses root. */
export function postgresRecipe(options: DatabaseOptions = {}): Recipe {
  const flags = ["--username=postgres", "--auth=trust", "--encoding=UTF8", "--locale=C.UTF-8", "--no-sync"];
  return postgresOn("ready to accept connections", ["initdb", ...flags], options);
}

/**
 * PostgreSQL that follows a running one by streaming replication: it answers reads until it is promoted.
 * `startReplicatedPair` of `replication.ts` starts both.
 *
 * @param primary The address of the server that it follows, as `postgresRecipe` gives it.
 */
export function standbyRecipe(primary: string, options: DatabaseOptions = {}): Recipe {
  const flags = ["--write-recovery-conf", "--wal-method=stream", "--checkpoint=fast", "--no-sync"];
  const copy = ["pg_basebackup", `--dbname=${primary}`, ...flags];
  return postgresOn("ready to accept read-only connections", copy, options);
}

/** PostgreSQL on a base backup of a running one, which it does not follow. It takes writes. */
export function backupRecipe(running: string, options: DatabaseOptions = {}): Recipe {
  const flags = ["--wal-method=stream", "--checkpoint=fast", "--no-sync"];
  const copy = ["pg_basebackup", `--dbname=${running}`, ...flags];
  return postgresOn("ready to accept connections", copy, options);
}

/** All users connect without a password, except one that a test expects to be refused. */
const WITH_PASSWORD = "host all reality_password all scram-sha-256\n";

/** PostgreSQL on a folder that the given program fills. */
function postgresOn(
  ready: string,
  [program = "", ...args]: readonly string[],
  { durable = false }: DatabaseOptions,
): Recipe {
  const programs = findPostgres() ?? install("postgresql", findPostgres);
  const asUser = isRoot()
    ? ["setpriv", "--reuid=postgres", "--regid=postgres", "--init-groups", "--reset-env", "--"]
    : [];
  return {
    ready,
    signal: "QUIT",
    prepare: (folder) => {
      const data = join(folder, "data");
      mkdirSync(data, { mode: 0o700 });
      if (isRoot()) run(["chown", "postgres:postgres", data]);
      run([...asUser, join(programs, program), ...args, "-D", data]);
      const rules = join(data, "pg_hba.conf");
      writeFileSync(rules, WITH_PASSWORD + readFileSync(rules, "utf8"));
    },
    command: (folder, port) => {
      const settings = {
        listen_addresses: "127.0.0.1",
        unix_socket_directories: "",
        max_connections: "300",
        fsync: durable ? "on" : "off",
        synchronous_commit: durable ? "on" : "off",
      };
      const flags = Object.entries(settings).flatMap(([name, value]) => ["-c", `${name}=${value}`]);
      return [...asUser, join(programs, "postgres"), "-D", join(folder, "data"), "-p", `${port}`, ...flags];
    },
    address: (port) => `postgres://postgres@127.0.0.1:${port}/postgres`,
  };
}

/** MariaDB, which stands for MySQL too. */
export function mariadbRecipe({ durable = false }: DatabaseOptions = {}): Recipe {
  if (!findProgram("mariadbd")) install("mariadb-server", () => findProgram("mariadbd"));
  const user = isRoot() ? ["--user=mysql"] : [];
  return {
    ready: "ready for connections",
    signal: "KILL",
    prepare: (folder) => {
      const data = join(folder, "data");
      mkdirSync(data, { mode: 0o700 });
      if (isRoot()) run(["chown", "mysql:mysql", data]);
      writeFileSync(join(folder, "init.sql"), "CREATE DATABASE IF NOT EXISTS reality;\n");
      const flags = ["--auth-root-authentication-method=normal", "--skip-test-db"];
      run([findProgram("mariadb-install-db")!, "--no-defaults", ...user, `--datadir=${data}`, ...flags]);
    },
    command: (folder, port) => [
      ...[findProgram("mariadbd")!, "--no-defaults", ...user, `--datadir=${join(folder, "data")}`],
      ...["--bind-address=127.0.0.1", `--port=${port}`, `--socket=${join(folder, "data", "socket")}`],
      ...["--skip-name-resolve", "--skip-log-bin", "--max-connections=300"],
      ...[`--init-file=${join(folder, "init.sql")}`, `--innodb-flush-log-at-trx-commit=${durable ? 1 : 0}`],
    ],
    address: (port) => `mysql://root@127.0.0.1:${port}/reality`,
  };
}

function findPostgres(): string | undefined {
  const folder = "/usr/lib/postgresql";
  const versions = existsSync(folder) ? readdirSync(folder).sort((a, b) => Number(b) - Number(a)) : [];
  const found = versions.map((version) => join(folder, version, "bin"));
  return [...found, ...folders()].find((path) =>
    ["initdb", "postgres"].every((name) => existsSync(join(path, name)))
  );
}

/** The path of a program, if there is one. */
export function findProgram(name: string): string | undefined {
  return folders().map((folder) => join(folder, name)).find(existsSync);
}

function folders(): string[] {
  return [...(process.env.PATH ?? "").split(delimiter), "/usr/sbin"];
}

function isRoot(): boolean {
  return process.getuid?.() === 0;
}

/** Installs a Debian package, as root, and looks again for what it brings. */
export function install(name: string, find: () => string | undefined): string {
  const apt = ["apt-get", "-qq", "-o", "DPkg::Lock::Timeout=120"];
  if (!isRoot() || !existsSync("/usr/bin/apt-get")) throw new Error(`no ${name}: install it`);
  run([...apt, "update"]);
  run([...apt, "install", "-y", "--no-install-recommends", name]);
  const found = find();
  if (found === undefined) throw new Error(`no ${name}: its package brought none`);
  return found;
}
