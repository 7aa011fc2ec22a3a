/**
 * How much memory stays in use.
 *
 * @module
 */
import process from "node:process";
import { settle } from "../clock.ts";

/** The runtimes' functions for garbage collection. */
const { gc, Bun } = globalThis as { gc?: () => void; Bun?: { gc(sync: boolean): void } };

/** Returns the bytes in use after garbage collection. */
export async function measureMemory(): Promise<number> {
  // Objects freed in one turn may hold others until the next.
  for (let i = 0; i < 5; i++) {
    await settle();
    if (Bun) Bun.gc(true);
    else gc?.();
  }
  const { heapUsed, external } = process.memoryUsage();
  return heapUsed + external;
}
