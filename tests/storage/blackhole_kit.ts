/**
 * What every storage on a network must do when connections go silent: free itself, and answer again once the network
 * does.
 *
 * @module
 */
import assert from "node:assert/strict";
import { setTimeout as sleep } from "node:timers/promises";
import type { RealityStorage } from "../../src/store/contract.ts";
import { Link } from "../cluster/link.ts";
import { test } from "../harness.ts";

/** One way to open a storage. */
export interface BlackholeOptions {
  readonly name: string;
  /** Where its server is. */
  readonly address: string;
  /** Opens a storage in a table of its own through this address. Its calls must give up within `storageTimeout`. */
  open(address: string): Promise<readonly [storage: RealityStorage, close: () => Promise<void>]>;
  /** The `storageTimeout` that its limits are set for, in milliseconds. */
  readonly storageTimeout: number;
  /**
   * Whether the very next call succeeds. Where the connections are a driver's own, each of them that is dead may
   * cost one call that fails: a repeated call then succeeds in time.
   */
  readonly succeedsAtOnce: boolean;
}

/** How the fault ends. */
const ENDS = {
  "new connections work and the old ones stay silent": "abandon",
  "what was held back is delivered": "held",
} as const;

/** Registers the tests. */
export function testBlackhole(options: BlackholeOptions): void {
  const { name, storageTimeout } = options;
  for (const [title, end] of Object.entries(ENDS)) {
    for (const isBusy of [true, false]) {
      const when = isBusy ? "calls were under way" : "no call was under way";
      test(`${name} answers within one storageTimeout once ${title}; ${when}`, async () => {
        const url = new URL(options.address);
        const link = await Link.open(Number(url.port));
        url.port = String(link.port);
        url.hostname = "127.0.0.1";
        const [storage, close] = await options.open(url.href);
        try {
          // So many calls at once that all connections are made.
          await Promise.all(Array.from({ length: 8 }, (_, i) => write(storage, `key:${i}`)));
          await Promise.all(Array.from({ length: 8 }, () => storage.getMaxVersion()));

          if (end === "held") link.isHeld = true;
          else link.trouble = "silent";
          const lost = [];
          if (isBusy) {
            const before = link.kept;
            for (let i = 0; i < 8; i++) lost.push(write(storage, `lost:${i}`), read(storage, `key:${i}`));
            while (link.kept === before) await sleep(1);
          }
          const results = Promise.allSettled(lost);
          if (end === "held") link.isHeld = false;
          else link.abandon();

          const beginning = performance.now();
          const ask = async (call: () => Promise<unknown>) => {
            while (true) {
              try {
                return await call();
              } catch (error) {
                if (options.succeedsAtOnce || performance.now() - beginning > storageTimeout) throw error;
              }
            }
          };
          await Promise.all([ask(() => read(storage, "key:1")), ask(() => write(storage, "next"))]);
          const took = performance.now() - beginning;
          assert.ok(took < storageTimeout, `it took ${took} ms`);
          await results;
          assert.ok(performance.now() - beginning < storageTimeout * 2, "calls that were lost give up");
        } finally {
          await close();
          await link.close();
        }
      });
    }
  }
}

async function write(storage: RealityStorage, key: string): Promise<void> {
  const metas = await storage.applyChanges!([{ key, hash: "h", updatedAt: 1 }]);
  assert.equal(metas[0]?.key, key);
}

async function read(storage: RealityStorage, key: string): Promise<void> {
  const { nodes } = await storage.readNodes!([key]);
  assert.equal(nodes.get(key)?.hash, "h");
}
