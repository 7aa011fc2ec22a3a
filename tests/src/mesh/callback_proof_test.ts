import { deepEqual, equal, ok, rejects } from "node:assert/strict";
import fc from "fast-check";
import { PeerError, RefusalError } from "../../../src/errors.ts";
import { OwnAddressError } from "../../../src/mesh/proof.ts";
import { test } from "../../harness.ts";
import { type Fields, Line, say, urlOf } from "./line.ts";

const unproven = '401 Cannot take "gossip": it does not prove who sent it';
const nobody = '403 Cannot read "gossip": this server has no peers';

function setUp() {
  const line = new Line();
  return { line, a: line.start("a", { peers: ["b"] }), b: line.start("b", { peers: ["a"] }) };
}

/** The status and message with which an envelope is refused; `null` if it is accepted. */
async function refusalOf(line: Line, gossip: unknown, name: string = "b"): Promise<string | null> {
  const response = await line.deliver({ url: urlOf(name), gossip: gossip as Fields });
  const { error } = await response.json();
  return error === undefined ? null : `${response.status} ${error.message}`;
}

/** The sent requests, as "receiver: content". */
function story(line: Line): string[] {
  return line.heard.map(({ url, gossip }) =>
    `${new URL(url).hostname}: ${Object.keys(gossip).find((name) => name !== "form")}`
  );
}

test("CallbackProof lets two servers that list each other exchange messages, and returns the sender's URL", async () => {
  const { line, a, b } = setUp();
  equal(await say(a, "b", "one"), "b: one");
  equal(await say(a, "b", "two"), "b: two");
  equal(await say(b, "a", "three"), "a: three");
  deepEqual(b.taken, ["one", "two"]);
  deepEqual(b.from, [urlOf("a"), urlOf("a")]);
  deepEqual(story(line).slice(0, 4), ["b: hello", "a: callback", "b: token", "b: token"]);
  equal(line.clock.timers, 0);
});

test("CallbackProof gives an unlisted server no token, and calls only configured peers", async () => {
  const { line, a, b } = setUp();
  await say(a, "b", "one");
  const stranger = line.start("stranger", { peers: ["b"] });
  await rejects(say(stranger, "b", "false"), { code: "ERR_REALITY_PEER_REFUSED", peer: b.url });
  for (const id of ["a", "b", "stranger", "__proto__", ""]) {
    equal(
      await refusalOf(line, { form: 1, hello: { nonce: "n".repeat(26), id, url: urlOf("stranger") } }),
      unproven,
    );
  }
  ok(line.heard.every(({ url, gossip }) => !("callback" in gossip) || url === urlOf("a")));
  deepEqual(b.taken, ["one"]);
});

test("CallbackProof refuses a call-back that it did not request", async () => {
  const { line, a, b } = setUp();
  const [nonce, token] = ["n".repeat(26), "t".repeat(26)];
  equal(await refusalOf(line, { form: 1, callback: { nonce, token } }, "a"), unproven);
  let second: string | null = null;
  line.before = (heard) => {
    if (!("hello" in heard.gossip)) return undefined;
    const { nonce } = heard.gossip.hello as Fields;
    return line.deliver(heard).then(async (response) => {
      second = await refusalOf(line, { form: 1, callback: { nonce, token } }, "a");
      return response;
    });
  };
  equal(await say(a, "b", "one"), "b: one");
  equal(second, unproven, "a second one for the same nonce");
  const { callback } = line.heard.find(({ gossip }) => "callback" in gossip)!.gossip;
  equal(await refusalOf(line, { form: 1, callback }, "a"), unproven, "the same again");
  equal(await say(a, "b", "two"), "b: two");
  deepEqual(b.taken, ["one", "two"]);
});

test("CallbackProof forgets the nonce of a hello when the exchange ends", async () => {
  const { line, a } = setUp();
  let nonce: unknown;
  line.before = ({ gossip }) => {
    nonce = (gossip.hello as Fields).nonce;
    return new Promise(() => {});
  };
  const sending = rejects(say(a, "b", "one"), { code: "ERR_REALITY_PEER_UNREACHABLE" });
  await line.sent(1);
  await line.clock.advance(2000);
  await sending;
  equal(await refusalOf(line, { form: 1, callback: { nonce, token: "t".repeat(26) } }, "a"), unproven);
});

