/**
 * Hostile input at random: requests, envelopes and messages of no particular kind, from fast-check, which prints the
 * seed of what fails.
 *
 * @module
 */
import fc from "fast-check";
import {
  BODIES,
  type Body,
  type Field,
  HEADERS,
  type HostileRequest,
  MEMBERS,
  METHODS,
  TARGETS,
  TOKEN,
  VALUES,
} from "./corpus.ts";

/** Texts with everything in them that a text can have, lone surrogates too. */
export const texts: fc.Arbitrary<string> = fc.oneof(
  // Not fast-check's own texts of every character, for which it makes a table of a million of them first.
  fc.array(fc.integer({ min: 0, max: 0x10ffff }), { maxLength: 40 }).map((points) =>
    String.fromCodePoint(...points)
  ),
  fc.string({ maxLength: 40 }),
  fc.array(fc.integer({ min: 0, max: 0xffff }), { maxLength: 12 }).map((units) =>
    String.fromCharCode(...units)
  ),
  fc.constantFrom("__proto__", "constructor", "hasOwnProperty", "toString", "", "\u0000", "\ud800"),
);

/** Any JSON, with odd names, as text; and what nearly is JSON. */
const jsonTexts: fc.Arbitrary<string> = fc.oneof(
  { weight: 4, arbitrary: fc.constantFrom(...VALUES) },
  { weight: 2, arbitrary: fc.jsonValue({ maxDepth: 4 }).map((value) => JSON.stringify(value)) },
  { weight: 1, arbitrary: texts.map((text) => JSON.stringify(text)) },
  {
    weight: 1,
    arbitrary: fc.dictionary(texts, fc.constantFrom(0, 1, -1, 2 ** 53, 0.5, null), { maxKeys: 6 })
      .map((value) => JSON.stringify(value)),
  },
);

/** Objects whose members are those of a request, in any number and order, with anything in them. */
const objectTexts: fc.Arbitrary<string> = fc
  .array(fc.tuple(fc.oneof(fc.constantFrom(...MEMBERS), texts), jsonTexts), { maxLength: 6 })
  .map((members) => `{${members.map(([name, value]) => `${JSON.stringify(name)}:${value}`).join()}}`);

/** Bodies: ones that nearly are what a route takes, the corpus, and bytes; some cut off, some with a byte changed. */
export const bodies: fc.Arbitrary<Body> = fc.tuple(
  fc.oneof(
    { weight: 6, arbitrary: objectTexts },
    { weight: 1, arbitrary: jsonTexts },
    { weight: 1, arbitrary: fc.constantFrom(...[...BODIES.values()].filter(({ length }) => length < 5_000)) },
    { weight: 1, arbitrary: fc.uint8Array({ maxLength: 200 }).map((bytes) => Uint8Array.from(bytes)) },
  ),
  fc.oneof({ weight: 3, arbitrary: fc.constant(1) }, {
    weight: 1,
    arbitrary: fc.double({ min: 0, max: 1, noNaN: true }),
  }),
  fc.option(fc.tuple(fc.nat(), fc.integer({ min: 0, max: 255 })), { freq: 5 }),
).map(([body, share, change]) => {
  const bytes = typeof body === "string" ? new TextEncoder().encode(body) : body;
  const cut = bytes.slice(0, Math.ceil(bytes.length * share));
  if (change !== null && cut.length > 0) cut[change[0] % cut.length] = change[1];
  return cut;
});

/** Header values as a client can write them: bytes, one for each character, without those that end a field. */
const headerValues: fc.Arbitrary<string> = fc
  .array(fc.oneof(fc.integer({ min: 0x20, max: 0x7e }), fc.integer({ min: 0x80, max: 0xff })), {
    maxLength: 60,
  })
  .map((units) => String.fromCharCode(...units).trim());

const NAMES: readonly string[] = [...new Set(HEADERS.map(([name]) => name)), "X-Anything"];

const fields: fc.Arbitrary<Field> = fc.oneof(
  fc.constantFrom(...HEADERS),
  fc.tuple(fc.constantFrom(...NAMES), headerValues),
);

/** Targets: those of the corpus, and paths with anything in them that a request line can hold. */
const targets: fc.Arbitrary<string> = fc.oneof(
  {
    weight: 4,
    arbitrary: fc.constantFrom("sync", "update", "invalidate").map((route) => `/reality/${route}`),
  },
  { weight: 2, arbitrary: fc.constantFrom(...TARGETS) },
  {
    weight: 2,
    arbitrary: fc.tuple(
      fc.constantFrom("/reality/nodes/", "/reality/events?keys=", "/reality/sync?k=", "/reality/", "/"),
      fc.array(fc.integer({ min: 0x21, max: 0x7e }), { maxLength: 30 }),
    ).map(([start, units]) => start + String.fromCharCode(...units)),
  },
);

