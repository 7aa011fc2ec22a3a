/**
 * Processes on one PostgreSQL address that write to it and follow it, while the server behind it turns read-only, is
 * replaced by a standby that lacks changes, has its table brought back, and is replaced by one from a base backup.
 *
 * @module
 */
import assert from "node:assert/strict";
import postgres from "postgres";
import { openPostgres } from "../../../storage/sql/postgres/postgres_storage.ts";
import { Link } from "../../cluster/link.ts";
import { backupRecipe } from "../../run/databases.ts";
import { setReadOnly, startReplicatedPair } from "../../run/replication.ts";
import { PrivateServer } from "../../run/server.ts";
import { RUNTIMES, testOn } from "../../storage/runtimes.ts";
import { drawRandom, Followers } from "../followers.ts";

/** Copies the table and its indexes. */
const SAVE = [
  "DROP TABLE IF EXISTS saved",
  "CREATE TABLE saved (LIKE reality_nodes INCLUDING ALL)",
  "INSERT INTO saved SELECT * FROM reality_nodes",
];

/** Ways to bring the copy back, each in one transaction. */
const RESTORES: readonly (readonly string[])[] = [
  ["LOCK TABLE reality_nodes", "DELETE FROM reality_nodes", "INSERT INTO reality_nodes SELECT * FROM saved"],
  // Writers that wait for the counter's row find that it is gone.
  [
    "SELECT FROM reality_nodes WHERE node_key = '' FOR UPDATE",
    "DELETE FROM reality_nodes",
    "INSERT INTO reality_nodes SELECT * FROM saved",
  ],
  ["TRUNCATE reality_nodes", "INSERT INTO reality_nodes SELECT * FROM saved"],
  ["DROP TABLE reality_nodes", "ALTER TABLE saved RENAME TO reality_nodes"],
];

/**
 * How a server stops taking writes before another one takes its place: it ends, its connections are reset, they stay open
 * and silent, or it is made read-only and goes on answering on them.
 */
const CUTS = ["crash", "reset", "silent", "read-only"] as const;

testOn(
  RUNTIMES,
  "clients of processes whose PostgreSQL turns read-only, fails over and is restored come to hold what it has",
  async () => {
    // Decides how much is written between two faults, how a server goes away, and the order of the restores.
    const random = drawRandom("failover");
    const pair = await startReplicatedPair();
    const link = await Link.open(portOf(pair.primary.address));
    const address = new URL(pair.primary.address);
    address.port = String(link.port);
    const storage = openPostgres(address.href, { statementTimeout: 2000 });
    await storage.applyChanges([{ key: "first", hash: "first", updatedAt: 1 }]);
    const followers = new Followers(address.href, storage, 2 * RESTORES.length + 2);
    let backup: PrivateServer | undefined;

    const haveWritten = () => followers.haveWritten(random.between(1, 15));
    const haveWrittenOthers = () => followers.haveWrittenOthers(random.between(1, 15));
    const haveRecovered = async (fault: string) => {
      console.log(`${fault}: all write again after ${await followers.haveRecovered()} ms`);
      await haveWritten();
    };
    /** The server behind the address. */
    let current = pair.primary;
    /** Has it take no more writes, and leads the address to another one, which lacks changes. */
    const replace = async (next: PrivateServer, promote: () => Promise<void>) => {
      const cut = random.pick(CUTS);
      const { maxVersion } = await storage.readNodes([]);
      if (cut === "crash") await current.crash();
      else if (cut === "reset") link.trouble = "refused";
      else if (cut === "silent") link.isBlocked = true;
      else {
        await setReadOnly(current.address, true);
        await followers.haveFailed(1);
      }
      await promote();
      const [row] = await ask(next.address, ["SELECT max_version FROM reality_nodes WHERE node_key = ''"]);
      assert.ok(Number(row?.max_version) < maxVersion, "the other server lacks nothing");
      current = next;
      link.target = portOf(next.address);
      // Silenced connections stay silent after the link works again.
      if (cut === "silent") link.abandon();
      link.trouble = undefined;
      link.isBlocked = false;
      return cut;
    };
    const restoreRows = RESTORES.map((statements) => async () => {
      await ask(current.address, SAVE);
      await haveWrittenOthers();
      await ask(current.address, statements);
      await haveRecovered(statements[0] ?? "");
    });
    const restoreServer = async () => {
      const next = backup = await PrivateServer.start(backupRecipe(current.address));
      await haveWrittenOthers();
      await haveRecovered(`base backup, ${await replace(next, () => Promise.resolve())}`);
    };
    try {
      await haveWritten();
      await setReadOnly(current.address, true);
      await followers.haveFailed(random.between(1, 5));
      await setReadOnly(current.address, false);
      await haveRecovered("read-only");

      await pair.catchUp();
      await pair.stopReplication();
      await haveWrittenOthers();
      await haveRecovered(`failover, ${await replace(pair.standby, pair.promote)}`);

      // Lost connections wake all waiting clients, which hides what an earlier fault missed: so any fault may be the last.
      for (const restore of random.shuffle([...restoreRows, ...restoreRows, restoreServer])) await restore();
      await followers.check();
    } finally {
      await followers.end();
      await storage.close();
      await link.close();
      await backup?.stop();
      await pair.stop();
    }
  },
);

/** Runs statements in one transaction, past the address that the processes have; gives the rows of the last. */
async function ask(address: string, statements: readonly string[]): Promise<Record<string, unknown>[]> {
  const client = postgres(address, { max: 1, max_lifetime: null, fetch_types: false, onnotice: () => {} });
  try {
    return await client.begin(async (transaction) => {
      let rows: Record<string, unknown>[] = [];
      for (const statement of statements) rows = [...await transaction.unsafe(statement)];
      return rows;
    });
  } finally {
    await client.end();
  }
}

function portOf(address: string): number {
  return Number(new URL(address).port);
}