test("CallbackProof refuses a peer that answers a hello without calling back", async () => {
  const { line, a } = setUp();
  line.before = ({ gossip }) =>
    "hello" in gossip ? Response.json({ gossip: { form: 1, accepted: true } }) : undefined;
  await rejects(say(a, "b", "one"), { code: "ERR_REALITY_PEER_REPLY" });
  line.before = () => undefined;
  line.start("b", { secrets: ["a secret"] });
  await rejects(say(a, "b", "two"), { code: "ERR_REALITY_PEER_REPLY" });
  equal(line.count("message"), 0);
});

test("CallbackProof forgets its tokens at a restart, and its peers repeat the hello", async () => {
  const { line, a } = setUp();
  await say(a, "b", "before");
  const captured = line.lastMessage.gossip;
  const b = line.start("b", { peers: ["a"] });
  equal(await refusalOf(line, captured), unproven);
  equal(await say(a, "b", "after"), "b: after");
  equal(await refusalOf(line, captured), unproven);
  deepEqual(b.taken, ["after"]);
});

test("CallbackProof keeps one token per URL: the newest", async () => {
  const { line, a } = setUp();
  await say(a, "b", "before");
  const captured = line.lastMessage.gossip;
  const again = line.start("a", { peers: ["b"] });
  equal(await say(again, "b", "after"), "b: after");
  equal(await refusalOf(line, captured), unproven);
  equal(await say(again, "b", "and on"), "b: and on");
});

test("CallbackProof gives each URL its own token, which is not valid for another", async () => {
  const line = new Line();
  const a = line.start("a", { peers: ["b", "c"] });
  line.start("b", { peers: ["a", "c"] });
  line.start("c", { peers: ["a", "b"] });
  await say(a, "b", "for b");
  const { gossip } = line.lastMessage;
  const tokens = line.heard.flatMap(({ gossip }) =>
    "callback" in gossip ? [(gossip.callback as Fields).token] : []
  );
  equal(new Set(tokens).size, 2);
  equal(
    await refusalOf(line, { ...gossip, token: tokens.find((token) => token !== gossip.token) }),
    unproven,
  );
  equal(await refusalOf(line, gossip, "c"), unproven);
});

test("CallbackProof accepts a URL only while it is listed", async () => {
  const { line, a } = setUp();
  const peers = ["a"];
  const b = line.start("b", { peers });
  await say(a, "b", "one");
  const { gossip } = line.lastMessage;
  equal(await refusalOf(line, gossip), null, "a token is no single use");
  b.peers.splice(0, 1, urlOf("c"));
  equal(await refusalOf(line, gossip), unproven);
});

test("CallbackProof answers 403 at once without peers, and calls no server", async () => {
  const { line } = setUp();
  line.start("lonely", { peers: [] });
  for (const gossip of [{ form: 1, hello: { nonce: "n".repeat(26), id: "a" } }, { form: 2 }, null, "text"]) {
    equal(await refusalOf(line, gossip, "lonely"), nobody);
  }
  equal(line.heard.length, 0);
});

test("CallbackProof makes few calls for a flood of hellos, and peers with tokens continue", async () => {
  const line = new Line();
  const a = line.start("a", { peers: ["b"] });
  line.start("b", { peers: ["a", "c"] });
  await say(a, "b", "before");
  line.heard.length = 0;
  let flooded = 0;
  const flood = () =>
    Array.from({ length: 200 }, async () => {
      const [nonce, id] = [String(flooded++).padStart(26, "0"), flooded % 2 ? "a" : `a${flooded}`];
      equal(await refusalOf(line, { form: 1, hello: { nonce, id } }), unproven);
    });
  const callsOf = async (ms: number) => {
    const before = line.count("callback");
    const refused = flood();
    for (let at = 0; at < ms; at += 50) {
      await line.clock.advance(50);
      await line.settled();
    }
    // The sender of the hello is answered before it gives up.
    await line.clock.advance(2_000);
    await Promise.all(refused);
    return line.count("callback") - before;
  };
  const first = await callsOf(0);
  ok(first > 10 && first <= 20 + 2 * 2 * 2, `${first} calls: ten at once for each URL, and two a second`);
  equal(await say(a, "b", "after"), "b: after");
  const later = await callsOf(3_000);
  ok(later > 4 && later <= 2 * 2 * 5 + 2, `${later} calls in 5 s: two a second for each URL`);
  await line.clock.advance(3_600_000);
  equal(line.clock.timers, 0);
  line.heard.length = 0;
});

