/*
 * Random histories: changes, deletions, new epochs, and answers that are stamped and read in several steps. Whatever the
 * order, a sync tells the client of an answer that is older than the data, and a browser gets no 304 for it.
 */
import { deepEqual } from "node:assert/strict";
import fc from "fast-check";
import { joinStamps, MemoryStorage, RealityServer, type Stamp } from "../../../mod.ts";
import { FakeClock } from "../../clock.ts";
import { test } from "../../harness.ts";

const KEYS = ["a", "é"];

/** The data of the application: key → state. A key without a state has no node. */
type Data = ReadonlyMap<string, number>;

/** A part of an answer: its stamp, and the data that was read afterwards. */
interface Part {
  readonly keys: readonly string[];
  readonly stamp: Stamp;
  readonly shown: Data;
}

type Step =
  | { readonly do: "set" | "delete"; readonly key: string }
  /** Makes a stamp, while further changes are told, and reads the data some steps later. */
  | { readonly do: "stamp"; readonly keys: readonly string[] }
  | { readonly do: "read" | "tell" | "answer" | "epoch" };

const key = fc.constantFrom(...KEYS);
const step: fc.Arbitrary<Step> = fc.oneof(
  { weight: 4, arbitrary: fc.record({ do: fc.constantFrom("set", "delete"), key }) },
  {
    weight: 3,
    arbitrary: fc.record({ do: fc.constant("stamp"), keys: fc.subarray(KEYS, { minLength: 1 }) }),
  },
  { weight: 9, arbitrary: fc.record({ do: fc.constantFrom("read", "tell", "tell", "answer") }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant("epoch") }) },
) as fc.Arbitrary<Step>;

/** An application that commits its data before it tells the server, and answers from both. */
class Application {
  readonly storage = new MemoryStorage({ counter: "sequential" });
  readonly server = new RealityServer({ storage: this.storage, clock: new FakeClock() });
  readonly answers: (readonly Part[])[] = [];
  #data: Data = new Map();
  #states = 0;
  #untold: (() => Promise<unknown>)[] = [];
  #stamps: { keys: readonly string[]; stamp: Promise<Stamp> }[] = [];
  #parts: Part[] = [];

  async run(step: Step): Promise<void> {
    if (step.do === "set") {
      this.#data = new Map([...this.#data, [step.key, ++this.#states]]);
      this.#untold.push(() => this.server.updateNode(step.key, "same"));
    } else if (step.do === "delete") {
      this.#data = new Map([...this.#data].filter(([key]) => key !== step.key));
      this.#untold.push(() => this.server.deleteNode(step.key));
    } else if (step.do === "stamp") {
      this.#stamps.push({ keys: step.keys, stamp: this.server.stamp(step.keys) });
    } else if (step.do === "read") {
      const next = this.#stamps.shift();
      if (next === undefined) return;
      const stamp = await next.stamp;
      this.#parts.push({ keys: next.keys, stamp, shown: this.#data });
    } else if (step.do === "answer") {
      if (this.#parts.length > 0) this.answers.push(this.#parts);
      this.#parts = [];
    } else if (step.do === "tell") await this.#untold.shift()?.();
    else await this.storage.newEpoch();
  }

  /** Ends what is under way, and returns the data. */
  async settle(): Promise<Data> {
    while (this.#stamps.length > 0) await this.run({ do: "read" });
    await this.run({ do: "answer" });
    while (this.#untold.length > 0) await this.run({ do: "tell" });
    return this.#data;
  }
}

/** Keys of an answer whose data is not the current one. */
function findOld(parts: readonly Part[], data: Data): string[] {
  return KEYS.filter((key) =>
    parts.some(({ keys, shown }) => keys.includes(key) && shown.get(key) !== data.get(key))
  );
}

test("a sync tells each client whose stamped data is old, and no browser gets 304 for it", async () => {
  const counts = { old: 0, current: 0, joined: 0, unfit: 0, fresh: 0, limit: 0 };
  await fc.assert(
    fc.asyncProperty(fc.array(step, { minLength: 5, maxLength: 40, size: "max" }), async (steps) => {
      const application = new Application();
      const { server } = application;
      for (const step of steps) await application.run(step);
      const data = await application.settle();
      for (const parts of application.answers) {
        const joined = joinStamps(...parts.map(({ stamp }) => stamp));
        const { epoch, versions } = joined.toJSON();
        const { changed } = await server.handleSync({ epoch, known: { ...versions } });
        const old = findOld(parts, data);
        // PROTOCOL 17.9: the node was created and deleted while the answer was made, or after it.
        const unseen = old.filter((key) => versions[key] === 0 && !data.has(key));
        deepEqual(old.filter((key) => changed[key] === undefined && !unseen.includes(key)), [], "is told");
        const now = joinStamps(...await Promise.all(parts.map(({ keys }) => server.stamp(keys))));
        const isFresh = now.isFresh(new Headers({ "if-none-match": joined.etag }));
        if (isFresh) deepEqual([old, Object.keys(changed)], [[], []], "gets 304 only for current data");
        counts[old.length > 0 ? "old" : "current"]++;
        if (parts.length > 1) counts.joined++;
        if (epoch === "mixed") counts.unfit++;
        if (isFresh) counts.fresh++;
        if (unseen.length > 0) counts.limit++;
      }
      await server.close();
    }),
    { numRuns: 300 },
  );
  // Every case has come up.
  deepEqual(Object.entries(counts).filter(([, count]) => count === 0), []);
});
