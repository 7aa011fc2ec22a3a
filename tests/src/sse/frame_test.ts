import { deepEqual, equal } from "node:assert/strict";
import fc from "fast-check";
import { eventFrame, formatCursor, parseCursor } from "../../../src/sse/frame.ts";
import { test } from "../../harness.ts";

test("eventFrame() keeps its data on one line, whatever it holds", () => {
  equal(
    eventFrame("update", { hash: "a\nb\u2028\r" }, "e:1"),
    `event: update\ndata: {"hash":"a\\nb\u2028\\r"}\nid: e:1\n\n`,
  );
  equal(eventFrame("update", 1), "event: update\ndata: 1\n\n");
});

test("parseCursor() reads what formatCursor() wrote, for every epoch and position", () => {
  fc.assert(fc.property(fc.string({ maxLength: 20 }), fc.maxSafeNat(), (epoch, position) => {
    deepEqual(parseCursor(formatCursor({ epoch, position })), { epoch, position });
  }));
});

test("parseCursor() reads nothing else", () => {
  for (
    const id of ["", "7", "e:", "e:-1", "e:1.5", "e:99999999999999999", "%:1", "a b:1", "e:1:x", "\u0000:1"]
  ) {
    equal(parseCursor(id), null, id);
  }
});
