/**
 * Hostile peers: senders that pretend to be a peer, messages that are replayed, altered or signed too long ago, and peers
 * with the secret that send arbitrary messages.
 *
 * @module
 */
import assert from "node:assert/strict";
import fc from "fast-check";
import type { RealityServerOptions } from "../../mod.ts";
import type { Post } from "../../src/mesh/proof.ts";
import { SecretProof } from "../../src/mesh/secret_proof.ts";
import { systemClock } from "../../src/clock.ts";
import { FakeClock, settle } from "../clock.ts";
import { test } from "../harness.ts";
import { soon } from "../http/client.ts";
import { messages, values } from "./inputs.ts";
import { HostileScene } from "./scene.ts";

const SECRET = "a secret of thirty-two characters";
const PEERS = ["http://b:3000", "http://c:3000"];

/** Where a call leads that goes out from the server under test. */
type Outside = (request: Request) => Promise<Response>;

const refused: Outside = () => Promise.reject(new TypeError("connection refused"));

/** A server as its peers see it. */
interface Place {
  readonly scene: HostileScene;
  /** Sends an envelope; gives the status and the envelope of the answer. */
  ask(gossip: unknown): Promise<{ status: number; gossip: unknown }>;
  /** The addresses that it has called. */
  readonly called: string[];
}

async function withPlace(
  options: Partial<RealityServerOptions>,
  run: (place: Place) => Promise<void>,
  { outside = refused, isBelieved = false }: { outside?: Outside; isBelieved?: boolean } = {},
): Promise<void> {
  const called: string[] = [];
  const fetch = (request: Request) => {
    called.push(request.url);
    return outside(request);
  };
  const mesh = { timeout: 50, ...options.mesh, fetch };
  const scene = await HostileScene.open({ meshPeers: PEERS, ...options, mesh });
  const handler = scene.server.getFetchHandler();
  const post = async (body: string) => {
    const headers = { "content-type": "application/json" };
    const request = new Request("http://a:3000/reality/sync", { method: "POST", headers, body });
    const response = await soon(handler(request), "an answer");
    return { status: response.status, body: await response.text() };
  };
  const ask = async (gossip: unknown) => {
    const { status, body } = await post(JSON.stringify({ known: {}, gossip }));
    return { status, gossip: JSON.parse(body).gossip };
  };
  try {
    await run({ scene, ask, called });
    // A proven peer may change every node, and a full copy without a node may delete it.
    if (isBelieved) await scene.assertServes(post);
    else await scene.assertUnharmed(post);
  } finally {
    await scene.close();
  }
}

/** A peer with the secret, which sends a message and returns the status. */
async function join({ ask }: Place, secret: string): Promise<(message: string) => Promise<number>> {
  let status = 0;
  const post: Post = async (gossip) => {
    const answer = await ask(gossip);
    status = answer.status;
    return answer.gossip;
  };
  const pass = await new SecretProof({ secrets: [secret], clock: systemClock }).authenticate(
    "http://a:3000",
    post,
  );
  return async (message) => {
    // A refusal has no envelope, which the caller reports as an invalid answer.
    await pass.exchange(message, post).catch(() => {});
    return status;
  };
}

const PROOFS: ReadonlyMap<string, Partial<RealityServerOptions>> = new Map([
  ["with a secret", { meshSecret: SECRET }],
  ["with peers and no secret", {}],
  ["with neither", { meshPeers: [] }],
]);

for (const [name, options] of PROOFS) {
  test(`an unproven exchange is refused and changes nothing, by a server ${name}`, async () => {
    await withPlace(options, async (place) => {
      const before = await place.scene.storage.listChangedSince(0);
      await fc.assert(
        fc.asyncProperty(envelopes, async (gossip) => {
          const { status } = await place.ask(gossip);
          // With a secret, a hello is answered: the answer is useless without the secret.
          const isHello = options.meshSecret !== undefined && status === 200;
          assert.ok(isHello || [400, 401, 403].includes(status), `it answered ${status}`);
        }),
        { numRuns: 300 },
      );
      assert.deepEqual(await place.scene.storage.listChangedSince(0), before);
      assert.deepEqual(place.called.filter((url) => !PEERS.some((peer) => url.startsWith(peer))), []);
      // Strangers cause no more calls than the proof by call-back allows for: 10 for each peer at once, 2 a second.
      assert.ok(place.called.length < 200, `${place.called.length} calls went out`);
      assert.deepEqual(await place.scene.server.getMeshPeers(), []);
    });
  });
}

