import { deepEqual, equal, throws } from "node:assert/strict";
import fc from "fast-check";
import { RefusalError } from "../../../mod.ts";
import { type Message, readMessage, writeMessage } from "../../../src/mesh/message.ts";
import { test } from "../../harness.ts";

const plain: Message = { id: "a", incarnation: "r", replicaId: "oa", epoch: "e", peers: new Map() };
const node = { key: "k", version: 7, hash: "h", updatedAt: 1, replicaId: "oa", dotVersion: 7 };
const page = { base: new Map(), full: false, after: null, next: null, nodes: [node] };

/** The message as JSON, with some fields changed. */
function changed(change: (fields: Record<string, unknown>) => void, message: Message = plain): string {
  const fields = JSON.parse(writeMessage(message));
  change(fields);
  return JSON.stringify(fields);
}

function refused(text: string, message: RegExp): void {
  throws(() => readMessage(text), { name: "RefusalError", code: "ERR_REALITY_BAD_REQUEST", message });
}

test("readMessage() returns what writeMessage() was given", () => {
  const message: Message = {
    ...plain,
    peers: new Map([["b", "alive"], ["__proto__", "gone"]]),
    urls: new Map([["b", "http://b"]]),
    invalidation: { keys: ["k", "constructor"], version: 7 },
    forwards: ["c"],
    vector: new Map([["oa", 7], ["__proto__", 1]]),
    forgotten: new Map([["oc", 2], ["__proto__", 1]]),
    collected: new Map([["ob", 3]]),
    delta: {
      base: new Map([["ob", 2]]),
      full: false,
      after: "x",
      next: "y",
      nodes: [node, { ...node, key: "late", dotVersion: 9 }, {
        ...node,
        key: "gone",
        hash: "\u0001abc",
        deleted: true,
      }],
    },
    pageRequest: { after: "z", full: true },
  };
  deepEqual(readMessage(writeMessage(message)), message);
});

test("readMessage() accepts a sender whose storage has no identity", () => {
  const nameless = { ...plain, replicaId: "", epoch: "" };
  deepEqual(readMessage(writeMessage(nameless)), nameless);
});

test("readMessage() ignores fields that it does not know", () => {
  deepEqual(readMessage(changed((fields) => fields.mood = "good")), plain);
});

test("an error of readMessage() names the invalid field", () => {
  const delta = (change: Record<string, unknown>) =>
    changed((fields) => fields.delta = { ...fields.delta as object, ...change }, { ...plain, delta: page });
  const { replicaId: origin, dotVersion: stamp, ...meta } = node;
  const sent = { ...meta, origin, stamp };
  const nodes = (change: Record<string, unknown>) => delta({ nodes: [{ ...sent, ...change }] });
  refused("{", /the message: not JSON/);
  refused("[]", /the message: expected an object, got an array/);
  refused(changed((fields) => delete fields.id), /id: expected 1 to 128 visible characters/);
  refused(changed((fields) => fields.origin = 7), /origin: expected 1 to 128 visible characters/);
  refused(changed((fields) => fields.origin = "a\u0000"), /origin: expected 1 to 128 visible characters/);
  refused(changed((fields) => fields.epoch = "!\ud800"), /epoch: expected 1 to 128 visible characters/);
  refused(changed((fields) => fields.epoch = "e".repeat(129)), /epoch: expected 1 to 128 visible characters/);
  refused(changed((fields) => fields.epoch = "", { ...plain, vector: new Map() }), /epoch: .* beside "seen"/);
  refused(changed((fields) => fields.peers = { b: "well" }), /a value of peers: got a string/);
  refused(changed((fields) => fields.peers = { "b c": "alive" }), /a name of peers/);
  refused(changed((fields) => fields.seen = { oa: -1 }), /a value of seen/);
  refused(changed((fields) => fields.seen = { oa: 2 ** 53 }), /a value of seen/);
  refused(changed((fields) => fields.look = { keys: [""], version: 1 }), /look.keys\[0\]/);
  refused(changed((fields) => fields.look = { keys: Array(501).fill("k"), version: 1 }), /look.keys/);
  refused(changed((fields) => fields.look = { keys: null, version: "1" }), /look.version/);
  refused(changed((fields) => fields.pass = "c"), /pass: expected an array/);
  refused(changed((fields) => fields.more = { after: 7 }), /more.after/);
  refused(changed((fields) => fields.more = { after: "k\u0000" }), /more.after/);
  refused(changed((fields) => fields.more = { after: "\udc00" }), /more.after/);
  refused(delta({ nodes: Array(501).fill(sent) }), /delta.nodes: expected an array of at most 500/);
  refused(delta({ nodes: [sent, sent] }), /delta.nodes: a key comes twice/);
  refused(delta({ full: true, base: { oa: 1 } }), /delta.base: expected an empty one in a full copy/);
  refused(delta({ next: 7 }), /delta.next/);
  refused(delta({ after: "\n" }), /delta.after/);
  refused(nodes({ key: "" }), /delta.nodes\[0\].key/);
  refused(nodes({ key: "k".repeat(513) }), /delta.nodes\[0\].key: longer than maxKeyBytes/);
  refused(nodes({ hash: "h".repeat(257) }), /delta.nodes\[0\].hash: longer/);
  refused(nodes({ hash: "a\u0001b" }), /delta.nodes\[0\].hash: control characters/);
  refused(nodes({ hash: "\u0001a\u0001b" }), /delta.nodes\[0\].hash: control characters/);
  refused(nodes({ version: 0 }), /delta.nodes\[0\].version/);
  refused(nodes({ version: 2 ** 52 + 1 }), /delta.nodes\[0\].version: expected an integer from 1 to 2\^52/);
  refused(nodes({ stamp: 1.5 }), /delta.nodes\[0\].stamp/);
  refused(nodes({ origin: "" }), /delta.nodes\[0\].origin/);
  refused(nodes({ updatedAt: "now" }), /delta.nodes\[0\].updatedAt/);
});

test("readMessage() refuses every value that is not a message, always with a RefusalError", () => {
  fc.assert(fc.property(fc.jsonValue(), fc.jsonValue(), (value, other) => {
    const texts = [JSON.stringify(value)];
    for (const name of ["peers", "look", "seen", "delta", "more", "urls", "pass", "swept", "id"]) {
      texts.push(changed((fields) => fields[name] = value));
      texts.push(changed((fields) => fields[name] = { [name]: value, nodes: [value, other], base: {} }));
    }
    for (const text of texts) {
      try {
        readMessage(text);
      } catch (error) {
        equal(error instanceof RefusalError, true, String(error));
      }
    }
  }));
});
