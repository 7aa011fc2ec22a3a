/**
 * Creates what writes the nodes of a storage once more, and records the keys that it wakes.
 *
 * @module
 */
import { NodeRewriter, type NodeRewriterDeps } from "../../../src/mesh/node_rewriter.ts";
import { DEFAULT_LIMITS } from "../../../src/server_limits.ts";
import { Changes } from "../../../src/store/changes.ts";
import type { MeshStorage } from "../../../src/store/contract.ts";
import { WriteBatcher } from "../../../src/store/write_batcher.ts";
import { FakeClock } from "../../clock.ts";

/** What a rewriter works with, and the keys that it has woken. */
export interface Rewriting {
  readonly clock: FakeClock;
  readonly deps: NodeRewriterDeps;
  readonly rewriter: NodeRewriter;
  readonly woken: (readonly string[] | null)[];
}

/** Creates a rewriter for a storage, which numbers by the clock from then on. */
export function createRewriting(storage: MeshStorage): Rewriting {
  const clock = new FakeClock();
  storage.countByClock();
  const batch = { clock, timeout: 1_000, onOutcome: () => {} };
  const changes = new Changes(new WriteBatcher(storage, batch, () => {}), clock, {
    limits: DEFAULT_LIMITS,
    isMeshed: true,
    report: () => {},
  });
  const woken: (readonly string[] | null)[] = [];
  const deps: NodeRewriterDeps = {
    storage,
    clock,
    callStorage: (_operation, call) => call(),
    getChanges: () => changes,
    wake: (keys) => woken.push(keys),
  };
  return { clock, deps, rewriter: new NodeRewriter(deps), woken };
}
