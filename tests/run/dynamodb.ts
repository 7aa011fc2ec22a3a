/**
 * How a private DynamoDB is made: AWS's own DynamoDB Local, which has transactions.
 *
 * @module
 */
import { existsSync, mkdirSync, mkdtempSync, readdirSync, renameSync, rmSync } from "node:fs";
import { join, resolve } from "node:path";
import { findProgram, install } from "./databases.ts";
import { type Recipe, run } from "./server.ts";

/** The npm package that carries it, DynamoDB Local 1.25, in its tarball. */
const carrier = "amplify-dynamodb-simulator";
const version = "2.9.30";

/** Where it is kept between runs. */
const cache = ".cache/dynamodb";

/** DynamoDB Local, all in memory. It takes any credentials, and all clients see the same tables. */
export function dynamodbRecipe(): Recipe {
  const java = findProgram("java") ?? install("default-jre-headless", () => findProgram("java"));
  const home = resolve(findEmulator() ?? fetchEmulator());
  return {
    signal: "KILL",
    prepare: () => {},
    command: (folder, port) => [
      // It leaves a file about itself where it runs. A quick start matters more here than fast code.
      ...["sh", "-c", 'cd "$0" && exec "$@"', folder],
      ...[
        java,
        "-Xmx1g",
        "-XX:+UseSerialGC",
        "-XX:TieredStopAtLevel=1",
        `-Djava.library.path=${join(home, "DynamoDBLocal_lib")}`,
      ],
      ...["-jar", join(home, "DynamoDBLocal.jar"), "-inMemory", "-sharedDb", "-disableTelemetry"],
      ...["-port", `${port}`],
    ],
    address: (port) => `http://127.0.0.1:${port}`,
  };
}

function findEmulator(): string | undefined {
  const home = join(cache, version, "package", "emulator");
  return existsSync(join(home, "DynamoDBLocal.jar")) ? home : undefined;
}

/** Takes the tarball as it is, since installing the package would bring much else. */
function fetchEmulator(): string {
  mkdirSync(cache, { recursive: true });
  const folder = mkdtempSync(join(cache, "new-"));
  run(["npm", "pack", `${carrier}@${version}`, "--silent", "--pack-destination", folder]);
  const tarball = readdirSync(folder).find((name) => name.endsWith(".tgz")) ?? "";
  run(["tar", "-xzf", join(folder, tarball), "-C", folder]);
  rmSync(join(folder, tarball));
  rmSync(join(cache, version), { recursive: true, force: true });
  renameSync(folder, join(cache, version));
  const found = findEmulator();
  if (found === undefined) throw new Error(`no DynamoDB Local in ${carrier} ${version}`);
  return found;
}
