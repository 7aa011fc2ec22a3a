/**
 * Hostile input by chance: requests, envelopes and messages of no particular kind, from fast-check, which prints the
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
  fc.string({ unit: "binary", maxLength: 40 }),
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
      fc.constantFrom("/reality/nodes/", "/reality/events?keys=", "/reality/", "/"),
      fc.array(fc.integer({ min: 0x21, max: 0x7e }), { maxLength: 30 }),
    ).map(([start, units]) => start + String.fromCharCode(...units)),
  },
);

/** Whole requests. */
export const requests: fc.Arbitrary<HostileRequest> = fc.record({
  name: fc.constant("by chance"),
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