/** Whole requests. */
export const requests: fc.Arbitrary<HostileRequest> = fc.record({
  name: fc.constant("at random"),
  method: fc.oneof({ weight: 3, arbitrary: fc.constant("POST") }, {
    weight: 1,
    arbitrary: fc.constantFrom(...METHODS),
  }),
  target: targets,
  headers: fc.tuple(fc.array(fields, { maxLength: 3 }), fc.boolean(), fc.boolean()).map(
    ([some, isJSON, mayWrite]) => {
      const all: Field[] = [...some];
      const add = (name: string, value: string) => {
        if (!all.some(([other]) => other === name)) all.push([name, value]);
      };
      add("Host", "localhost");
      if (isJSON) add("Content-Type", "application/json");
      if (mayWrite) add("Authorization", `Bearer ${TOKEN}`);
      return all;
    },
  ),
  body: bodies,
});

/** Any value that JSON can carry, with odd names in it. */
export const values: fc.Arbitrary<unknown> = fc.oneof(
  fc.jsonValue({ maxDepth: 3 }),
  texts,
  fc.dictionary(texts, fc.oneof(texts, fc.double({ noNaN: true }), fc.constant(null)), { maxKeys: 5 }),
  fc.constantFrom<unknown>(null, true, 0, -1, 2 ** 53, 1e300, "", [], {}, [[]], { length: 1 }),
);

/** What is mostly as it should be, and now and then is not: so that messages get past their first field. */
function mostly<T>(good: fc.Arbitrary<T>, bad: fc.Arbitrary<unknown> = values): fc.Arbitrary<unknown> {
  return fc.oneof<[fc.WeightedArbitrary<unknown>, fc.WeightedArbitrary<unknown>]>(
    { weight: 30, arbitrary: good },
    { weight: 1, arbitrary: bad },
  );
}

const stamps = mostly(
  fc.oneof(fc.integer({ min: 1, max: 50 }), fc.constant(2 ** 52)),
  fc.constantFrom(0, -0, -1, 1.5, 2 ** 52 + 2, 2 ** 53, 1e300, null, "1"),
);

/** Names of storages, runs and servers. */
const names = mostly(fc.constantFrom("b", "c", "origin-b", "a".repeat(128)), texts);

/** Objects by name; odd names, too, are their own. */
function mapsOf(items: fc.Arbitrary<unknown>): fc.Arbitrary<unknown> {
  const name = fc.oneof({ weight: 20, arbitrary: fc.constantFrom("b", "c", "__proto__", "constructor") }, {
    weight: 1,
    arbitrary: texts,
  });
  return mostly(
    fc.array(fc.tuple(name, items), { maxLength: 3 }).map((entries) => Object.fromEntries(entries)),
  );
}

const seens = mapsOf(stamps);

const nodes = fc.record({
  key: mostly(fc.constantFrom("d", "e", "f", "__proto__"), texts),
  version: stamps,
  hash: mostly(fc.constantFrom("", "1", "\u0001abcdefgh", "\u0001", "\u0001abc"), texts),
  updatedAt: mostly(fc.oneof(fc.integer(), fc.constantFrom(-(2 ** 53) + 1, 2 ** 53 - 1, -0))),
  origin: names,
  stamp: stamps,
  deleted: mostly(fc.boolean()),
}, { requiredKeys: ["key", "version", "hash", "updatedAt", "origin"] });

/** The cursor of a page: a storage's own word, or anything. */
const cursors = fc.oneof(
  fc.constantFrom(
    null,
    "",
    "0",
    "1",
    "-1",
    "-5",
    "0.5",
    "1e9",
    "NaN",
    "9".repeat(400),
    "\u0000",
    "\ud800",
    "d",
  ),
  texts,
);

const deltas = fc.record({
  base: fc.oneof({ weight: 3, arbitrary: fc.constant<unknown>({}) }, { weight: 1, arbitrary: seens }),
  full: mostly(fc.boolean()),
  after: fc.oneof({ weight: 2, arbitrary: fc.constant(null) }, { weight: 1, arbitrary: cursors }),
  next: fc.oneof({ weight: 2, arbitrary: fc.constant(null) }, { weight: 1, arbitrary: cursors }),
  nodes: mostly(fc.uniqueArray(nodes, { maxLength: 4, selector: ({ key }) => key })),
});

/** What a server says to another, as text: like a message in most of its parts, and anything in the rest. */
export const messages: fc.Arbitrary<string> = fc.oneof(
  { weight: 1, arbitrary: texts },
  { weight: 1, arbitrary: values.map((value) => JSON.stringify(value)) },
  {
    weight: 20,
    arbitrary: fc.record({
      id: names,
      run: names,
      origin: mostly(fc.constantFrom("b", "c", "")),
      epoch: mostly(fc.constantFrom("!", "0", "zz", "~"), texts),
      peers: mapsOf(mostly(fc.constantFrom("alive", "suspect", "gone"))),
      urls: mapsOf(fc.oneof(fc.constantFrom("http://[", "file:///a", "http://d:1"), texts)),
      look: mostly(fc.record({ keys: fc.constantFrom(null, [], ["d"], ["left-alone:1"]), version: stamps })),
      pass: mostly(fc.array(names, { maxLength: 3 })),
      seen: seens,
      swept: seens,
      delta: mostly(deltas),
      more: mostly(fc.record({ after: cursors, full: fc.boolean() })),
    }, { requiredKeys: ["id", "run", "origin", "epoch", "peers"] }).map((message) => JSON.stringify(message)),
  },
);