test("any message of a peer with the secret is merged or refused, and nothing fails", async () => {
  for (const discovery of [false, true]) {
    await withPlace({ meshSecret: SECRET, mesh: { discovery } }, async (place) => {
      const say = await join(place, SECRET);
      const counts = new Map<number, number>();
      await fc.assert(
        fc.asyncProperty(messages, async (message) => {
          const status = await say(message);
          counts.set(status, (counts.get(status) ?? 0) + 1);
          assert.ok([200, 400].includes(status), `it answered ${status}`);
        }),
        { numRuns: 1_000 },
      );
      // Otherwise this would only show that invalid fields are refused.
      assert.ok((counts.get(200) ?? 0) > 200, `only ${counts.get(200)} of 1,000 messages were taken in`);
      // A stream writes the epoch, which may now be the peer's, into its cursor.
      const events = await place.scene.server.handleSSECompat(new Request("http://a/"), { keys: ["d"] });
      const reader = events.body!.getReader();
      assert.equal((await soon(reader.read(), "the stream's beginning")).done, false);
      await reader.cancel();
    }, { isBelieved: true });
  }
});

test("every message of a peer with another secret is refused", async () => {
  await withPlace({ meshSecret: SECRET }, async (place) => {
    await assert.rejects(join(place, "another secret, just as long as it"), /not signed with our secret/);
  });
});

test("a signed message is accepted once, by its receiver only, unaltered and in time", async () => {
  const clock = new FakeClock();
  await withPlace({ meshSecret: SECRET, clock }, async (place) => {
    const sent: Record<string, unknown>[] = [];
    const post: Post = async (gossip) => {
      sent.push(gossip as Record<string, unknown>);
      return (await place.ask(gossip)).gossip;
    };
    const proof = new SecretProof({ secrets: [SECRET], clock });
    const pass = await proof.authenticate("http://a:3000", post);
    const message = newsOf("taken", 1);
    await pass.exchange(message, post);
    assert.equal((await place.scene.storage.getNode("taken"))?.hash, "1");
    const signed = sent.at(-1)!;
    const before = await place.scene.storage.listChangedSince(0);

    // Replayed, once and many times over.
    for (let i = 0; i < 5; i++) assert.equal((await place.ask(signed)).status, 401);
    // Altered, field by field and letter by letter.
    for (const field of ["to", "nonce", "message", "proofs"]) {
      const text = field === "proofs" ? (signed.proofs as string[])[0]! : signed[field] as string;
      for (let i = 0; i < text.length; i += Math.ceil(text.length / 20)) {
        const other = text.slice(0, i) + (text[i] === "a" ? "b" : "a") + text.slice(i + 1);
        const altered = { ...signed, nonce: freshNonce(i), [field]: field === "proofs" ? [other] : other };
        assert.equal((await place.ask(altered)).status, 401, `${field} at ${i}`);
      }
      const { [field]: _, ...rest } = signed;
      assert.equal((await place.ask(rest)).status, 401, field);
      await fc.assert(
        fc.asyncProperty(values, async (value) => {
          assert.equal((await place.ask({ ...signed, [field]: value })).status, 401);
        }),
        { numRuns: 50 },
      );
    }
    // Signed for another purpose.
    const news = JSON.parse(await proof.signBroadcast("reality:updates", newsOf("taken", 2)));
    assert.equal((await place.ask({ ...signed, nonce: freshNonce(99), ...news })).status, 401);

    // Held back: signed in time, and sent when the name that it was signed to has lived.
    let held: unknown;
    await pass.exchange(newsOf("held", 1), (gossip) => {
      held = gossip;
      return Promise.reject(new Error("held back"));
    }).catch(() => {});
    await clock.advance(600_000);
    assert.equal((await place.ask(held)).status, 401);
    assert.deepEqual(await place.scene.storage.listChangedSince(0), before);
  });
});

test("a message to a server is invalid after its restart, and at another server", async () => {
  let signed: unknown;
  await withPlace({ meshSecret: SECRET }, async (place) => {
    const pass = await new SecretProof({ secrets: [SECRET], clock: systemClock })
      .authenticate("http://a:3000", async (gossip) => (await place.ask(gossip)).gossip);
    await pass.exchange(newsOf("held", 1), (gossip) => {
      signed = gossip;
      return Promise.reject(new Error("held back"));
    }).catch(() => {});
  });
  await withPlace({ meshSecret: SECRET }, async (place) => {
    assert.equal((await place.ask(signed)).status, 401);
    assert.equal(await place.scene.storage.getNode("held"), null);
  });
});

