import { deepEqual, equal, notEqual, ok, rejects } from "node:assert/strict";
import fc from "fast-check";
import { PeerError, RefusalError } from "../../../src/errors.ts";
import { OwnAddressError } from "../../../src/mesh/proof.ts";
import { SecretProof } from "../../../src/mesh/secret_proof.ts";
import { FakeClock } from "../../clock.ts";
import { test } from "../../harness.ts";
import { type Fields, Line, say, urlOf } from "./line.ts";

const secrets = ["a secret that only our servers have"];
const hour = 3_600_000;

function setUp() {
  const line = new Line();
  return { line, a: line.start("a", { secrets }), b: line.start("b", { secrets }) };
}

/** The status and code with which an envelope is refused; `null` if it is accepted. */
async function refusalOf(line: Line, gossip: unknown, name: string = "b"): Promise<string | null> {
  const response = await line.deliver({ url: urlOf(name), gossip: gossip as Fields });
  const { error } = await response.json();
  return error === undefined ? null : `${response.status} ${error.message}`;
}

const unproven = '401 Cannot take "gossip": it does not prove who sent it';

test("SecretProof accepts a proven message, and its answer is accepted", async () => {
  const { line, a, b } = setUp();
  equal(await say(a, "b", "one"), "b: one");
  equal(await say(a, "b", "two"), "b: two");
  equal(await say(b, "a", "three"), "a: three");
  deepEqual(b.taken, ["one", "two"]);
  equal(line.count("hello"), 2);
});

test("SecretProof accepts no message twice, at once or later", async () => {
  const { line, a, b } = setUp();
  line.before = (heard) => "message" in heard.gossip ? new Response(null, { status: 503 }) : undefined;
  await rejects(say(a, "b", "once"));
  const found = await Promise.all([1, 2, 3].map(() => refusalOf(line, line.lastMessage.gossip)));
  deepEqual(found.sort(), [unproven, unproven, null]);
  equal(await refusalOf(line, line.lastMessage.gossip), unproven);
  deepEqual(b.taken, ["once"]);
});

test("SecretProof refuses a message for another server", async () => {
  const { line, a } = setUp();
  const c = line.start("c", { secrets });
  await say(a, "b", "for b");
  await say(a, "c", "for c");
  equal(
    await refusalOf(line, line.heard.find(({ url }) => url === urlOf("b"))!.gossip, "c"),
    null,
    "a hello",
  );
  equal(
    await refusalOf(line, line.heard.filter(({ url }) => url === urlOf("b")).at(-1)!.gossip, "c"),
    unproven,
  );
  deepEqual(c.taken, ["for c"]);
});

test("SecretProof accepts no earlier message after a restart, and its peers repeat the hello", async () => {
  const { line, a } = setUp();
  await say(a, "b", "before");
  const captured = line.lastMessage.gossip;
  const b = line.start("b", { secrets });
  equal(await refusalOf(line, captured), unproven);
  equal(await say(a, "b", "after"), "b: after");
  deepEqual(b.taken, ["after"]);
  equal(line.count("hello"), 2);
});

test("SecretProof refuses old messages without synchronized clocks", async () => {
  const line = new Line();
  const clock = new FakeClock(line.clock.now() - 9 * hour);
  const [a, b] = [line.start("a", { secrets, clock }), line.start("b", { secrets, nameTimeout: 1000 })];
  equal(await say(a, "b", "one"), "b: one");
  line.before = (heard) => "message" in heard.gossip ? new Response(null, { status: 503 }) : undefined;
  await rejects(say(a, "b", "held back"));
  const held = line.lastMessage.gossip;
  line.before = () => undefined;
  await line.clock.advance(2000);
  equal(await refusalOf(line, held), unproven);
  equal(await say(a, "b", "two"), "b: two");
  deepEqual(b.taken, ["one", "two"]);
});

test("SecretProof renews its name during frequent exchanges without a refusal", async () => {
  const line = new Line();
  const [a, b] = [line.start("a", { secrets }), line.start("b", { secrets, nameTimeout: 1000 })];
  for (let i = 0; i < 20; i++) {
    await say(a, "b", String(i));
    await line.clock.advance(400);
  }
  equal(b.taken.length, 20);
  equal(line.heard.length, 21);
  const names = new Set(line.heard.map(({ gossip }) => gossip.to));
  ok(names.size > 5, "several names");
  for (const { gossip } of line.heard.filter(({ gossip }) => "message" in gossip)) {
    equal(await refusalOf(line, gossip), unproven);
  }
});

