/**
 * Streams that break between the events of one reading, and resume at a state that an earlier cursor stands for too.
 *
 * @module
 */
import { deepEqual } from "node:assert/strict";
import { parseCursor } from "../../../src/sse/frame.ts";
import { type RightsView, SentState, type StartPosition } from "../../../src/sse/sent_state.ts";
import { test } from "../../harness.ts";

const KEYS = ["a", "b", "c"];

/** What a client may see of a storage whose counter went up by single steps. */
function viewOf(versions: Readonly<Record<string, number>>, maxVersion: number, isWhole = true): RightsView {
  const metas = Object.entries(versions).map(([key, version]) => ({ key, version, hash: "", updatedAt: 1 }));
  const nodes = new Map(metas.map((meta) => [meta.key, meta]));
  const moment = { epoch: "e", replicaId: "r", maxVersion, collectedVersion: 0, late: 0 };
  const recent = ",1".repeat(maxVersion);
  return { reading: { ...moment, recent, nodes }, isWhole, position: isWhole ? maxVersion : 0 };
}

/** A client like `EventSource`. */
class Page {
  readonly #held: Record<string, number> = Object.fromEntries(KEYS.map((key) => [key, 0]));
  #id = "";

  /** Takes the first blocks of a text, or all. */
  take(text: string, count = Infinity): void {
    for (const block of text.split("\n\n").slice(0, -1).slice(0, count)) {
      this.#id = /^id: (.*)$/m.exec(block)?.[1] ?? this.#id;
      const data = /^event: update\ndata: (.*)$/m.exec(block)?.[1];
      if (data === undefined) continue;
      const { key, version } = JSON.parse(data);
      this.#held[key] = version;
    }
  }

  /** Opens a stream that ends after some blocks. */
  open(view: RightsView, count?: number): SentState {
    const sent = new SentState(KEYS);
    const cursor = parseCursor(this.#id);
    let start: StartPosition = this.#id === "" ? "new" : "resync";
    // No tombstone is known here: a deletion is sent once more.
    if (sent.accepts(cursor, view.reading)) start = { position: cursor.position, deleted: new Set() };
    this.take(sent.open(view, start), count);
    return sent;
  }

  get held(): Readonly<Record<string, number>> {
    return { ...this.#held };
  }
}

const before = viewOf({ a: 1, b: 2, c: 3 }, 3);
const cases: Readonly<Record<string, RightsView>> = {
  "rights that ended and are granted again": viewOf({}, 3, false),
  "changes that a restored backup has lost": viewOf({ a: 4, b: 5, c: 6 }, 6),
};

for (const [name, between] of Object.entries(cases)) {
  test(`a stream that breaks anywhere among the events of one update resumes after ${name}`, () => {
    for (let count = 0; count <= KEYS.length + 1; count++) {
      const page = new Page();
      const sent = page.open(before);
      page.take(sent.update(between), count);
      page.open(before);
      deepEqual(page.held, { a: 1, b: 2, c: 3 }, `after ${count} blocks`);
    }
  });

  test(`a resumed stream that breaks anywhere in its opening resumes after ${name}`, () => {
    for (let count = 0; count <= KEYS.length + 2; count++) {
      const page = new Page();
      page.open(before);
      page.open(between, count);
      page.open(before);
      deepEqual(page.held, { a: 1, b: 2, c: 3 }, `after ${count} blocks`);
    }
  });
}

test("the id before several events of one update stands beside retry: without it, an id ends what a client has read", () => {
  const sent = new SentState(KEYS);
  sent.open(before, "new");
  const update = sent.update(viewOf({ a: 4, b: 5, c: 6 }, 6));
  const blocks = update.split("\n\n").slice(0, -1);
  deepEqual(blocks.map((block) => block.split("\n").map((line) => line.split(":")[0])), [
    ["retry", "id"],
    ["event", "data"],
    ["event", "data"],
    ["event", "data", "id"],
  ]);
});