test("CallbackProof accepts a peer during a flood of hellos from another sender, and makes no more calls for the flood", async () => {
  const line = new Line();
  line.start("b", { peers: ["a", "c", "d"] });
  let nonce = 0;
  const flood = (count: number) => {
    for (let i = 0; i < count; i++) {
      const hello = { nonce: String(nonce++).padStart(26, "0"), id: "stranger" };
      void refusalOf(line, { form: 1, hello });
    }
  };
  for (const perTick of [1, 100]) {
    // 20 hellos a second, and 2,000.
    for (let at = 0; at < 10_000; at += 50) {
      flood(perTick);
      await line.clock.advance(50);
      await line.settled();
    }
    const before = line.count("callback");
    const starting = line.start("a", { peers: ["b"] });
    let answer: string | undefined;
    let tries = 0;
    let at = 0;
    let nextTry = 0;
    const ask = async () => {
      tries++;
      nextTry = Infinity;
      answer = await say(starting, "b", "hello").catch(() => undefined);
      // As in the mesh, the pause grows with each failure.
      nextTry = at + 500 * 2 ** tries;
    };
    for (; answer === undefined && at < 20_000; at += 50) {
      if (at >= nextTry) void ask();
      flood(perTick);
      await line.clock.advance(50);
      await line.settled();
    }
    equal(answer, "b: hello");
    ok(at <= (perTick === 1 ? 1_000 : 8_000), `${at} ms, ${tries} tries`);
    ok(line.count("callback") - before <= 2 * 3 * (at / 1_000 + 2));
  }
  await line.clock.advance(10_000);
  equal(line.clock.timers, 0);
});

test("CallbackProof sends one nonce per round to a server of an earlier version, which reads only one", async () => {
  const line = new Line();
  line.start("b", { peers: ["a"] });
  const starting = line.start("a", { peers: ["b"] });
  line.before = ({ url, gossip }) => {
    // A server of an earlier version does not look at it.
    if (url === urlOf("a") && "callback" in gossip) delete (gossip.callback as Fields).nonces;
    return undefined;
  };
  for (let i = 0; i < 30; i++) {
    void refusalOf(line, { form: 1, hello: { nonce: String(i).padStart(26, "0"), id: "stranger" } });
  }
  await line.settled();
  let answer: string | undefined;
  const ask = (): Promise<void> => say(starting, "b", "hello").then((text) => void (answer = text), ask);
  void ask();
  for (let i = 0; answer === undefined && i < 1_000; i++) {
    line.clock.randomValue = i % 10 / 10;
    await line.clock.advance(50);
    await line.settled();
  }
  equal(answer, "b: hello");
});

test("CallbackProof does not wait for unreachable peers once the sender has answered", async () => {
  const line = new Line();
  const a = line.start("a", { peers: ["b"] });
  line.start("b", { peers: ["dead", "silent", "a"] });
  let aborted = false;
  line.before = ({ url }, request) => {
    if (url !== urlOf("silent")) return undefined;
    request.signal.addEventListener("abort", () => aborted = true);
    return new Promise(() => {});
  };
  equal(await say(a, "b", "one"), "b: one");
  equal(line.clock.timers, 0);
  equal(aborted, true, "the others are called off");
});

test("CallbackProof gives no token if the call-back is not accepted", async () => {
  const line = new Line();
  const a = line.start("a", { peers: ["b"] });
  const b = line.start("b", { peers: ["x", "a"] });
  line.before = ({ url }) =>
    url === urlOf("x") ? Response.json({ gossip: { form: 1, accepted: 1 } }) : undefined;
  equal(await say(a, "b", "one"), "b: one");
  deepEqual(b.from, [urlOf("a")]);
});