test("SecretProof accepts no message twice, and no name longer, when the date is set forward and back", async () => {
  const line = new Line();
  const clock = new FakeClock();
  const [a, b] = [line.start("a", { secrets }), line.start("b", { secrets, clock })];
  for (const jump of [0, hour, -hour, -5 * hour, hour, 5 * hour]) {
    clock.jump(jump);
    equal(await say(a, "b", `at ${jump}`), `b: at ${jump}`);
    for (const { gossip } of line.heard.filter(({ gossip }) => "message" in gossip)) {
      equal(await refusalOf(line, gossip), unproven);
    }
  }
  equal(b.taken.length, 6);
  line.before = ({ gossip }) => "message" in gossip ? new Response(null, { status: 503 }) : undefined;
  await rejects(say(a, "b", "held back"));
  await clock.advance(hour);
  clock.jump(-hour);
  equal(await refusalOf(line, line.lastMessage.gossip), unproven);
});

test("SecretProof draws a new name instead of forgetting nonces", async () => {
  const line = new Line();
  const b = line.start("b", { secrets, maxNonces: 2 });
  const senders = Array.from({ length: 12 }, (_, i) => line.start(`a${i}`, { secrets }));
  line.before = ({ gossip }) => "message" in gossip ? new Response(null, { status: 503 }) : undefined;
  for (const sender of senders) await rejects(say(sender, "b", "not heard"));
  equal(new Set(line.heard.map(({ gossip }) => gossip.to)).size, 2, "one name, or none in a hello");
  line.before = () => undefined;
  line.heard.length = 0;
  for (const sender of senders) await say(sender, "b", "heard");
  equal(b.taken.length, 12);
  equal(line.count("hello"), 8, "the name takes twice as many as it is given out for");
  for (const { gossip } of line.heard.filter(({ gossip }) => "message" in gossip)) {
    equal(await refusalOf(line, gossip), unproven);
  }
});

test("SecretProof refuses forged messages, all with the same error", async () => {
  const { line, a, b } = setUp();
  const other = line.start("other", { secrets });
  await say(other, "b", "another");
  const another = line.lastMessage.gossip;
  line.before = (heard) => "message" in heard.gossip ? new Response(null, { status: 503 }) : undefined;
  await rejects(say(a, "b", "true"));
  const { gossip } = line.lastMessage;
  const hello = await b.proof.verify({ form: 1, hello: { nonce: gossip.nonce } });
  ok(hello.kind === "reply");
  const zeros = "A".repeat(43);
  const forged: Fields[] = [
    { ...gossip, message: "false" },
    { ...gossip, nonce: another.nonce },
    { ...gossip, nonce: "x".repeat(26) },
    { ...gossip, proofs: another.proofs },
    { ...gossip, proofs: (hello.gossip as Fields).proofs },
    { ...gossip, proofs: [] },
    { ...gossip, proofs: [zeros] },
    { ...gossip, proofs: [zeros, zeros, ...(gossip.proofs as string[])] },
    { ...gossip, proofs: (gossip.proofs as string[])[0] },
    { ...gossip, proofs: ["*".repeat(43), null, 1, {}] },
    { ...gossip, to: "y".repeat(26) },
    { ...gossip, to: [gossip.to] },
    { ...gossip, message: { toString: "true" } },
    { ...gossip, nonce: 1 },
    { form: 1 },
    { form: 1, message: "true" },
    { form: 1, hello: {} },
    { form: 1, hello: { nonce: "short" } },
    { form: 1, hello: { nonce: "z".repeat(10_000) } },
    { form: 1, callback: { nonce: gossip.nonce, token: gossip.nonce } },
    { form: 1, token: gossip.nonce, message: "true" },
    JSON.parse(`{"form":1,"__proto__":${JSON.stringify(gossip)}}`),
    Object.assign(Object.create(gossip), { form: 1 }),
  ];
  for (const fields of forged) equal(await refusalOf(line, fields), unproven, JSON.stringify(fields));
  deepEqual(b.taken, ["another"]);
  equal(await refusalOf(line, gossip), null, "the true one was still good");
  equal(await refusalOf(line, { ...another, extra: 1 }), unproven);
});

