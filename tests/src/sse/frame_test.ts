import { deepEqual, equal, notEqual } from "node:assert/strict";
import fc from "fast-check";
import { eventFrame, formatCursor, markKeys, parseCursor } from "../../../src/sse/frame.ts";
import { test } from "../../harness.ts";

test("eventFrame() formats any data on one line", () => {
  equal(
    eventFrame("update", { hash: "a\nb\u2028\r" }, "e:1"),
    `event: update\ndata: {"hash":"a\\nb\u2028\\r"}\nid: e:1\n\n`,
  );
  equal(eventFrame("update", 1), "event: update\ndata: 1\n\n");
});

test("formatCursor() begins with the epoch and a colon, which is in no encoded epoch", () => {
  const cursor = { epoch: "e: 1/é", replicaId: "r", late: 0, position: 5, keys: markKeys(["a"]) };
  equal(formatCursor(cursor).split(":")[0], "e%3A%201%2F%C3%A9");
});

test("parseCursor() parses what formatCursor() wrote, for any names and numbers", () => {
  const [name, number] = [fc.string({ maxLength: 20 }), fc.maxSafeNat()];
  fc.assert(fc.property(name, name, number, number, (epoch, replicaId, late, position) => {
    const cursor = { epoch, replicaId, late, position, keys: markKeys([epoch, replicaId]) };
    deepEqual(parseCursor(formatCursor(cursor)), cursor);
  }));
});

test("parseCursor() refuses everything else", () => {
  for (
    const id of [
      ...[
        "",
        "7",
        "e:1",
        "e:o:1",
        "e:o:0:",
        "e:o:0:-1:k",
        "e:o:1.5:1:k",
        "e:o:0:1",
        "e:o:0:1:",
        "e:o:0:1:K",
        "e:o:0:1:k:x",
        "e:o:undefined:1:k",
      ],
      ...[
        "e:o:0:99999999999999999:k",
        "e:o:9999999999999999:1:k",
        "%:o:0:1:k",
        "e:%:0:1:k",
        "a b:o:0:1:k",
        "\u0000:o:0:1:k",
      ],
    ]
  ) {
    equal(parseCursor(id), null, id);
  }
});

test("markKeys() differs with the keys, and not with their order", () => {
  fc.assert(
    fc.property(fc.uniqueArray(fc.string({ minLength: 1 })), fc.string({ minLength: 1 }), (keys, key) => {
      equal(markKeys([...keys].reverse()), markKeys(keys));
      if (!keys.includes(key) && !key.includes("\n")) notEqual(markKeys([...keys, key]), markKeys(keys));
    }),
  );
});
