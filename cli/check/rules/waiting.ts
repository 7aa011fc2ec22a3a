/**
 * Chapter 5 of the protocol: waiting.
 *
 * @module
 */
import type { RealityNodeMeta } from "../../../src/types.ts";
import { assertDeleted } from "./comparison.ts";
import type { Rule } from "../rule.ts";
import type { CheckedServer } from "../server.ts";
import { assert, format, skip } from "../outcome.ts";

/** The `wait` of the requests of these checks, in milliseconds. */
const WAIT = 4_000;
const SHORT_WAIT = 1_000;

/** An answer after this fraction of `wait` is an answer at the deadline. */
const DEADLINE = 15 / 16;

/** Delays between a request and a change, in milliseconds: before, during and after the first read of the server. */
const MOMENTS = [0, 1, 3, 10, 50];

/** The rules of chapter 5. */
export const waitingRules: readonly Rule[] = [
  {
    number: "5.1",
    sentence: "A change at any moment after the request is in its answer, or wakes the waiting request",
    async check(server) {
      for (const moment of MOMENTS) {
        const key = server.newKey();
        let version = 0;
        const meta = await change(server, { key, version: 0, moment }, async () => {
          version = (await server.update(key))[key] ?? 0;
        });
        assert(meta.version === version, () => `${format(meta)}, expected version ${version}`);
      }
    },
  },
  {
    number: "5.2",
    sentence: "A change and a deletion wake requests that wait with the version before",
    async check(server) {
      const key = server.newKey();
      const { [key]: first = 0 } = await server.update(key);
      const meta = await change(server, { key, version: first, moment: 50 }, async () => {
        await server.update(key);
      });
      assert(meta.version > first, () => `${format(meta)} after version ${first}`);
      const gone = await change(server, { key, version: meta.version, moment: 50 }, async () => {
        await server.remove(key);
      });
      assertDeleted(gone, key);
    },
  },
  {
    number: "5.3",
    sentence: "A waiting request is answered at its deadline, at most a sixteenth before the end of wait",
    async check(server) {
      const { changed, elapsed } = await server.sync({ known: { [server.newKey()]: 0 }, wait: SHORT_WAIT });
      assert(Object.keys(changed).length === 0, () => `changed: ${format(changed)}`);
      // Clocks and timers differ by a few milliseconds.
      if (elapsed >= SHORT_WAIT * DEADLINE - 20) return;
      skip(
        `answered after ${Math.round(elapsed)} ms: maxWait is below ${SHORT_WAIT}, or no place is left`,
      );
    },
  },
  {
    number: "5.4",
    sentence: "A client that disconnects frees its place at once",
    check: "not visible to a client",
  },
  {
    number: "5.5",
    sentence: "If no place is left, the request is answered at once",
    check: "would use all places",
  },
  {
    number: "5.6",
    sentence: "A request without keys is answered at once",
    async check(server) {
      const { elapsed } = await server.sync({ known: {}, wait: SHORT_WAIT });
      assert(elapsed < SHORT_WAIT * DEADLINE, () => `answered after ${Math.round(elapsed)} ms`);
    },
  },
  {
    number: "5.7",
    sentence: "A key that may not be read is treated as one without a node",
    check: "would require knowing which keys are restricted",
  },
  {
    number: "5.8",
    sentence: "A sync with wait that is answered early and without changes has a pause",
    async check(server) {
      const { pause } = await server.sync({ known: {}, wait: SHORT_WAIT });
      assert(Number.isInteger(pause) && pause! > 0, () => `"pause" is ${format(pause)}`);
    },
  },
];

/** Sends a request that waits, makes a change a moment later, and returns the change if it arrives before the deadline. */
async function change(
  server: CheckedServer,
  { key, version, moment }: { key: string; version: number; moment: number },
  make: () => Promise<void>,
): Promise<RealityNodeMeta> {
  // Skips the rule if there is no token, before a request waits.
  server.authorize([key]);
  const start = performance.now();
  const changed = syncUntilChanged(server, key, version);
  // Awaited below. Until then a failure must not count as unhandled.
  changed.catch(() => {});
  await new Promise((resolve) => setTimeout(resolve, moment));
  await make();
  const meta = await changed;
  const elapsed = performance.now() - start;
  assert(
    elapsed < WAIT * DEADLINE,
    () => `a change after ${moment} ms was answered after ${Math.round(elapsed)} ms`,
  );
  return meta;
}

/** Repeats the request as long as the server answers before the deadline and without the change. */
async function syncUntilChanged(
  server: CheckedServer,
  key: string,
  version: number,
): Promise<RealityNodeMeta> {
  const start = performance.now();
  for (;;) {
    const { changed, elapsed } = await server.sync({ known: { [key]: version }, wait: WAIT });
    if (changed[key] !== undefined) return changed[key];
    const waited = elapsed >= WAIT * DEADLINE || performance.now() - start >= WAIT;
    assert(!waited, `a change was not answered within ${WAIT} ms`);
    // Do not flood a server with a low maxWait.
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}
