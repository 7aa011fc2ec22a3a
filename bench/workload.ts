/**
 * The workload of the sync benches: the nodes, and the bodies of requests for them.
 *
 * @module
 */

/** One case of the sync benches. */
export interface Workload {
  /** How many keys one request asks about. */
  readonly keys: number;
  /** Which share of them has changed since the client asked last, from 0 to 1. */
  readonly changed: number;
  /** How many nodes the server keeps. */
  readonly nodes: number;
}

/** Requests take turns, so that no request is about the keys of the one before. */
const BODIES = 20;

/** The key of the node that was written as the nth, counted from 0. Its version is n + 1. */
export function keyOf(n: number): string {
  return `chat:room:${n}`;
}

/** The hash that every node has: as long as one from `createHash`. */
export const HASH = "2jmj7l5rSw0yVb_vlWAYkK";

/**
 * The bodies of a workload's requests, as JSON.
 *
 * @param fields Further fields of each body.
 */
export function makeBodies({ keys, changed, nodes }: Workload, fields: object = {}): string[] {
  let asked = 0;
  return Array.from({ length: BODIES }, (_, body) => {
    const known: Record<string, number> = {};
    for (let i = 0; i < keys; i++) {
      // A prime stride spreads over all nodes, and selects the same ones in every run.
      const node = (body * 7919 + i * 104_729) % nodes;
      asked++;
      const isChanged = Math.floor(asked * changed) > Math.floor((asked - 1) * changed);
      known[keyOf(node)] = isChanged ? node : node + 1;
    }
    return JSON.stringify({ known, ...fields });
  });
}

/** How many keys of all bodies together have changed: what a right answer has to name. */
export function countChanged({ keys, changed }: Workload): number {
  return Math.floor(BODIES * keys * changed);
}
