/**
 * Processes on one SQLite file that is replaced by backups under them, while they write to it and follow it.
 *
 * @module
 */
import { renameSync, rmSync } from "node:fs";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { openSQLite } from "../../../storage/sql/sqlite/sqlite_storage.ts";
import { RUNTIMES, testOn } from "../../storage/runtimes.ts";
import { inFolder } from "../../storage/sql/sqlite/sqlite_kit.ts";
import { drawRandom, Followers } from "../followers.ts";

const RESTORES = 4;

testOn(
  RUNTIMES,
  "clients of processes whose SQLite file is replaced by backups come to hold what it has",
  async () => {
    // Decides how much is written between two restores; when it is written is the machine's.
    const random = drawRandom("restore");
    await inFolder(async (folder) => {
      const path = join(folder, "reality.db");
      const storage = openSQLite(path, { counter: "clock" });
      await storage.applyChanges([{ key: "first", hash: "first", updatedAt: 1 }]);
      const followers = new Followers(path, storage, RESTORES);
      // How many changes are lost, and how many follow, is random.
      const haveWritten = () => followers.haveWritten(random.between(1, 15));
      try {
        for (let i = 0; i < RESTORES; i++) {
          await haveWritten();
          const database = new DatabaseSync(path);
          database.exec(`PRAGMA busy_timeout = 5000; VACUUM INTO '${path}.copy'`);
          database.close();
          await followers.haveWrittenOthers(random.between(1, 15));
          for (const end of ["-wal", "-shm"]) rmSync(path + end, { force: true });
          renameSync(`${path}.copy`, path);
          await followers.haveRecovered();
        }
        await haveWritten();
        await followers.check();
      } finally {
        await followers.end();
        await storage.close();
      }
    });
  },
);
