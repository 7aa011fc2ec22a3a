/**
 * Makes new inputs of old ones.
 *
 * @module
 */
import type { SeededRandom } from "../random.ts";
import { MEMBERS, VALUES } from "./corpus.ts";

type Bytes = Uint8Array<ArrayBuffer>;

/** How long an input may become, in bytes. */
const MAX_LENGTH = 4_096;

/** What messages between servers have, beside what clients send. */
const FIELDS: readonly string[] = [
  ...[
    "id",
    "run",
    "origin",
    "peers",
    "urls",
    "look",
    "pass",
    "seen",
    "swept",
    "delta",
    "more",
    "version",
    "stamp",
  ],
  ...[
    "base",
    "full",
    "after",
    "next",
    "nodes",
    "updatedAt",
    "deleted",
    "alive",
    "suspect",
    "gone",
    "__proto__",
  ],
];

/** Pieces of text that inputs are made of. */
const WORDS: readonly Bytes[] = [
  ...VALUES.filter((value) => value.length < 100),
  ...[...MEMBERS, ...FIELDS].map((name) => `"${name}":`),
  ...[
    "{",
    "}",
    "[",
    "]",
    ",",
    ":",
    '"',
    "\\",
    "\\u0000",
    "\ufeff",
    "\n",
    "%",
    ":0",
    "null",
    "2e52",
    "\u0001",
  ],
].map((word) => new TextEncoder().encode(word));

/**
 * Changes an input in one to four places.
 *
 * @param input What is changed; it stays as it is.
 * @param others Inputs that pieces are taken from.
 * @param random Decides what is done where.
 */
export function mutate(input: Bytes, others: readonly Bytes[], random: SeededRandom): Bytes {
  let bytes = input;
  for (let i = random.between(1, 4); i > 0; i--) bytes = random.pick(WAYS)(bytes, others, random);
  return bytes.slice(0, MAX_LENGTH);
}

/** One way to change an input. */
type Way = (bytes: Bytes, others: readonly Bytes[], random: SeededRandom) => Bytes;

const WAYS: readonly Way[] = [
  // A byte becomes another one.
  (bytes, _, random) => replace(bytes, place(bytes, random), 1, [Uint8Array.of(random.between(0, 255))]),
  // A bit flips.
  (bytes, _, random) => {
    const at = place(bytes, random);
    return replace(bytes, at, 1, [Uint8Array.of((bytes[at] ?? 0) ^ (1 << random.between(0, 7)))]);
  },
  // A word comes in, or in the place of something.
  (bytes, _, random) => replace(bytes, place(bytes, random), 0, [random.pick(WORDS)]),
  (bytes, _, random) => replace(bytes, place(bytes, random), random.between(1, 8), [random.pick(WORDS)]),
  // A value becomes another one: what stands between two signs of JSON.
  (bytes, _, random) => {
    const start = bytes.indexOf(0x3a, place(bytes, random)) + 1;
    const length = bytes.subarray(start).findIndex((byte) => byte === 0x2c || byte === 0x7d || byte === 0x5d);
    return replace(bytes, start, Math.max(0, length), [random.pick(WORDS)]);
  },
  // A piece goes, comes twice, or comes many times.
  (bytes, _, random) => replace(bytes, place(bytes, random), random.between(1, 16), []),
  (bytes, _, random) => {
    const start = place(bytes, random);
    const piece = bytes.slice(start, start + random.between(1, 32));
    return replace(bytes, start, 0, Array.from({ length: random.pick([1, 1, 1, 30]) }, () => piece));
  },
  // It is cut off.
  (bytes, _, random) => bytes.slice(0, place(bytes, random)),
  // A piece of another one comes in, or its end.
  (bytes, others, random) => {
    const other = random.pick(others);
    const start = place(other, random);
    return replace(bytes, place(bytes, random), 0, [other.slice(start, start + random.between(1, 64))]);
  },
  (bytes, others, random) => {
    const other = random.pick(others);
    return replace(bytes, place(bytes, random), Infinity, [other.slice(place(other, random))]);
  },
];

function place(bytes: Bytes, random: SeededRandom): number {
  return random.between(0, Math.max(0, bytes.length - 1));
}

/** The bytes with so many of them, from a place on, replaced. */
function replace(bytes: Bytes, start: number, count: number, pieces: readonly Bytes[]): Bytes {
  const parts = [bytes.slice(0, start), ...pieces, bytes.slice(start + count)];
  const all = new Uint8Array(parts.reduce((sum, { length }) => sum + length, 0));
  let offset = 0;
  for (const part of parts) {
    all.set(part, offset);
    offset += part.length;
  }
  return all;
}
