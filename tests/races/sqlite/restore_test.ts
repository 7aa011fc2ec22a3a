/**
 * Processes on one SQLite file that is replaced by backups under them, while they write to it and follow it.
 *
 * @module
 */
import assert from "node:assert/strict";
import { renameSync, rmSync } from "node:fs";
import { join } from "node:path";
import process from "node:process";
import { DatabaseSync } from "node:sqlite";
import { openSQLite } from "../../../storage/sqlite.ts";
import { Chance } from "../../chance.ts";
import { type Runtime, RUNTIMES, start, testOn } from "../../storage/runtimes.ts";
import { inFolder } from "../../storage/sqlite_kit.ts";
import type { FollowerOrder } from "../follower.ts";

const KEYS = Array.from({ length: 12 }, (_, i) => `key:${i}`);
const RESTORES = 4;
const SHARES: readonly Runtime[] = ["deno", "node", "bun"];

testOn(
  RUNTIMES,
  "clients of processes whose SQLite file is replaced by backups come to hold what it has",
  async () => {
    // Decides how much is written between two restores; when it is written is the machine's.
    const seed = Number(process.env.REALITY_RACE_SEED ?? Math.floor(Math.random() * 1e9));
    console.log(`REALITY_RACE_SEED=${seed}`);
    const chance = new Chance(`restore ${seed}`);
    await inFolder(async (folder) => {
      const path = join(folder, "reality.db");
      const storage = openSQLite(path, { counter: "clock" });
      await storage.applyChanges([{ key: "first", hash: "first", updatedAt: 1 }]);
      const processes = SHARES.map((runtime, i) => {
        const order: FollowerOrder = { path, name: `${runtime}${i}`, keys: KEYS };
        return start(runtime, "../races/follower.ts", [JSON.stringify(order)]);
      });
      const haveWritten = async () => {
        // How much is lost, and how much comes after, is left to chance.
        const more = chance.between(1, 15);
        const goals = processes.map(({ lines }) => lines.length + more);
        await Promise.all(processes.map((running, i) => running.hasPrinted(goals[i] ?? 0)));
      };
      try {
        for (let i = 0; i < RESTORES; i++) {
          await haveWritten();
          const database = new DatabaseSync(path);
          database.exec(`PRAGMA busy_timeout = 5000; VACUUM INTO '${path}.copy'`);
          database.close();
          await haveWritten();
          for (const end of ["-wal", "-shm"]) rmSync(path + end, { force: true });
          renameSync(`${path}.copy`, path);
        }
        await haveWritten();
        await storage.applyChanges([{ key: "stop", hash: "stop", updatedAt: 1 }]);
        await Promise.all(processes.map((running) => running.ended));
        const nodes = await storage.getNodes(KEYS);
        const stored = Object.fromEntries(KEYS.map((key) => [key, nodes.get(key)?.version ?? 0]));
        for (const { lines } of processes) {
          const { held } = JSON.parse(lines.at(-1) ?? "{}") as { held?: Record<string, number> };
          assert.deepEqual(
            held,
            Object.fromEntries(Object.entries(stored).filter(([key]) => held && key in held)),
          );
          assert.equal(Object.keys(held ?? {}).length, KEYS.length, "every client was answered");
        }
      } finally {
        processes.forEach((running) => running.kill());
        await Promise.allSettled(processes.map(({ ended }) => ended));
        await storage.close();
      }
    });
  },
);
