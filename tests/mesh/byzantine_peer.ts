/**
 * A peer without credentials that sends forged, replayed and malformed messages.
 *
 * @module
 */
import type { Delivery, FakeNetwork } from "../network.ts";
import type { Deed, History } from "./history.ts";
import { CHANNEL, type SimRedis } from "./redis.ts";
import type { Record } from "./record.ts";

const NONCE = "abcdefghijklmnopqrstuvwxyz";

/** What the peer needs of the cluster that it attacks. */
export interface Target {
  readonly network: FakeNetwork;
  readonly redis: SimRedis;
  readonly history: History;
  readonly record: Record;
  /** Requests that it has read on the network, and messages that it has published through Redis. */
  readonly log: { readonly captured: readonly Delivery[]; readonly forgeries: Set<string> };
}

/** Sends one message to a server. Its effect would show in storages, in answers and in requests to the peer. */
export async function attack(target: Target, deed: Deed & { do: "lie" }): Promise<void> {
  const station = target.network.join("liar");
  station.listen(() =>
    Promise.resolve(new Response("{}", { headers: { "content-type": "application/json" } }))
  );
  publish(target, deed);
  const body = bodyOf(target, deed);
  if (body === undefined) return;
  const request = new Request(`http://server-${deed.server}/reality/sync`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body,
  });
  const text = await station.fetch(request).then((answer) => answer.text(), () => "");
  if (text.includes('"message":"{')) {
    target.record.blame("leak", `server-${deed.server} told the liar ${text}`);
  }
}

/** Publishes a message through Redis: unsigned, as servers without a secret do, with an invalid signature, and garbage. */
function publish(target: Target, { server, key }: Deed & { do: "lie" }): void {
  const message = forge(server, key);
  for (const text of [message, JSON.stringify({ form: 1, message, proofs: ["A".repeat(43)] }), "garbage"]) {
    target.log.forgeries.add(text);
    target.redis.publish(CHANNEL, text);
  }
}

function bodyOf(target: Target, { lie, key, server }: Deed & { do: "lie" }): string | undefined {
  switch (lie) {
    case "push":
      return wrap({
        form: 1,
        token: NONCE,
        to: NONCE,
        nonce: NONCE,
        proofs: ["A".repeat(43)],
        message: forge(server, key),
      });
    case "hello":
      return wrap({ form: 1, hello: { nonce: NONCE, id: "server-0" } });
    case "callback":
      return wrap({ form: 1, callback: { nonce: NONCE, token: NONCE } });
    case "other":
      return wrap({ form: 2, message: forge(server, key) });
    case "garbage":
      return '{"known":{},"gossip":[1,{"form":1}],"epoch":7}';
    case "replay":
      return target.log.captured.findLast((delivery) => canReplay(target, delivery))?.body;
  }
}

/** Without a secret the network is trusted, so the peer must not know tokens. */
function canReplay(target: Target, { body }: Delivery): boolean {
  return target.history.secret || !body.includes('"token"');
}

function forge(server: number, key: number): string {
  const node = { key: `key-${key}`, version: 2 ** 50, hash: "forged", updatedAt: 1, origin: "liar" };
  return JSON.stringify({
    id: `server-${server + 1}`,
    run: "liar",
    origin: "liar",
    epoch: "0",
    peers: { liar: "alive" },
    urls: { liar: "http://stranger" },
    seen: { liar: 2 ** 50 },
    swept: {},
    delta: { base: {}, full: false, after: null, next: null, nodes: [node] },
  });
}

function wrap(gossip: unknown): string {
  return JSON.stringify({ known: {}, gossip });
}