test("SecretProof ignores unknown fields", async () => {
  const { line, a, b } = setUp();
  line.before = (heard) => void Object.assign(heard.gossip, { later: { form: 7 }, constructor: 1 });
  line.bend = (gossip) => ({ ...gossip, later: [1], toString: null });
  equal(await say(a, "b", "one"), "b: one");
  deepEqual(b.taken, ["one"]);
});

test("SecretProof refuses an envelope of another form, and the error names the form", async () => {
  const { line, a, b } = setUp();
  const wrong = '400 Cannot read the form of "gossip": expected 1, got';
  equal(await refusalOf(line, { form: 2, hello: { nonce: "x" } }), `${wrong} 2`);
  equal(await refusalOf(line, { hello: { nonce: "x" } }), `${wrong} nothing`);
  equal(await refusalOf(line, { form: "1" }), `${wrong} a string`);
  equal(await refusalOf(line, null), '400 Cannot read "gossip": expected an object, got null');
  equal(await refusalOf(line, [1]), '400 Cannot read "gossip": expected an object, got an array');
  equal(await refusalOf(line, JSON.parse('{"__proto__":{"form":1}}')), `${wrong} nothing`);
  line.bend = (gossip) => ({ ...gossip, form: 3 });
  await rejects(say(a, "b", "one"), { code: "ERR_REALITY_PEER_REPLY", peer: b.url });
});

test("SecretProof sends a message only to a peer that has proven the secret", async () => {
  const { line, a, b } = setUp();
  const stranger = line.start("stranger", { secrets: ["another secret"] });
  await rejects(say(a, "stranger", "private"), { code: "ERR_REALITY_PEER_REPLY", peer: stranger.url });
  await rejects(say(stranger, "b", "false"), { code: "ERR_REALITY_PEER_REPLY", peer: b.url });
  line.start("caller", { peers: ["a"] });
  await rejects(say(a, "caller", "private"), { code: "ERR_REALITY_PEER_REFUSED" });
  equal(line.count("message"), 0);
});

test("SecretProof refuses an answer that was not signed for this message with the secret", async () => {
  const { line, a, b } = setUp();
  let former: Fields = {};
  line.bend = (gossip) => former = gossip;
  await say(a, "b", "one");
  const bends: ((gossip: Fields) => unknown)[] = [
    () => former,
    (gossip) => ({ ...gossip, message: "false" }),
    (gossip) => ({ ...gossip, name: "x".repeat(26) }),
    (gossip) => ({ ...gossip, proofs: former.proofs }),
    (gossip) => ({ form: 1, message: gossip.message }),
    (gossip) => ({ ...gossip, message: 7 }),
    () => null,
    () => "text",
  ];
  for (const bend of bends) {
    line.bend = (gossip) => "message" in gossip ? bend(gossip) : gossip;
    await rejects(say(a, "b", "two"), { code: "ERR_REALITY_PEER_REPLY", peer: b.url }, String(bend));
  }
  line.bend = (gossip) => gossip;
  equal(await say(a, "b", "three"), "b: three");
});

test("SecretProof refuses its own hello from another sender", async () => {
  const { line, a } = setUp();
  // An attacker between the servers sends our hello back to us, and then our message.
  line.before = ({ url, gossip }) =>
    url === urlOf("b") ? line.deliver({ url: urlOf("a"), gossip }) : undefined;
  await rejects(
    say(a, "b", "one"),
    (error) => error instanceof PeerError && error.cause instanceof OwnAddressError,
  );
  await rejects(
    say(a, "a", "one"),
    (error) => error instanceof PeerError && error.cause instanceof OwnAddressError,
  );
  deepEqual(a.taken, []);
});

test("SecretProof rotates a secret while all servers keep exchanging, in either order", async () => {
  const [old, next] = ["the old secret", "the new secret"];
  for (const steps of [[[old], [old, next], [next, old], [next]], [[old], [next, old], [next]]]) {
    for (let i = 0; i + 1 < steps.length; i++) {
      const line = new Line();
      const [a, b] = [line.start("a", { secrets: steps[i]! }), line.start("b", { secrets: steps[i + 1]! })];
      equal(await say(a, "b", "one"), "b: one");
      equal(await say(b, "a", "two"), "a: two");
    }
  }
  const line = new Line();
  const a = line.start("a", { secrets: [next] });
  line.start("b", { secrets: [old] });
  await rejects(say(a, "b", "one"), { code: "ERR_REALITY_PEER_REPLY" });
});

