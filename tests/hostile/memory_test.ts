/**
 * 100,000 hostile requests leave nothing behind in memory, and one client that waits holds no more than its share.
 *
 * @module
 */
import assert from "node:assert/strict";
import process from "node:process";
import { test } from "../harness.ts";
import { Child, RUN_WITH_GC } from "../runtimes/child.ts";

/** How long 2,500 of them may take, and the start of the process, in milliseconds. */
const PATIENCE = 40_000;

/** What may be in use more after 100,000 requests than after 20,000, in bytes: far less than one byte in ten of what came. */
const MAX_GROWTH = 8 * 1024 * 1024;

test("100,000 hostile requests are answered, none with a 500, and leave nothing in memory", async () => {
  const child = new Child([...RUN_WITH_GC, "tests/hostile/flood.ts"], {}, process.cwd());
  try {
    // Each part of it has its own time, so that nothing hangs unnoticed, however slow the machine is.
    for (let count = 2_500; count <= 100_000; count += 2_500) {
      await child.printed(new RegExp(`^after ${count}$`, "m"), PATIENCE);
    }
    const [, failures] = await child.printed(/^end: (\d+) failures$/m);
    // It has printed its seed and each failure.
    assert.equal(Number(failures), 0, child.output);
    assert.equal(await child.ended(), 0);
    const inUse = [...child.output.matchAll(/^in use after (\d+): (\d+)$/gm)].map(([, count, bytes]) => ({
      count: Number(count),
      bytes: Number(bytes),
    }));
    const early = inUse.filter(({ count }) => count <= 20_000).map(({ bytes }) => bytes);
    const late = inUse.filter(({ count }) => count > 20_000).map(({ bytes }) => bytes);
    // The least of each: what is above it was only not freed yet.
    const growth = Math.min(...late) - Math.min(...early);
    assert.ok(growth < MAX_GROWTH, `${growth} bytes more are in use after ${child.output}`);
  } finally {
    await child.kill();
  }
});

test("one client with as many waits as possible uses its share of maxWaitingBytes, and others have room", async () => {
  const child = new Child([...RUN_WITH_GC, "tests/hostile/crowd.ts"], {}, process.cwd());
  try {
    await child.printed(/^end$/m, 3 * PATIENCE);
    const [, waiters, paused, held] =
      /^waiters: (\d+), paused: (\d+), held: (\d+)$/m.exec(child.output)?.map(Number) ?? [];
    // Half of 134,217,728 bytes, at 128 and the key's length for each of 10,000 keys.
    assert.equal(waiters, 49);
    assert.equal(paused, 101);
    assert.ok(held! < 134_217_728, `${held} bytes`);
    assert.equal(await child.ended(), 0);
  } finally {
    await child.kill();
  }
});
