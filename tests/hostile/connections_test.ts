/**
 * Hostile requests over real connections leave nothing behind: no waiter, no connection, no memory.
 *
 * @module
 */
import assert from "node:assert/strict";
import process from "node:process";
import { test } from "../harness.ts";
import { Child, RUN_WITH_GC } from "../runtimes/child.ts";

/** How many are sent, unless `REALITY_HOSTILE_COUNT` says otherwise. */
const COUNT = Number(process.env.REALITY_HOSTILE_COUNT ?? 500);

/** How long each thousand of them may take, and the rest, in milliseconds. */
const PATIENCE = 20_000;

/** What may be in use more at the end than after the first part, in bytes. */
const MAX_GROWTH = 8 * 1024 * 1024;

test(`${COUNT} hostile requests, pipelined, reset, unread and stalled, leave nothing behind`, async () => {
  const seed = Math.floor(Math.random() * 2 ** 31);
  const args = [...RUN_WITH_GC, "tests/hostile/connections.ts", String(seed), String(COUNT)];
  const child = new Child(args, {}, process.cwd());
  try {
    await child.printed(/^end: 0 failures$/m, PATIENCE * (2 + COUNT / 1_000));
    assert.equal(await child.ended(), 0);
    const inUse = [...child.output.matchAll(/^after \d+: (\d+) bytes$/gm)].map(([, bytes]) => Number(bytes));
    const growth = inUse.at(-1)! - inUse[0]!;
    assert.ok(growth < MAX_GROWTH, `seed ${seed}: ${growth} bytes more are in use`);
  } finally {
    await child.kill();
  }
});
