import assert from "node:assert/strict";
import { test } from "../harness.ts";
import type { History } from "./history.ts";
import { run } from "./simulation.ts";

/** Seven servers that list each other. Two of them collect the tombstone of a deletion at once. */
const HISTORY: History = {
  seed: 1,
  servers: Array.from({ length: 7 }, (_, disk) => ({ disk, skew: 0, start: 0 })),
  disks: [4000, 4000, 0, 300, 4000, 0, 300].map((tombstoneTimeout) => ({
    tombstoneTimeout,
    exclusive: true,
    slowness: 0,
    slowest: 5,
  })),
  peers: Array.from({ length: 7 }, (_, i) => [0, 1, 2, 3, 4, 5, 6].filter((peer) => peer !== i)),
  secret: false,
  redis: [],
  rights: false,
  realCrypto: false,
  interval: 0,
  fanout: 8,
  timeout: 2000,
  maxBody: 1_048_576,
  keys: 8,
  clients: [false],
  steps: [
    // First each server learns the others' ids.
    ...[0, 1, 2, 3, 4, 5, 6].map((server) => ({
      at: 100 + 200 * server,
      do: "update" as const,
      server,
      key: server,
    })),
    { at: 3000, do: "many", server: 0, keys: [0, 1, 2, 3, 4, 5, 6, 7] },
    { at: 3300, do: "delete", server: 2, key: 5 },
  ],
  healing: "syncs",
};

test("a deletion whose tombstone is collected at once costs each server a few full copies, not one per peer", async () => {
  const { faults, load } = await run(HISTORY);
  assert.deepEqual(faults, []);
  assert.ok(load < 6, `${load} nodes for each server and change`);
});