test("SecretProof opens messages of its Redis channel that were signed with the secret, and no others", async () => {
  const clock = new FakeClock();
  const [a, b] = [
    new SecretProof({ secrets, clock }),
    new SecretProof({ secrets: ["x", ...secrets], clock }),
  ];
  const text = await a.signBroadcast("reality", "news \ud800 “quoted”");
  equal(await b.verifyBroadcast("reality", text), "news \ud800 “quoted”");
  equal(await b.verifyBroadcast("reality", text), "news \ud800 “quoted”", "again");
  await clock.advance(9 * hour);
  equal(await b.verifyBroadcast("reality", text), "news \ud800 “quoted”", "late");
  equal(await a.verifyBroadcast("reality", await b.signBroadcast("reality", "back")), "back");
  equal(await b.verifyBroadcast("other", text), null);
  const fields = JSON.parse(text);
  const wrong = [
    "",
    "no JSON",
    "null",
    "[]",
    '"text"',
    JSON.stringify({ ...fields, message: "news \ufffd “quoted”" }),
    JSON.stringify({ ...fields, form: 2 }),
    JSON.stringify({ ...fields, proofs: undefined }),
    `{"__proto__":${text}}`,
    await new SecretProof({ secrets: ["x"], clock }).signBroadcast("reality", "news"),
  ];
  for (const found of wrong) {
    equal(await a.verifyBroadcast("reality", found), null, found);
  }
});

test("SecretProof accepts no Redis message as a request, and no request as a Redis message", async () => {
  const { line, a, b } = setUp();
  await say(a, "b", "one");
  const { gossip } = line.lastMessage;
  const proof = b.proof as SecretProof;
  equal(await proof.verifyBroadcast(String(gossip.to), JSON.stringify(gossip)), null);
  const hello = await proof.verify({ form: 1, hello: { nonce: "n".repeat(26) } });
  const { name, proofs } = (hello as { gossip: Fields }).gossip;
  const forged = JSON.stringify({ form: 1, message: name, proofs });
  equal(
    await proof.verifyBroadcast("n".repeat(26), forged),
    null,
    "strangers can have a name signed, for no other use",
  );
  const news = JSON.parse(await proof.signBroadcast(String(gossip.to), "one"));
  equal(await refusalOf(line, { ...gossip, nonce: "n".repeat(26), proofs: news.proofs }), unproven);
});

test("SecretProof gives each incarnation of a server another name", async () => {
  const names = await Promise.all([1, 2].map(async () => {
    const opened = await new SecretProof({ secrets, clock: new FakeClock() })
      .verify({ form: 1, hello: { nonce: "n".repeat(26) } });
    return opened.kind === "reply" ? (opened.gossip as Fields).name : undefined;
  }));
  notEqual(names[0], names[1]);
});

test("SecretProof answers every JSON value with an opened envelope or a RefusalError", async () => {
  const { line, a, b } = setUp();
  await say(a, "b", "one");
  const { gossip } = line.lastMessage;
  const field = fc.constantFrom(...Object.keys(gossip), "hello", "callback", "token", "__proto__");
  const bent = fc.tuple(field, fc.jsonValue()).map(([name, value]) =>
    JSON.parse(`{${JSON.stringify(name)}:${JSON.stringify(value)}}`)
  ).map((change) => ({ ...gossip, ...change }));
  const ours = fc.dictionary(field, fc.jsonValue()).map((fields) => ({ ...fields, form: 1 }));
  await fc.assert(
    fc.asyncProperty(fc.oneof(fc.jsonValue(), bent, ours), async (value) => {
      const opened = await b.proof.verify(value).catch((error) => error);
      ok(opened instanceof RefusalError || opened.kind === "reply");
      equal(typeof await (b.proof as SecretProof).verifyBroadcast("c", JSON.stringify(value)), "object");
    }),
    { numRuns: 500 },
  );
});