test("a hello in a peer's name from another address is refused, and the real peer is called", async () => {
  const atPeers: { callback?: unknown }[] = [];
  const peer: Outside = async (request) => {
    atPeers.push((await request.json()).gossip);
    return Response.json({ error: { code: "ERR_REALITY_UNAUTHORIZED", message: "" } }, { status: 401 });
  };
  await withPlace({}, async (place) => {
    const hello = { nonce: freshNonce(1), id: "b" };
    assert.equal((await place.ask({ form: 1, hello })).status, 401);
    assert.ok(place.called.every((url) => PEERS.some((peer) => url.startsWith(peer))));
    const callbacks = atPeers.filter((gossip) => gossip.callback !== undefined);
    assert.equal(callbacks.length, PEERS.length);
    for (const gossip of callbacks as { callback: { nonce: string; token: string } }[]) {
      assert.equal(gossip.callback.nonce, hello.nonce);
      // A token that a peer passes on is useless: no server has accepted it.
      const { token } = gossip.callback;
      assert.equal((await place.ask({ form: 1, token, message: newsOf("forged", 1) })).status, 401);
      assert.equal((await place.ask({ form: 1, callback: gossip.callback })).status, 401);
    }
    assert.equal(await place.scene.storage.getNode("forged"), null);
  }, { outside: peer });
});

test("with any answer of a peer, clients are answered, and the peer is reported", async () => {
  for (const [name, options] of PROOFS) {
    let answer: Answer = { status: 200, type: "application/json", body: "" };
    const peer: Outside = () => {
      const { status, type, body } = answer;
      const headers = { "content-type": type };
      return Promise.resolve(
        new Response(status === 204 || status === 304 ? null : body, { status, headers }),
      );
    };
    await withPlace(options, async (place) => {
      await fc.assert(
        fc.asyncProperty(answers, async (next) => {
          answer = next;
          // The client knows a higher version than the server, so the peers are asked.
          const sync = place.scene.server.handleSync({ known: { ahead: 5 } });
          const { changed } = await soon(sync, `an answer to a client of a server ${name}`);
          assert.equal(changed.ahead?.deleted, true);
        }),
        { numRuns: 100 },
      );
      assert.equal(await place.scene.storage.getNode("ahead"), null);
      await settle();
    }, { outside: peer });
  }
});

interface Answer {
  readonly status: number;
  readonly type: string;
  readonly body: string;
}

const answers: fc.Arbitrary<Answer> = fc.record({
  status: fc.constantFrom(200, 200, 200, 200, 204, 301, 304, 400, 401, 413, 500, 503),
  type: fc.constantFrom(
    "application/json",
    "application/json",
    "text/html",
    "application/x+json; charset=x",
    "json",
  ),
  body: fc.oneof(
    fc.constantFrom(
      "",
      "{",
      "null",
      "[]",
      '{"gossip":null}',
      "\ufeff{}",
      '{"__proto__":{"gossip":1}}',
      "[".repeat(9_999),
    ),
    values.map((gossip) => JSON.stringify({ gossip })),
    fc.tuple(values, values).map(([name, message]) =>
      JSON.stringify({ gossip: { form: 1, name, message, proofs: ["x".repeat(43)], accepted: true } })
    ),
  ),
});

/** Envelopes at random: with the fields of a hello, a call-back or a message, and anything in them. */
const envelopes: fc.Arbitrary<unknown> = fc.oneof(
  { weight: 1, arbitrary: values },
  {
    weight: 4,
    arbitrary: fc.record({
      form: fc.oneof({ weight: 9, arbitrary: fc.constant<unknown>(1) }, { weight: 1, arbitrary: values }),
      hello: fc.oneof(values, fc.record({ nonce: nonces(), id: fc.oneof(values, fc.constant("b")) })),
      callback: fc.oneof(values, fc.record({ nonce: nonces(), token: nonces() })),
      to: nonces(),
      nonce: nonces(),
      token: nonces(),
      message: fc.oneof(values, messages),
      proofs: fc.oneof(values, fc.constant(["x".repeat(43)]), fc.array(values, { maxLength: 3 })),
    }, { requiredKeys: ["form"] }),
  },
);

function nonces(): fc.Arbitrary<unknown> {
  return fc.oneof(values, fc.constant(freshNonce(0)));
}

/** An unused nonce for each number. */
function freshNonce(i: number): string {
  return i.toString(36).padStart(26, "n");
}

/** The message of a peer with one node. */
function newsOf(key: string, hash: number): string {
  const [origin, stamp] = ["peer-storage", 1_000 + hash];
  const node = { key, version: stamp, hash: String(hash), updatedAt: 1, origin };
  return JSON.stringify({
    id: "b",
    run: "run-b",
    origin,
    epoch: "zz",
    peers: {},
    seen: { [origin]: stamp },
    swept: {},
    delta: { base: {}, full: false, after: null, next: null, nodes: [node] },
  });
}
