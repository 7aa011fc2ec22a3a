/**
 * How much memory stays in use.
 *
 * @module
 */
import process from "node:process";
import { settle } from "../clock.ts";

/** What the runtimes call to free what nobody holds. */
const { gc, Bun } = globalThis as { gc?: () => void; Bun?: { gc(sync: boolean): void } };

/** Bytes that stay in use, once everything is freed that nobody holds. */
export async function measureMemory(): Promise<number> {
  // What was let go of in one turn may hold on to other things until the next.
  for (let i = 0; i < 5; i++) {
    await settle();
    if (Bun) Bun.gc(true);
    else gc?.();
  }
  const { heapUsed, external } = process.memoryUsage();
  return heapUsed + external;
}
