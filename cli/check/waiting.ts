/**
 * Chapter 5 of the protocol: waiting.
 *
 * @module
 */
import type { RealityNodeMeta } from "../../src/types.ts";
import { mustBeGone } from "./comparison.ts";
import type { Rule } from "./rule.ts";
import type { CheckedServer } from "./server.ts";
import { leave, must, show } from "./verdict.ts";

/** How long the checks ask to wait, in milliseconds. */
const WAIT = 4_000;
const SHORT_WAIT = 1_000;

/** The part of a wait after which an answer is one of the deadline. */
const DEADLINE = 15 / 16;

/** When a change is made after a wait was asked for, in milliseconds: before, in and after its first reading. */
const MOMENTS = [0, 1, 3, 10, 50];

/** The rules of chapter 5. */
export const waiting: readonly Rule[] = [
  {
    number: "5.1",
    sentence: "A change at any moment after the question is in its answer, or wakes who waits",
    async check(server) {
      for (const moment of MOMENTS) {
        const key = server.newKey();
        let version = 0;
        const meta = await change(server, { key, version: 0, moment }, async () => {
          version = (await server.update(key))[key] ?? 0;
        });
        must(meta.version === version, () => `${show(meta)}, expected version ${version}`);
      }
    },
  },
  {
    number: "5.2",
    sentence: "A change and a deletion wake who waits with the version before",
    async check(server) {
      const key = server.newKey();
      const { [key]: first = 0 } = await server.update(key);
      const meta = await change(server, { key, version: first, moment: 50 }, async () => {
        await server.update(key);
      });
      must(meta.version > first, () => `${show(meta)} after version ${first}`);
      const gone = await change(server, { key, version: meta.version, moment: 50 }, async () => {
        await server.remove(key);
      });
      mustBeGone(gone, key);
    },
  },
  {
    number: "5.3",
    sentence: "Who waits is answered at the deadline, at most a sixteenth before the wait that was asked for",
    async check(server) {
      const { changed, elapsed } = await server.sync({ known: { [server.newKey()]: 0 }, wait: SHORT_WAIT });
      must(Object.keys(changed).length === 0, () => `changed: ${show(changed)}`);
      // Clocks and timers are a few milliseconds apart.
      if (elapsed >= SHORT_WAIT * DEADLINE - 20) return;
      leave(
        `answered after ${Math.round(elapsed)} ms: maxWait is below ${SHORT_WAIT}, or there is no place left`,
      );
    },
  },
  {
    number: "5.4",
    sentence: "A client that goes away frees its place at once",
    check: "cannot be seen from outside",
  },
  {
    number: "5.5",
    sentence: "When there is no place left, the request is answered at once",
    check: "would take all places",
  },
  {
    number: "5.6",
    sentence: "A request without keys is answered at once",
    async check(server) {
      const { elapsed } = await server.sync({ known: {}, wait: SHORT_WAIT });
      must(elapsed < SHORT_WAIT * DEADLINE, () => `answered after ${Math.round(elapsed)} ms`);
    },
  },
  {
    number: "5.7",
    sentence: "A key that may not be read looks like one that has no node",
    check: "takes knowing who may read what",
  },
  {
    number: "5.8",
    sentence:
      "A sync that wanted to wait and is answered sooner, with nothing to tell, is told how long to stay away",
    async check(server) {
      const { pause } = await server.sync({ known: {}, wait: SHORT_WAIT });
      must(Number.isInteger(pause) && pause! > 0, () => `"pause" is ${show(pause)}`);
    },
  },
];

/** Asks to wait, makes a change a moment later, and gives what is told of it before the deadline. */
async function change(
  server: CheckedServer,
  { key, version, moment }: { key: string; version: number; moment: number },
  make: () => Promise<void>,
): Promise<RealityNodeMeta> {
  // Fails here where there is no token, before anything waits.
  server.authorize([key]);
  const start = performance.now();
  const told = askUntilTold(server, key, version);
  // Heard below; until then a failure is nobody's.
  told.catch(() => {});
  await new Promise((resolve) => setTimeout(resolve, moment));
  await make();
  const meta = await told;
  const elapsed = performance.now() - start;
  must(
    elapsed < WAIT * DEADLINE,
    () => `a change after ${moment} ms was told after ${Math.round(elapsed)} ms`,
  );
  return meta;
}

/** Asks again as long as a server answers before its deadline and has nothing to tell. */
async function askUntilTold(server: CheckedServer, key: string, version: number): Promise<RealityNodeMeta> {
  const start = performance.now();
  for (;;) {
    const { changed, elapsed } = await server.sync({ known: { [key]: version }, wait: WAIT });
    if (changed[key] !== undefined) return changed[key];
    const waited = elapsed >= WAIT * DEADLINE || performance.now() - start >= WAIT;
    must(!waited, `nothing was told of a change within ${WAIT} ms`);
    // A server whose maxWait is low is not to be flooded.
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}