test("CallbackProof calls a known server first at its own URL, and at the others when it has moved", async () => {
  const line = new Line();
  const peers = ["x", "a", "y"];
  line.start("b", { peers });
  await say(line.start("a", { peers: ["b"] }), "b", "one");
  line.heard.length = 0;
  await say(line.start("a", { peers: ["b"] }), "b", "two");
  deepEqual(story(line), ["b: hello", "a: callback", "b: token"]);

  line.heard.length = 0;
  const moved = line.start("a", { peers: ["b"] });
  line.servers.set(urlOf("x"), moved);
  line.before = ({ url }) => url === urlOf("a") ? new Promise(() => {}) : undefined;
  const sending = say(moved, "b", "three");
  await line.sent(2);
  await line.clock.advance(1000);
  equal(await sending, "b: three");
  deepEqual(story(line), ["b: hello", "a: callback", "x: callback", "y: callback", "b: token"]);
});

test("CallbackProof answers a hello in time if no peer confirms it", async () => {
  const { line, a } = setUp();
  line.start("b", { peers: ["silent", "a"] });
  line.before = ({ url, gossip }) =>
    "callback" in gossip || url === urlOf("silent") ? new Promise(() => {}) : undefined;
  const sending = rejects(say(a, "b", "one"), { code: "ERR_REALITY_PEER_REFUSED" });
  await line.sent(3);
  await line.clock.advance(1000);
  await sending;
});

test("CallbackProof lets two servers send hellos to each other at the same time, repeatedly", async () => {
  const { line, a, b } = setUp();
  const talks = Array.from({ length: 5 }, (_, i) => [say(a, "b", String(i)), say(b, "a", String(i))]).flat();
  deepEqual((await Promise.all(talks)).slice(0, 3), ["b: 0", "a: 0", "b: 1"]);
  equal(line.count("hello"), 2);
  const again = [line.start("a", { peers: ["b"] }), line.start("b", { peers: ["a"] })] as const;
  await Promise.all([say(again[0], "b", "x"), say(again[1], "a", "y")]);
  equal(line.clock.timers, 0);
});

test("CallbackProof notices its own address", async () => {
  const line = new Line();
  const a = line.start("a", { peers: ["a", "b"] });
  await rejects(
    say(a, "a", "one"),
    (error) => error instanceof PeerError && error.cause instanceof OwnAddressError,
  );
  equal(line.count("callback"), 0);
});

test("CallbackProof refuses another form by name, and every unproven message with the same error", async () => {
  const { line, a, b } = setUp();
  await say(a, "b", "one");
  const { gossip } = line.lastMessage;
  const wrong = '400 Cannot read the form of "gossip": expected 1, got';
  equal(await refusalOf(line, { ...gossip, form: 2 }), `${wrong} 2`);
  equal(await refusalOf(line, JSON.parse('{"__proto__":{"form":1}}')), `${wrong} nothing`);
  const forged = [
    { form: 1 },
    { ...gossip, token: undefined },
    { ...gossip, token: "t".repeat(26) },
    { ...gossip, token: `${gossip.token} ` },
    { ...gossip, token: [gossip.token] },
    { ...gossip, message: null },
    { form: 1, hello: { id: "a" } },
    { form: 1, hello: { nonce: "n".repeat(26) } },
    { form: 1, hello: { nonce: "n".repeat(26), id: "x".repeat(129) } },
    { form: 1, hello: { nonce: "short", id: "a" } },
    { form: 1, callback: {} },
    { form: 1, callback: { nonce: "n".repeat(26), token: 1 } },
    JSON.parse(`{"form":1,"__proto__":${JSON.stringify(gossip)}}`),
    Object.assign(Object.create(gossip), { form: 1 }),
  ];
  for (const fields of forged) equal(await refusalOf(line, fields), unproven, JSON.stringify(fields));
  deepEqual(b.taken, ["one"]);
  equal(await refusalOf(line, { ...gossip, later: 1 }), null, "fields that are not known");
});

test("CallbackProof answers every JSON value with a RefusalError", async () => {
  const { a, b } = setUp();
  await say(a, "b", "one");
  const field = fc.constantFrom(
    "hello",
    "callback",
    "token",
    "message",
    "nonce",
    "id",
    "accepted",
    "__proto__",
  );
  const ours = fc.dictionary(field, fc.oneof(fc.jsonValue(), fc.dictionary(field, fc.jsonValue())))
    .map((fields) => ({ ...fields, form: 1 }));
  await fc.assert(
    fc.asyncProperty(fc.oneof(fc.jsonValue(), ours), async (value) => {
      ok(await b.proof.verify(value).catch((error) => error) instanceof RefusalError);
    }),
    { numRuns: 500 },
  );
});
