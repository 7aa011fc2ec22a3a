/**
 * Deletes one key of a MemoryStorage and writes it again, over and over, and prints what memory that takes.
 *
 * @module
 */
import process from "node:process";
import { MemoryStorage } from "../../storage/memory/memory_storage.ts";

const { gc, Bun } = globalThis as { gc?: () => void; Bun?: { gc(isSync: boolean): void } };
const storage = new MemoryStorage();

async function toggle(times: number): Promise<number> {
  for (let i = 0; i < times; i++) {
    await storage.deleteNode("a");
    await storage.applyChanges([{ key: "a", hash: "x", updatedAt: 1 }]);
  }
  if (Bun) Bun.gc(true);
  else gc?.();
  return process.memoryUsage().heapUsed;
}

const before = await toggle(50_000);
console.log(`grown by ${await toggle(400_000) - before}`);
